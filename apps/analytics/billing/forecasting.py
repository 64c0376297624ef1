"""What will have been spent by the end of a month: a weekday-aware mean, with a prediction interval of the sum.

Days of the week are compared in two groups, working days and weekends, once both have four days; else all are one.
Each day's cost is taken as a draw from its group: expected are m·mean for m days to come, with the variance
m·s² + m²·s²/n (the noise of the days to come, and that of the mean of n days seen), summed over the groups. Noise that
clings to the next day widens the interval: with r the correlation of neighbouring days, variances grow by
(1 + r)/(1 - r) and the degrees of freedom shrink by it. The interval is Student's t with Welch and Satterthwaite's
degrees of freedom (Satterthwaite 1946; Hahn and Meeker, Statistical Intervals, 1991, chapter 4). Assumed is that there
is no trend and no change of level: only the last eight weeks are looked at.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

LEAST_DAYS = 7
MOST_DAYS = 56
_LEAST_OF_GROUP = 4
_MOST_CORRELATION = 0.9
_SMALLEST_USD = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Forecast:
    """USD at the month's end; with `confidence` the sum will be between `low` and `high`."""

    low: Decimal
    expected: Decimal
    high: Decimal
    confidence: float


@dataclass(frozen=True, slots=True)
class _Group:
    count: int
    mean: float
    variance: float
    to_come: float

    @property
    def sum_variance(self) -> float:
        """Of the error of the sum of the days to come."""
        return self.variance * (self.to_come + self.to_come**2 / self.count)


def forecast(
    daily: Sequence[Decimal],
    *,
    last_day: date,
    days_left: float,
    spent_so_far: Decimal = Decimal(0),
    confidence: float = 0.95,
) -> Forecast | None:
    """What is spent so far and what is to come. None with fewer than seven days.

    `daily` are USD of whole days, the oldest first and the last of `last_day`; `days_left` begin with what is left of
    the day after that: 9.25 are a quarter of that day and nine more. `spent_so_far` is the month's, today included.
    """
    seen = [float(cost) for cost in daily[-MOST_DAYS:]]
    if len(seen) < LEAST_DAYS:
        return None
    weekends = [_is_weekend(last_day - timedelta(days=len(seen) - 1 - place)) for place in range(len(seen))]
    groups, correlation = _groups(seen, weekends, _to_come(last_day, max(days_left, 0.0)))
    inflation = (1 + correlation) / (1 - correlation)
    expected = sum(group.mean * group.to_come for group in groups)
    variance = sum(group.sum_variance for group in groups)
    margin = 0.0
    if variance > 0:
        margin = _t_quantile(confidence, _freedom(groups, variance) / inflation) * math.sqrt(variance * inflation)
    return Forecast(
        low=spent_so_far + _usd(max(expected - margin, 0.0)),
        expected=spent_so_far + _usd(expected),
        high=spent_so_far + _usd(expected + margin),
        confidence=confidence,
    )


def _is_weekend(day: date) -> bool:
    return day.weekday() >= 5


def _to_come(last_day: date, days_left: float) -> tuple[float, float]:
    """Working days and weekend days among the days left; the first of them may be a part of a day."""
    whole = math.floor(days_left)
    part = days_left - whole
    counts = [0.0, 0.0]
    day = last_day + timedelta(days=1)
    if part:
        counts[_is_weekend(day)] += part
        day += timedelta(days=1)
    for number in range(whole):
        counts[_is_weekend(day + timedelta(days=number))] += 1
    return counts[0], counts[1]


def _groups(
    seen: Sequence[float], weekends: Sequence[bool], to_come: tuple[float, float]
) -> tuple[list[_Group], float]:
    """The groups of days, and the correlation of neighbouring days once their groups' means are taken out."""
    labels = list(weekends)
    if min(labels.count(True), labels.count(False)) < _LEAST_OF_GROUP:
        labels, to_come = [False] * len(seen), (sum(to_come), 0.0)
    groups, rests = [], [0.0] * len(seen)
    for label in sorted(set(labels)):
        places = [place for place, one in enumerate(labels) if one == label]
        mean = math.fsum(seen[place] for place in places) / len(places)
        for place in places:
            rests[place] = seen[place] - mean
        variance = math.fsum(rests[place] ** 2 for place in places) / (len(places) - 1)
        groups.append(_Group(len(places), mean, variance, to_come[label]))
    return groups, _correlation(rests)


def _correlation(rests: Sequence[float]) -> float:
    """Of neighbours, corrected for its bias of about -1/n, and never below 0: the interval does not shrink by it."""
    total = math.fsum(rest * rest for rest in rests)
    if total == 0:
        return 0.0
    found = math.fsum(first * second for first, second in pairwise(rests)) / total
    return min(max(found + 1 / len(rests), 0.0), _MOST_CORRELATION)


def _freedom(groups: Sequence[_Group], variance: float) -> float:
    return 1 / math.fsum((group.sum_variance / variance) ** 2 / (group.count - 1) for group in groups)


def _t_quantile(confidence: float, freedom: float) -> float:
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # noqa: PLC0415 (half a second to import)

    return float(stdtrit(max(freedom, 1.0), 0.5 + confidence / 2))


def _usd(amount: float) -> Decimal:
    return Decimal(amount).quantize(_SMALLEST_USD)
