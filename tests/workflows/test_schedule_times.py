"""When a cron expression comes, on clocks that jump."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.workflows.schedules.times import check_cron, latest_times, next_time, time_zones, times_after

BERLIN = "Europe/Berlin"


def shown(cron, after, count=3, zone=BERLIN):
    """As clocks there show it, with the offset from UTC."""
    times = islice(times_after(cron, zone, datetime.fromisoformat(after)), count)
    return [time.astimezone(ZoneInfo(zone)).strftime("%d %H:%M %z") for time in times]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # on 29 March 2026 clocks go from 02:00 to 03:00
        ("30 2 * * *", "2026-03-28T12:00+00:00", ["29 03:00 +0200", "30 02:30 +0200", "31 02:30 +0200"]),
        ("*/20 2 * * *", "2026-03-28T12:00+00:00", ["29 03:00 +0200", "30 02:00 +0200", "30 02:20 +0200"]),
        ("30 * * * *", "2026-03-29T00:00+00:00", ["29 01:30 +0100", "29 03:30 +0200", "29 04:30 +0200"]),
        ("0 3 * * *", "2026-03-28T12:00+00:00", ["29 03:00 +0200", "30 03:00 +0200", "31 03:00 +0200"]),
        # on 25 October 2026 clocks go from 03:00 back to 02:00
        ("30 2 * * *", "2026-10-24T12:00+00:00", ["25 02:30 +0200", "26 02:30 +0100", "27 02:30 +0100"]),
        ("30 2 * * *", "2026-10-25T00:45+00:00", ["26 02:30 +0100", "27 02:30 +0100", "28 02:30 +0100"]),
        ("30 2 * * *", "2026-10-25T01:15+00:00", ["26 02:30 +0100", "27 02:30 +0100", "28 02:30 +0100"]),
        ("30 * * * *", "2026-10-25T00:00+00:00", ["25 02:30 +0200", "25 02:30 +0100", "25 03:30 +0100"]),
        ("*/20 * * * *", "2026-10-25T00:20+00:00", ["25 02:40 +0200", "25 02:00 +0100", "25 02:20 +0100"]),
        ("0 3 * * *", "2026-10-24T12:00+00:00", ["25 03:00 +0100", "26 03:00 +0100", "27 03:00 +0100"]),
    ],
)
def test_when_clocks_jump(cron, after, expected):
    assert shown(cron, after) == expected


def test_days_are_the_zones_own():
    assert next_time("0 0 * * *", BERLIN, datetime(2026, 7, 1, 21, tzinfo=UTC)) == datetime(2026, 7, 1, 22, tzinfo=UTC)
    assert next_time("0 9 * * mon-fri", "America/New_York", datetime(2026, 7, 3, 14, tzinfo=UTC)) == datetime(
        2026, 7, 6, 13, tzinfo=UTC
    )
    assert shown("0 12 L * *", "2026-02-01T00:00+00:00", 2) == ["28 12:00 +0100", "31 12:00 +0200"]


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "* * * * * *", "@daily", "60 * * * *", "*/0 * * * *", "r r * * *", "h 2 * * *", "a * * * *",
     "* * * * 8", "0 0 30 2 *", "0 0 31 4,6 *", "1-2-3 * * * *", "0 0 -1 * *", "é * * * *", "*  * * * *"],
)  # fmt: skip
def test_what_is_no_time_is_refused(cron):
    with pytest.raises(ValueError, match=r"."):
        check_cron(cron)


def test_the_newest_times_are_found_without_going_through_all():
    now = datetime(2026, 3, 29, 12, tzinfo=UTC)
    long_ago = now - timedelta(days=900)
    assert latest_times("* * * * *", BERLIN, long_ago, now, 1) == [now]
    hundred = latest_times("* * * * *", BERLIN, long_ago, now, 100)
    assert hundred == [now - timedelta(minutes=ago) for ago in range(99, -1, -1)]
    assert len(latest_times("0 0 1 * *", BERLIN, long_ago, now, 100)) == 29
    assert latest_times("0 0 1 * *", BERLIN, now, now, 100) == []
    assert latest_times("0 14 * * *", BERLIN, now, now, 100) == [now]


CRONS = st.builds(
    "{} {} {} {} {}".format,
    st.sampled_from(["0", "30", "*/20", "*", "5,55"]),
    st.sampled_from(["*", "*", "2", "0-3", "*/2", "23"]),
    st.sampled_from(["*", "*", "1", "L"]),
    st.sampled_from(["*", "*", "3,10"]),
    st.sampled_from(["*", "*", "sun", "1-5"]),
)
ZONES = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago"])
MOMENTS = st.integers(0, 365 * 24 * 60 * 60).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))


@settings(max_examples=30, deadline=None)
@given(cron=CRONS, zone=ZONES, after=MOMENTS, near_jump=st.booleans())
def test_times_rise_and_none_is_passed_over(cron, zone, after, near_jump):
    if near_jump:
        after = datetime(2026, 10, 25, 0, after.minute, tzinfo=UTC)
    times = list(islice(times_after(cron, zone, after), 8))
    assert all(one < other for one, other in pairwise([after, *times]))
    for number, time in enumerate(times[:4]):
        assert next_time(cron, zone, time) == times[number + 1]
        assert next_time(cron, zone, time - timedelta(seconds=1)) == time


def test_zones_are_those_of_the_database():
    assert {"UTC", BERLIN, "America/Argentina/Buenos_Aires"} <= time_zones()
    assert not {"", "Europe", "../etc/passwd", "europe/berlin"} & time_zones()
