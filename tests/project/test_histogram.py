"""Percentiles from merged buckets are within the stated error of those of the sorted values."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everquant.histogram import BUCKET_OF_ONE, RELATIVE_ERROR, Histogram, bucket_of, summaries, value_of

WEEKS_MS = 10 * 7 * 86_400_000
VALUES = st.lists(st.integers(0, WEEKS_MS) | st.floats(1e-9, 1e12), min_size=1, max_size=60)


def of(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


def exact(values: list[float], q: float) -> float:
    """As PostgreSQL's percentile_disc."""
    return sorted(values)[max(1, math.ceil(q * len(values))) - 1]


@given(VALUES, st.floats(0, 1))
def test_any_percentile_is_within_two_percent(values: list[float], q: float) -> None:
    found = of(values).quantile(q)
    assert found is not None
    assert abs(found - exact(values, q)) <= RELATIVE_ERROR * exact(values, q) * (1 + 1e-9)


@given(VALUES, VALUES, VALUES)
def test_merging_is_associative_and_the_same_as_adding(one: list[float], two: list[float], three: list[float]) -> None:
    left = of(one)
    left.merge(of(two))
    left.merge(of(three))
    tail = of(three)
    tail.merge(of(two))
    right = of(one)
    right.merge_bytes(tail.to_bytes())
    assert left == right == of([*three, *one, *two])
    assert left.count == len(one) + len(two) + len(three)


@given(st.dictionaries(st.integers(0, 2**16 - 1), st.integers(1, 2**40), max_size=20))
def test_bytes_give_the_histogram_back(counts: dict[int, int]) -> None:
    histogram = Histogram(counts)
    assert Histogram.from_bytes(histogram.to_bytes()) == histogram


@given(VALUES, st.integers(0, WEEKS_MS))
def test_the_share_below_is_that_of_a_value_within_one_bucket(values: list[float], value: int) -> None:
    share = of(values).share_below(value)
    above = value * (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR) * (1 + 1e-9)
    assert share is not None
    assert sum(v <= value * (1 - 1e-9) for v in values) / len(values) <= share
    assert share <= sum(v <= above for v in values) / len(values)


def test_a_million_of_calls_are_a_few_hundred_bytes() -> None:
    rng = random.Random(7)
    values = [round(rng.lognormvariate(7, 0.8)) for _ in range(20_000)]
    histogram = of(values)
    for q in (0.5, 0.9, 0.95, 0.99, 0.999):
        assert histogram.quantile(q) == pytest.approx(exact(values, q), rel=RELATIVE_ERROR)
    for bucket, count in list(histogram._counts.items()):
        histogram.add(value_of(bucket), count * 49)
    assert histogram.count == 1_000_000
    assert len(histogram.to_bytes()) < 1000


def test_what_is_taken_away_leaves_no_trace() -> None:
    histogram = of([5, 70])
    histogram.merge(Histogram({bucket_of(70): -1}))
    assert histogram == of([5])
    assert histogram.quantile(1) == of([5]).quantile(1)
    histogram.merge(Histogram({bucket_of(5): -2}))
    with pytest.raises(ValueError, match="less than nothing"):
        histogram.to_bytes()


def test_an_empty_one_knows_nothing() -> None:
    empty = Histogram.from_bytes(Histogram().to_bytes())
    assert (empty.count, empty.quantile(0.95), empty.share_below(10)) == (0, None, None)


def test_zeros_are_exact_and_one_is_the_middle() -> None:
    assert (bucket_of(0), bucket_of(1), bucket_of(1e-300)) == (0, BUCKET_OF_ONE, 1)
    histogram = of([0, 0, 0, 100])
    assert (histogram.quantile(0.75), histogram.share_below(0)) == (0.0, 0.75)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf])
def test_what_is_no_duration_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Histogram().add(value)


@pytest.mark.parametrize("count", [0, -3])
def test_nothing_is_not_added(count: int) -> None:
    with pytest.raises(ValueError, match="at least once"):
        Histogram().add(1, count)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02\x01", b"\x01\x03", b"\x01\x01abcd"])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="these bytes"):
        Histogram.from_bytes(data)


@given(VALUES, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_many_percentiles_are_those_that_each_is_alone(values: list[float], shares: list[float]) -> None:
    histogram = of(values)
    assert histogram.quantiles(sorted(shares)) == [histogram.quantile(share) for share in sorted(shares)]
    assert Histogram().quantiles(shares) == [None] * len(shares)


@given(st.lists(st.integers(0, WEEKS_MS), min_size=1, max_size=60), st.integers(1, 20))
def test_bars_count_every_value_once_where_it_lies(values: list[int], width: int) -> None:
    bars = of(list(values)).bars(width)
    assert sum(count for _, _, count in bars) == len(values)
    assert [low for low, _, _ in bars if low][1:] == [high for _, high, _ in bars if high][:-1]
    for low, high, count in bars:
        inside = [v for v in values if low * (1 + 1e-9) < v <= high * (1 - 1e-9) or v == low == high]
        around = [v for v in values if low * (1 - 1e-9) < v <= high * (1 + 1e-9) or v == low == high]
        assert len(inside) <= count <= len(around)


@given(st.lists(st.dictionaries(st.integers(0, 2000), st.integers(1, 2**33), max_size=8), max_size=40))
def test_many_parts_at_once_are_the_same_as_one_after_the_other(parts: list[dict[int, int]]) -> None:
    one_by_one, at_once = Counter[int](), Histogram({7: 1})
    for part in [*parts, {7: 1}]:
        one_by_one.update(part)
    at_once.merge_bytes(*(Histogram(part).to_bytes() for part in parts))
    copied = Histogram()
    copied.merge(at_once)
    assert copied == at_once == Histogram(one_by_one)
    assert at_once.count == one_by_one.total()


PARTS = st.lists(st.dictionaries(st.integers(0, 2000), st.integers(1, 2**33), max_size=5), max_size=8)


@given(st.lists(st.tuples(PARTS, st.booleans()), max_size=12), st.lists(st.floats(0, 1), max_size=4))
def test_summaries_are_what_each_histogram_says(given: list[tuple[list[dict[int, int]], bool]], shares: list[float]):
    shares.sort()

    def make() -> list[Histogram]:
        made = []
        for parts, is_added_to in given:
            histogram = Histogram({3: 2} if is_added_to else ())
            histogram.merge_bytes(*(Histogram(part).to_bytes() for part in parts))
            made.append(histogram)
        return made

    assert summaries(make(), shares) == [(each.count, each.quantiles(shares)) for each in make()]


def test_summaries_of_hundreds() -> None:
    rng = random.Random(3)
    made = [of([round(rng.lognormvariate(7, 1)) for _ in range(9)]).to_bytes() for _ in range(1100)]
    several = [Histogram() for _ in made]
    for histogram, data in zip(several, made, strict=True):
        histogram.merge_bytes(data, data)
    single = [Histogram.from_bytes(data).quantiles([0.5, 0.99]) for data in made]
    assert summaries(several, [0.5, 0.99]) == [(18, values) for values in single]
