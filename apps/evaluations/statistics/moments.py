"""Estimates from sums over units: means, sums and ratios, with what they vary by, without a look at a single unit."""

from dataclasses import dataclass, fields
from math import isfinite
from typing import Literal, Self

Aggregation = Literal["mean", "sum", "ratio"]
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Moments:
    """Over units with values: unit i has k of them that add up to s, and their mean is m."""

    units: float = 0
    sum_k: float = 0
    sum_kk: float = 0
    sum_s: float = 0
    sum_ss: float = 0
    sum_sk: float = 0
    sum_m: float = 0
    sum_mm: float = 0

    def __add__(self, other: Self) -> "Moments":
        pairs = ((getattr(self, each.name), getattr(other, each.name)) for each in fields(self))
        return Moments(*(mine + others for mine, others in pairs))

    @property
    def may_be_yes_or_no(self) -> bool:
        """Every unit has one value, which is 0 or 1, or values vary exactly as if they were."""
        return self.units == self.sum_k and self.sum_s == self.sum_ss


@dataclass(frozen=True, slots=True)
class Estimate:
    """`variance` is of one unit's part in the value, so that the standard error is √(variance / units)."""

    units: float
    value: float
    variance: float


def estimate(moments: Moments, aggregation: Aggregation) -> Estimate | None:
    """None for fewer than two units, and where the sums are too large for numbers.

    `ratio` is Σs / Σk with the variance of the delta method (Deng, Knoblich and Lu, KDD 2018).
    """
    n = moments.units
    if n < 2:
        return None
    if aggregation == "ratio":
        value = moments.sum_s / moments.sum_k
        squares = moments.sum_ss - 2 * value * moments.sum_sk + value * value * moments.sum_kk
        squares, whole = squares / (moments.sum_k / n) ** 2, moments.sum_ss / (moments.sum_k / n) ** 2
    else:
        total, whole = (moments.sum_m, moments.sum_mm) if aggregation == "mean" else (moments.sum_s, moments.sum_ss)
        value, squares = total / n, whole - total * total / n
    if not (isfinite(value) and isfinite(squares)):
        return None
    return Estimate(n, value, squares / (n - 1) if squares > _ROUNDING * whole else 0.0)


def share_estimate(moments: Moments) -> Estimate | None:
    """As the mean's, of values in [0, 1]; the variance has a unit of 0 and one of 1 more (Agresti and Caffo 2000).

    It is positive where all units were the same.
    """
    plain = estimate(moments, "mean")
    if plain is None:
        return None
    n, total = moments.units + 2, moments.sum_m + 1
    return Estimate(moments.units, plain.value, max(0.0, moments.sum_mm + 1 - total**2 / n) / (n - 1))
