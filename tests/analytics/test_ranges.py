"""Ranges are cut where the clock on the wall says so, on every day of the year."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.analytics.queries.ranges import EARLIEST, LATEST, MAX_BUCKETS, Interval, Range, TooLong

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "America/St_Johns", "Pacific/Apia", "Africa/Cairo", "America/Havana", "America/Sao_Paulo", "Pacific/Chatham",
]  # fmt: skip
MOMENTS = st.datetimes(
    EARLIEST.replace(tzinfo=None), datetime(2090, 1, 1, tzinfo=UTC).replace(tzinfo=None), timezones=st.just(UTC)
)
SPANS = st.sampled_from([Interval.HOUR, Interval.DAY, Interval.WEEK, Interval.MONTH])


def local(zone: str, *parts: int) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def days(zone: str, first: tuple[int, ...], last: tuple[int, ...]) -> Range:
    return Range(local(zone, *first), local(zone, *last), ZoneInfo(zone))


def hours_of(starts: list[datetime]) -> list[float]:
    return [(after - before) / timedelta(hours=1) for before, after in pairwise(starts)]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 29), 23),
        ("Europe/Berlin", (2026, 10, 25), 25),
        ("Europe/Berlin", (2026, 10, 24), 24),
        ("America/New_York", (2026, 3, 8), 23),
        ("America/New_York", (2026, 11, 1), 25),
        ("Asia/Kolkata", (2026, 3, 29), 24),
        ("Asia/Kathmandu", (2026, 10, 25), 24),
        ("Africa/Cairo", (2026, 4, 24), 23),  # its midnight is skipped
        ("America/Havana", (2026, 11, 1), 25),  # its midnight comes twice
    ],
)
def test_a_day_has_the_hours_that_it_has(zone, day, hours):
    following = (date(*day) + timedelta(days=1)).timetuple()[:3]
    span = days(zone, day, following)
    assert hours_of(span.starts(Interval.HOUR)) == [1.0] * hours
    assert hours_of(span.starts(Interval.DAY)) == [hours]
    around = Range(span.start - timedelta(hours=30), span.end + timedelta(hours=30), span.zone).starts(Interval.DAY)
    assert {span.start, span.end} <= set(around)


@pytest.mark.parametrize(
    ("zone", "moment", "first"),
    [
        ("Asia/Kolkata", "2026-11-01T10:00:00+00:00", "2026-11-01T10:30:00+00:00"),
        ("Asia/Kathmandu", "2026-11-01T10:00:00+00:00", "2026-11-01T10:15:00+00:00"),
        ("Europe/Berlin", "2026-11-01T10:00:01+00:00", "2026-11-01T11:00:00+00:00"),
    ],
)
def test_hours_are_those_of_the_wall_clock(zone, moment, first):
    start = datetime.fromisoformat(moment)
    starts = Range(start, start + timedelta(hours=3), ZoneInfo(zone)).starts(Interval.HOUR)
    assert starts[1] == datetime.fromisoformat(first)


def test_a_clock_that_changes_by_half_an_hour_begins_an_hour_of_its_own():
    """Lord Howe: at 2:00 the clock goes back to 1:30, so that the second 1 o'clock hour is half as long."""
    starts = days("Australia/Lord_Howe", (2026, 4, 5), (2026, 4, 5, 4)).starts(Interval.HOUR)
    assert hours_of(starts) == [1.0, 1.0, 0.5, 1.0, 1.0]


def test_months_have_their_lengths():
    starts = days("Europe/Berlin", (2026, 1, 1), (2027, 1, 1)).starts(Interval.MONTH)
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    walls = [one.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None) for one in starts]
    assert [(after - before).days for before, after in pairwise(walls)] == lengths
    assert [hours % 24 for hours in hours_of(starts)] == [0, 0, 23, 0, 0, 0, 0, 0, 0, 1, 0, 0]


def test_weeks_begin_on_monday():
    starts = days("America/New_York", (2026, 10, 28), (2026, 11, 12)).starts(Interval.WEEK)
    assert starts[1:-1] == [local("America/New_York", 2026, 11, 2), local("America/New_York", 2026, 11, 9)]


@given(start=MOMENTS, days=st.integers(1, 60), zone=st.sampled_from(ZONES), interval=SPANS)
def test_intervals_cover_the_range_and_begin_where_the_calendar_says(start, days, zone, interval):
    span = Range(start, start + timedelta(days=days), ZoneInfo(zone))
    starts = span.starts(interval)
    assert (starts[0], starts[-1]) == (span.start, span.end)
    assert all(before < after for before, after in pairwise(starts))
    for before, after in pairwise(starts[:-1]):
        old, new = before.astimezone(span.zone), after.astimezone(span.zone)
        is_change = old.utcoffset() != new.utcoffset()
        assert is_change or (new.minute, new.second, new.microsecond) == (0, 0, 0)
        if interval != Interval.HOUR:
            just_before = (after - timedelta(seconds=1)).astimezone(span.zone)
            assert is_change or (new.hour == 0 and just_before.date() < new.date())
        if interval == Interval.WEEK:
            assert new.weekday() == 0
        if interval == Interval.MONTH:
            assert new.day == 1


@given(start=MOMENTS, seconds=st.integers(1, 10**8), zone=st.sampled_from(ZONES))
def test_the_previous_range_ends_where_this_one_starts(start, seconds, zone):
    span = Range(start, start + timedelta(seconds=seconds), ZoneInfo(zone))
    before = span.previous()
    assert before.end == span.start
    assert before.start < before.end
    assert abs((before.end - before.start) - (span.end - span.start)) <= timedelta(days=3 * 12)


@pytest.mark.parametrize(
    ("first", "last", "previous"),
    [
        ((2026, 3, 29), (2026, 3, 30), (2026, 3, 28)),  # 23 hours with 24
        ((2026, 10, 26), (2026, 10, 27), (2026, 10, 25)),  # 24 hours with 25
        ((2026, 3, 1), (2026, 4, 1), (2026, 2, 1)),  # a month with the month before
        ((2026, 1, 1), (2026, 4, 1), (2025, 10, 1)),
        ((2026, 11, 2, 9), (2026, 11, 9, 9), (2026, 10, 26, 9)),
    ],
)
def test_days_are_compared_with_days_and_months_with_months(first, last, previous):
    assert days("Europe/Berlin", first, last).previous().start == local("Europe/Berlin", *previous)


def test_any_other_range_is_compared_with_one_of_the_same_length():
    start = datetime(2026, 10, 25, 12, tzinfo=UTC)
    span = Range(start, start + timedelta(hours=30), ZoneInfo("Europe/Berlin"))
    assert span.previous().start == start - timedelta(hours=30)
    over_the_change = Range(start - timedelta(hours=24), start, span.zone)  # 23 hours on the wall
    assert over_the_change.previous().start == start - timedelta(hours=48)


@pytest.mark.parametrize(
    ("interval", "length"),
    [
        (Interval.MINUTE, timedelta(hours=6, seconds=1)),
        (Interval.HOUR, timedelta(hours=MAX_BUCKETS, minutes=1)),
        (Interval.DAY, timedelta(days=MAX_BUCKETS)),
        (Interval.MONTH, LATEST - EARLIEST),
    ],
)
def test_too_many_intervals_are_refused(interval, length):
    span = Range(EARLIEST, EARLIEST + length, ZoneInfo("Europe/Berlin"))
    if interval == Interval.MONTH:
        assert len(span.starts(interval)) == 1202
        return
    with pytest.raises(TooLong):
        span.starts(interval)


def test_minutes():
    start = datetime(2026, 10, 25, 0, 58, 30, tzinfo=UTC)
    starts = Range(start, start + timedelta(minutes=3), ZoneInfo("Europe/Berlin")).starts(Interval.MINUTE)
    assert [one.minute for one in starts] == [58, 59, 0, 1, 1]
