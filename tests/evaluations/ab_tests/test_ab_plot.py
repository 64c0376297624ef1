"""The plot of differences over time: pure functions."""

import math
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.evaluations.ab_tests.admin import figures
from apps.evaluations.ab_tests.admin.axes import number_ticks, time_ticks
from apps.evaluations.ab_tests.admin.plot import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Reading, Reference, plot

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
NAMESPACE = "{http://www.w3.org/2000/svg}"
YEARS = timedelta(days=3000)
REFERENCE = Reference(min_effect=0.02, planned_units=1000)


def readings(count=20, *, final=0.03, per_hour=50):
    """A sequence that narrows with the square root of time."""
    return [
        Reading(START + timedelta(hours=hour), per_hour * hour, final, final - 0.5 / hour**0.5, final + 0.5 / hour**0.5)
        for hour in range(1, count + 1)
    ]


def drawn(lines, reference=REFERENCE, **options):
    return plot(lines, reference, title="Success", **{"write": lambda each: f"{each:+.2f}", **options})


def parsed(svg):
    return ET.fromstring(svg)  # noqa: S314 (made here)


def of_kind(svg, kind):
    return [each for each in parsed(svg).iter() if kind in each.get("class", "").split()]


def test_each_candidate_has_a_band_and_a_name():
    svg = drawn({"polite": readings(), "short": readings(final=-0.01)})
    assert [len(of_kind(svg, kind)) for kind in ("ab-band", "ab-line", "ab-name", "ab-zero")] == [2, 2, 2, 1]
    assert "polite: +0.03, from -0.08 to +0.14; short" in parsed(svg).get("aria-label")


def test_no_interval_no_plot():
    assert drawn({}) == ""
    assert drawn({"polite": []}) == ""
    assert drawn({"polite": [Reading(START, 10, 0.1, None, None)]}) == ""


def test_names_are_escaped():
    evil = "</text><script>alert(1)</script>\x00\ud800"
    svg = drawn({evil: readings()})
    assert "<script" not in svg
    assert "".join(of_kind(svg, "ab-name")[0].itertext()).startswith("</text><script>alert(1)</script>")


def test_a_stretch_without_an_interval_is_a_gap():
    whole = readings(20)
    gone = [Reading(each.at, each.units, each.difference, None, None) for each in whole[8:12]]
    svg = drawn({"polite": [*whole[:8], *gone, *whole[12:]]})
    assert len(of_kind(svg, "ab-band")) == 2


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        (500, "planned 500 units"),
        (1200, "planned 1,200 units"),
        (24_000, "planned 24,000 units in 19 days at this rate →"),
        (2000, "planned 2,000 units in 20 hours at this rate →"),
        (10**15, None),
        (None, None),
    ],
)
def test_the_planned_units_are_marked_where_they_were_or_will_be(planned, said):
    svg = drawn({"polite": readings(20)}, Reference(0.02, planned))
    texts = [each.text for each in of_kind(svg, "ab-text") if (each.text or "").startswith("planned")]
    assert texts == ([said] if said else [])
    is_in_sight = said is not None and "rate" not in said
    assert len(of_kind(svg, "ab-planned")) == is_in_sight
    if planned == 500:
        [line] = of_kind(svg, "ab-planned")
        # Reached after ten of twenty hours; the axis begins with the first reading.
        assert float(line.get("x1")) == pytest.approx(LEFT + (WIDTH - LEFT - RIGHT) * 9 / 19, abs=0.1)


@pytest.mark.parametrize(("planned", "when"), [(150, "within about an hour"), (200, "in 2 hours"), (2500, "in 2 days")])
def test_how_long_it_will_take_is_said_in_whole_hours_and_days(planned, when):
    svg = drawn({"polite": readings(2)}, Reference(0.02, planned))
    assert f"planned {planned:,} units {when} at this rate →" in svg


def test_many_points_are_thinned():
    many = [Reading(START + timedelta(minutes=n), n, 0.1, 0.0, 0.2) for n in range(20_000)]
    assert len(drawn({"polite": many})) < 20_000


def test_names_do_not_lie_on_each_other():
    svg = drawn({f"candidate-{number}": readings(final=0.01) for number in range(9)})
    heights = [float(each.get("y")) for each in of_kind(svg, "ab-name")]
    assert all(later - earlier >= 15 for earlier, later in pairwise(heights))


numbers = st.none() | st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf])
some_readings = st.lists(
    st.builds(
        Reading,
        at=st.datetimes(START.replace(tzinfo=None) - YEARS, START.replace(tzinfo=None) + YEARS, timezones=st.just(UTC)),
        units=st.integers(0, 10**12),
        difference=numbers,
        low=numbers,
        high=numbers,
    ),
    max_size=12,
).map(lambda found: sorted(found, key=lambda each: each.at))


@given(
    st.dictionaries(st.text(max_size=30), some_readings, max_size=4),
    st.builds(Reference, min_effect=st.floats(-1e6, 1e6), planned_units=st.none() | st.integers(0, 10**15)),
)
def test_whatever_was_read_gives_a_well_formed_drawing(lines, reference):
    svg = drawn(lines, reference)
    if svg:
        assert parsed(svg).tag == f"{NAMESPACE}svg"
        assert not re.search(r"\b(nan|inf)\b", re.sub(r'aria-label="[^"]*"|<t.*?</t\w+>', "", svg))
        for dot in of_kind(svg, "ab-dot"):
            assert LEFT - 1 <= float(dot.get("cx")) <= WIDTH - RIGHT + 1
        for name in of_kind(svg, "ab-name"):
            assert TOP <= float(name.get("y")) <= HEIGHT + 9 * 15


@given(st.floats(-1e9, 0), st.floats(1e-9, 1e9))
def test_numbers_on_an_axis_are_few_round_and_hold_zero(low, high):
    ticks = number_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert 0 in ticks
    assert all(low - (high - low) * 0.01 <= tick <= high + (high - low) * 0.01 for tick in ticks)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (2, ["2 Mar 09:00", "09:30", "10:00", "10:30", "11:00"]),
        (20, ["2 Mar 09:00", "12:00", "15:00", "18:00", "21:00", "3 Mar", "03:00"]),
        (24 * 6, ["3 Mar", "4 Mar", "5 Mar", "6 Mar", "7 Mar", "8 Mar"]),
    ],
)
def test_times_on_an_axis_are_round_and_name_new_days(hours, expected):
    assert [said for _, said in time_ticks(START, START + timedelta(hours=hours))] == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (figures.value(0.93125, "success"), "93.1\u00a0%"),
        (figures.value(2.5, "success", "sum"), "2.5"),
        (figures.value(1234.5, "latency_ms"), "1,234\u00a0ms"),
        (figures.value(0.00123456, "cost_usd"), "$0.00123"),
        (figures.value(100_000, "score:length"), "100,000"),
        (figures.value(1.0, "success"), "100\u00a0%"),
        (figures.value(None, "success"), "—"),
        (figures.value(math.inf, "success"), "—"),
        (figures.change(0.0125, "success"), "+1.25\u00a0pp"),
        (figures.change(-0.0125, "success"), "-1.25\u00a0pp"),
        (figures.change(-12.5, "latency_ms"), "-12.5\u00a0ms"),
        (figures.change(0.0, "success"), "0\u00a0pp"),
        (figures.loss(0.0000002, "success", "mean", beside=0.9), "0\u00a0pp"),
        (figures.loss(0.002, "success", "mean", beside=0.9), "0.2\u00a0pp"),
        (figures.loss(None, "success", "mean", beside=0.9), "—"),
        (figures.percent(0.5), "50\u00a0%"),
        (figures.p_value(0.00001), "< 0.0001"),
        (figures.p_value(0.0421), "0.042"),
    ],
)
def test_values_are_written_in_their_unit(said, expected):
    assert said == expected
