"""Tests and intervals of paired values: those of one kind together, which costs little more than one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apps.evaluations.comparing.columns import Floats
from apps.evaluations.comparing.metrics import Metric
from apps.evaluations.comparing.pairing import Pairs
from apps.evaluations.statistics import binary, means
from apps.evaluations.statistics.intervals import UNKNOWN, Interval


@dataclass(frozen=True, slots=True)
class Tested:
    """`difference` is the candidate's mean less the baseline's. `gained` and `lost` are of yes and no only."""

    difference: float
    interval: Interval
    p_value: float
    test: str
    effect: str
    effect_size: float | None
    detectable: float | None
    gained: int | None = None
    lost: int | None = None
    odds: tuple[float | None, float | None, float | None] | None = None


def is_yes_or_no(metric: Metric, pairs: Pairs) -> bool:
    """With several repeats an item's value is a rate, and no longer yes or no."""
    return metric.type == "boolean" and pairs.is_single


def test_all(wanted: Sequence[tuple[Metric, Pairs]], confidence: float) -> list[Tested | None]:
    """In their order; None without a pair."""
    found: list[Tested | None] = [None] * len(wanted)
    together: dict[bytes, list[int]] = defaultdict(list)
    for place, (metric, pairs) in enumerate(wanted):
        if pairs.n == 0:
            continue
        if is_yes_or_no(metric, pairs):
            found[place] = _test_answers(pairs, confidence)
        else:
            together[pairs.complete.tobytes()].append(place)
    for places in together.values():
        columns = np.column_stack([wanted[place][1].differences for place in places])
        tests = means.permutation_tests(columns)
        intervals = means.mean_intervals(columns, confidence)
        for place, test, interval, column in zip(places, tests, intervals, columns.T, strict=True):
            metric = wanted[place][0]
            found[place] = _test_numbers(column, test, _unvaried(metric, column, interval, confidence), confidence)
    return found


def _test_answers(pairs: Pairs, confidence: float) -> Tested:
    gained, lost = count_changes(pairs)
    n = pairs.n
    test = binary.mcnemar(gained=gained, lost=lost, n=n, confidence=confidence)
    return Tested(
        difference=test.difference,
        interval=test.interval,
        p_value=test.p_value,
        test="mcnemar_exact",
        effect="cohen_h",
        effect_size=binary.cohen_h(float(pairs.before.mean()), float(pairs.after.mean())),
        detectable=binary.detectable_difference((gained + lost) / n, n, 1 - confidence),
        gained=gained,
        lost=lost,
        odds=(test.odds, test.odds_low, test.odds_high),
    )


def count_changes(pairs: Pairs) -> tuple[int, int]:
    """From no to yes, and from yes to no."""
    return int((pairs.differences > 0).sum()), int((pairs.differences < 0).sum())


def _test_numbers(column: Floats, test: means.PermutationTest, interval: Interval, confidence: float) -> Tested:
    deviation = float(np.std(column, ddof=1)) if len(column) > 1 else 0.0
    return Tested(
        difference=float(column.mean()),
        interval=interval,
        p_value=test.p_value,
        test=test.method,
        effect="cohen_dz",
        effect_size=means.cohen_dz(column),
        detectable=means.detectable_mean(deviation, len(column), 1 - confidence),
    )


def _unvaried(metric: Metric, column: Floats, interval: Interval, confidence: float) -> Interval:
    """Differences that are all the same say nothing of their spread to a bootstrap, yet their limits do."""
    if metric.limits is None or not interval.is_degenerate:
        return interval
    most = metric.limits[1] - metric.limits[0]
    return binary.unvaried_interval(float(column.mean()), len(column), -most, most, confidence)


def difference_interval(metric: Metric, pairs: Pairs, confidence: float) -> Interval:
    """Of the mean difference alone. Where no answer changed, Tango's bounds would err more often than they say."""
    if pairs.n == 0:
        return UNKNOWN
    if is_yes_or_no(metric, pairs):
        gained, lost = count_changes(pairs)
        if gained == lost == 0:
            return binary.unvaried_interval(0.0, pairs.n, -1.0, 1.0, confidence)
        return binary.paired_difference_interval(gained=gained, lost=lost, n=pairs.n, confidence=confidence)
    column = pairs.differences
    return _unvaried(metric, column, means.mean_intervals(column[:, None], confidence)[0], confidence)


def contrast_interval(metric: Metric, pairs: Pairs, weights: tuple[float, float], confidence: float) -> Interval:
    """Of the mean of the candidate's value times one weight and the baseline's times the other."""
    column = weights[0] * pairs.after + weights[1] * pairs.before
    interval = means.mean_intervals(column[:, None], confidence)[0]
    if metric.limits is None or not interval.is_degenerate:
        return interval
    least, greatest = _weighted(metric.limits, weights)
    return binary.unvaried_interval(float(column.mean()), pairs.n, least, greatest, confidence)


def _weighted(limits: tuple[float, float], weights: tuple[float, float]) -> tuple[float, float]:
    ends = [sorted(weight * limit for limit in limits) for weight in weights]
    return sum(end[0] for end in ends), sum(end[1] for end in ends)


def ratio_interval(metric: Metric, pairs: Pairs, confidence: float) -> Interval:
    """Of the candidate's mean to the baseline's, which is above 0.

    Where the ratio is the same for every item, it is bounded by what the candidate's values less that multiple of the
    baseline's can be.
    """
    interval = means.ratio_interval(pairs.after, pairs.before, confidence)
    if metric.limits is None or not interval.is_degenerate:
        return interval
    ratio, whole = interval.low, float(pairs.before.mean())
    rest = binary.unvaried_interval(0.0, pairs.n, *_weighted(metric.limits, (1.0, -ratio)), confidence)
    return Interval(ratio + rest.low / whole, ratio + rest.high / whole, rest.method, is_degenerate=True)


def level_interval(metric: Metric, values: Floats, *, is_single: bool, confidence: float) -> Interval:
    """Of the mean of one subject: exact for yes and no, and where all values are the same within known limits."""
    if len(values) == 0:
        return UNKNOWN
    if metric.type == "boolean" and is_single:
        return binary.exact_interval(int(values.sum()), len(values), confidence)
    interval = means.mean_intervals(values[:, None], confidence)[0]
    if metric.limits is None or not interval.is_degenerate:
        return interval
    return binary.unvaried_interval(float(values.mean()), len(values), *metric.limits, confidence)
