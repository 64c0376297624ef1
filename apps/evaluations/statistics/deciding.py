"""What a candidate's units say against the control's, within the phases that they began in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt
from typing import Any, Literal

from apps.evaluations.statistics.binary import normal_quantile, wilson_interval
from apps.evaluations.statistics.moments import Aggregation, Estimate, Moments, estimate, share_estimate
from apps.evaluations.statistics.sequences import multiplier

BURN_IN = 50
"""Units that each arm has before anything is decided: the sequences are of the normal limit."""
Verdict = Literal["better", "worse", "undecided"]
_DRAWS = 20_000
_SEED = 31_415


@dataclass(frozen=True, slots=True)
class Measured:
    """What is compared: `is_share` says that values are between 0 and 1, whatever the unit has seen."""

    aggregation: Aggregation
    is_share: bool = False
    is_less_better: bool = False


@dataclass(frozen=True, slots=True)
class Arm:
    """`value` over all phases that it has two units in, each weighing as much as all variants' units in it do."""

    units: int
    value: float | None
    error: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A test for one look, valid at the planned number of units."""

    p_value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The candidate's value less the control's. `low` and `high` are the confidence sequence, None before BURN_IN and
    where nothing varies; `fixed` is None where nothing varies.
    """

    value: float
    control_value: float
    control_error: float
    candidate_error: float
    units: int
    low: float | None
    high: float | None
    fixed: Fixed | None
    verdict: Verdict

    @property
    def relative(self) -> float | None:
        return self.value / abs(self.control_value) if self.control_value else None


@dataclass(frozen=True, slots=True)
class _Stratum:
    phase: int
    weight: float
    control: Estimate
    candidate: Estimate

    def squared_errors(self) -> tuple[float, float]:
        units = self.control.units, self.candidate.units
        variances = cautious_variances((self.control.variance, self.candidate.variance), units)
        return variances[0] / units[0], variances[1] / units[1]


def cautious_variances(variances: tuple[float, float], units: tuple[float, float]) -> tuple[float, float]:
    """Of two arms, each at least that of both together.

    A small arm of skewed values whose rare large ones are still to come has too small a mean and too small a variance
    at once; beside a large arm that would be taken for a difference in up to a quarter of all tests.
    """
    pooled = (variances[0] * units[0] + variances[1] * units[1]) / sum(units)
    return max(variances[0], pooled), max(variances[1], pooled)


Phases = Mapping[int, Moments]


def compare(
    control: Phases, candidate: Phases, measured: Measured, *, alpha: float, planned_units: float
) -> Difference | None:
    """None as long as no phase has two units of each.

    Phases weigh by their units, so that weights which changed mix no early units with late ones (Simpson's paradox).
    Those without BURN_IN units of each are left out once one has them.
    """
    strata, is_burnt_in = _strata(control, candidate, measured)
    if not strata:
        return None
    spread = [stratum.squared_errors() for stratum in strata]
    squares = [each.weight**2 for each in strata]
    control_error = sqrt(sum(square * pair[0] for square, pair in zip(squares, spread, strict=True)))
    candidate_error = sqrt(sum(square * pair[1] for square, pair in zip(squares, spread, strict=True)))
    value = sum(each.weight * (each.candidate.value - each.control.value) for each in strata)
    units = int(sum(each.candidate.units + each.control.units for each in strata))
    error = sqrt(control_error**2 + candidate_error**2)
    low = high = None
    if is_burnt_in and error > 0:
        reach = error * multiplier(units, planned_units=planned_units, alpha=alpha)
        low, high = value - reach, value + reach
    return Difference(
        value=value,
        control_value=sum(each.weight * each.control.value for each in strata),
        control_error=control_error,
        candidate_error=candidate_error,
        units=units,
        low=low,
        high=high,
        fixed=_fixed([(control[each.phase], candidate[each.phase]) for each in strata], measured, alpha),
        verdict=_verdict(low, high, measured),
    )


def _strata(control: Phases, candidate: Phases, measured: Measured) -> tuple[list[_Stratum], bool]:
    found = []
    for phase in sorted(control.keys() & candidate.keys()):
        pair = _estimates(measured, control[phase], candidate[phase])
        if pair[0] is not None and pair[1] is not None:
            found.append(_Stratum(phase, pair[0].units + pair[1].units, pair[0], pair[1]))
    burnt_in = [each for each in found if min(each.control.units, each.candidate.units) >= BURN_IN]
    kept = burnt_in or found
    whole = sum(each.weight for each in kept)
    return [replace(each, weight=each.weight / whole) for each in kept], bool(burnt_in)


def _estimates(measured: Measured, *arms: Moments) -> list[Estimate | None]:
    if measured.aggregation == "mean" and (measured.is_share or _are_yes_or_no(*arms)):
        return [share_estimate(each) for each in arms]
    return [estimate(each, measured.aggregation) for each in arms]


def _are_yes_or_no(*arms: Moments) -> bool:
    """A value of 0 alone does not say that it could be 1."""
    return all(each.may_be_yes_or_no for each in arms) and any(each.sum_s > 0 for each in arms)


def _verdict(low: float | None, high: float | None, measured: Measured) -> Verdict:
    if low is None or high is None or low <= 0 <= high:
        return "undecided"
    return "better" if (high < 0) == measured.is_less_better else "worse"


def _fixed(phases: Sequence[tuple[Moments, Moments]], measured: Measured, alpha: float) -> Fixed | None:
    """Newcombe's interval and the pooled z test for one yes or no of each unit, Welch's t test for other values, both
    of one phase; the normal limit for ratios and several phases.
    """
    is_one = len(phases) == 1
    is_single = is_one and all(each.may_be_yes_or_no for each in phases[0])
    if is_single and measured.aggregation == "mean" and (measured.is_share or _are_yes_or_no(*phases[0])):
        return proportions_test(*phases[0], alpha=alpha)
    if is_one and measured.aggregation != "ratio":
        return welch_test(*(estimate(each, measured.aggregation) for each in phases[0]), alpha=alpha)
    return _normal_test(phases, measured.aggregation, alpha)


def proportions_test(control: Moments, candidate: Moments, *, alpha: float) -> Fixed | None:
    """The difference of two independent proportions, by Newcombe's method 10 (1998) and the pooled z test.

    As `confint_proportions_2indep` and `proportions_ztest` of statsmodels.
    """
    from scipy.special import ndtr  # type: ignore[import-untyped]  # noqa: PLC0415 (half a second to import)

    first, second = control.sum_s / control.units, candidate.sum_s / candidate.units
    a = wilson_interval(int(control.sum_s), int(control.units), 1 - alpha)
    b = wilson_interval(int(candidate.sum_s), int(candidate.units), 1 - alpha)
    difference = second - first
    low = difference - sqrt((second - b.low) ** 2 + (a.high - first) ** 2)
    high = difference + sqrt((b.high - second) ** 2 + (first - a.low) ** 2)
    pooled = (control.sum_s + candidate.sum_s) / (control.units + candidate.units)
    error = sqrt(pooled * (1 - pooled) * (1 / control.units + 1 / candidate.units))
    return Fixed(2 * float(ndtr(-abs(difference) / error)) if error > 0 else 1.0, low, high)


def welch_test(control: Estimate | None, candidate: Estimate | None, *, alpha: float) -> Fixed | None:
    """Of two means with variances of their own (Welch 1947), as `ttest_ind` of scipy; None where nothing varies."""
    from scipy.special import stdtr, stdtrit  # noqa: PLC0415 (half a second to import)

    if control is None or candidate is None or control.variance + candidate.variance <= 0:
        return None
    parts = control.variance / control.units, candidate.variance / candidate.units
    error, difference = sqrt(sum(parts)), candidate.value - control.value
    share = parts[0] / sum(parts)
    freedom = 1 / (share**2 / (control.units - 1) + (1 - share) ** 2 / (candidate.units - 1))
    half = float(stdtrit(freedom, 1 - alpha / 2)) * error
    return Fixed(2 * float(stdtr(freedom, -abs(difference) / error)), difference - half, difference + half)


def _normal_test(phases: Sequence[tuple[Moments, Moments]], aggregation: Aggregation, alpha: float) -> Fixed | None:
    from scipy.special import ndtr  # noqa: PLC0415 (half a second to import)

    difference = variance = 0.0
    whole = sum(control.units + candidate.units for control, candidate in phases)
    for pair in phases:
        share = sum(each.units for each in pair) / whole
        control, candidate = (estimate(each, aggregation) for each in pair)
        if control is None or candidate is None:
            return None
        difference += share * (candidate.value - control.value)
        variance += share**2 * (control.variance / control.units + candidate.variance / candidate.units)
    if variance <= 0:
        return None
    half = normal_quantile(1 - alpha / 2) * sqrt(variance)
    p_value = 2 * float(ndtr(-abs(difference) / sqrt(variance)))
    return Fixed(p_value, difference - half, difference + half)


def measure_arm(
    phases: Phases, measured: Measured, *, phase_units: Mapping[int, float], alpha: float, planned_units: float
) -> Arm:
    """The interval is a confidence sequence too, from BURN_IN units on; that of a share ends at 0 and 1."""
    found = {phase: one for phase, moments in phases.items() if (one := _estimates(measured, moments)[0])}
    units = int(sum(moments.units for moments in phases.values()))
    whole = sum(phase_units[phase] for phase in found)
    if not found or whole <= 0:
        return Arm(units, None, 0.0, None, None)
    value = sum(phase_units[phase] / whole * one.value for phase, one in found.items())
    error = sqrt(sum((phase_units[phase] / whole) ** 2 * one.variance / one.units for phase, one in found.items()))
    if units < BURN_IN or error <= 0:
        return Arm(units, value, error, None, None)
    reach = error * multiplier(units, planned_units=planned_units, alpha=alpha)
    low, high = value - reach, value + reach
    return (
        Arm(units, value, error, max(0.0, low), min(1.0, high))
        if measured.is_share
        else Arm(units, value, error, low, high)
    )


@dataclass(frozen=True, slots=True)
class Chance:
    """`loss` is what choosing this one is expected to lose to the best, in the value's unit."""

    probability_best: float
    expected_loss: float


def chances(arms: Mapping[str, Arm], measured: Measured) -> dict[str, Chance]:
    """To be the best one of those with a value, by draws from the normal approximation of each; always the same ones.

    A display and what the bandit weighs by, no basis for a decision.
    """
    import numpy as np  # noqa: PLC0415 (only where it is used)

    known = {name: arm for name, arm in arms.items() if arm.value is not None}
    if not known:
        return {}
    sign = -1.0 if measured.is_less_better else 1.0
    means = np.array([sign * (arm.value or 0.0) for arm in known.values()])
    errors = np.array([arm.error for arm in known.values()])
    drawn = means + errors * _standard_normals(len(known))
    losses = (drawn.max(axis=1)[:, None] - drawn).mean(axis=0)
    return {name: Chance(won, float(loss)) for name, won, loss in zip(known, shares_won(drawn), losses, strict=True)}


def shares_won(drawn: Any) -> list[float]:
    """How often each column has the row's largest; columns that are the same, such as what costs nothing, share it."""
    is_best = drawn == drawn.max(axis=1, keepdims=True)
    return [float(share) for share in (is_best / is_best.sum(axis=1, keepdims=True)).mean(axis=0)]


@cache
def _standard_normals(arms: int) -> Any:
    import numpy as np  # noqa: PLC0415 (only where it is used)

    return np.random.default_rng(_SEED).standard_normal((_DRAWS, arms))
