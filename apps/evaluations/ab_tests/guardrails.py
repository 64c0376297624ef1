"""Whether candidates are worse than the control by more than the guardrails of a test allow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import copysign, sqrt
from typing import Any, Literal

from apps.evaluations.ab_tests.checking import ERROR_RATE, LATENCY_P95
from apps.evaluations.ab_tests.measures import Builtin
from apps.evaluations.ab_tests.measuring import measured_of, planned_units_of
from apps.evaluations.ab_tests.sums import Sums, latencies
from apps.evaluations.statistics.deciding import compare
from apps.evaluations.statistics.moments import Moments
from apps.evaluations.statistics.sequences import (
    Pair,
    Share,
    excess_bounds,
    one_sided_multiplier,
    shares_below_quantile,
)
from apps.prompts.models import ABTest
from everquant.histogram import RELATIVE_ERROR, Histogram, bucket_of, value_of

Json = dict[str, Any]
Status = Literal["ok", "unknown", "broken"]
BUILT_IN: Json = {"name": ERROR_RATE, "measure": ERROR_RATE, "margin": 0.1, "is_relative": False}
"""What every test has that names no error rate of its own."""
P95 = 0.95


@dataclass(frozen=True, slots=True)
class Finding:
    """`low` and `high` are of the candidate's value less the control's, and hold at every look at once."""

    value: float | None = None
    control_value: float | None = None
    low: float | None = None
    high: float | None = None
    status: Status = "unknown"


@dataclass(frozen=True, slots=True)
class Limit:
    """`alpha` is one guardrail's and one candidate's part of the test's."""

    measure: str
    margin: float
    is_relative: bool
    alpha: float


def guardrails_of(test: ABTest) -> list[Json]:
    named = list(test.guardrails)
    has_own = any(guardrail["measure"] == ERROR_RATE for guardrail in named)
    return named if has_own else [*named, BUILT_IN]


def judge_guardrails(test: ABTest, sums: Sums) -> list[Json]:
    """One-sided: broken is what exceeds its margin for certain, ok what stays within it for certain.

    The chance that any of them is ever called broken though none is, is at most the test's alpha.
    """
    guardrails = guardrails_of(test)
    parts = max(1, len(sums.candidates)) * len(guardrails)
    return [
        {
            **{key: guardrail[key] for key in ("name", "measure", "margin", "is_relative")},
            "arms": [
                _arm(test, sums, variant.name, _limit(guardrail, test.alpha / parts)) for variant in sums.candidates
            ],
        }
        for guardrail in guardrails
    ]


def _limit(guardrail: Mapping[str, Any], alpha: float) -> Limit:
    return Limit(guardrail["measure"], float(guardrail["margin"]), bool(guardrail["is_relative"]), alpha)


def _arm(test: ABTest, sums: Sums, variant: str, limit: Limit) -> Json:
    control = sums.control
    finding = Finding()
    if control is not None and limit.measure == ERROR_RATE:
        finding = _judge_errors(sums, control.name, variant, limit)
    elif control is not None and limit.measure == LATENCY_P95:
        finding = _judge_latency(sums, control.name, variant, limit)
    elif control is not None:
        finding = _judge_mean(test, sums, control.name, variant, limit)
    return {
        "variant": variant,
        "value": finding.value,
        "control_value": finding.control_value,
        "low": finding.low,
        "high": finding.high,
        "status": finding.status,
    }


def _judge_errors(sums: Sums, control: str, variant: str, limit: Limit) -> Finding:
    """The share of a unit's calls that fail, on average over units: exact, so that a handful of units is enough."""
    mine, theirs = sums.moments_of(Builtin.SUCCESS, variant), sums.moments_of(Builtin.SUCCESS, control)
    shared = sorted(mine.keys() & theirs.keys())
    if not shared:
        return Finding()
    whole = sum(mine[phase].units + theirs[phase].units for phase in shared)
    pairs = [
        Pair((mine[phase].units + theirs[phase].units) / whole, _failures(theirs[phase]), _failures(mine[phase]))
        for phase in shared
    ]
    low, high = excess_bounds(pairs, alpha=limit.alpha)
    least, most, margin = low, high, limit.margin
    if limit.is_relative:
        (least, most), margin = excess_bounds(pairs, alpha=limit.alpha, factor=1 + limit.margin), 0.0
    return Finding(
        value=sum(pair.weight * pair.candidate.value for pair in pairs),
        control_value=sum(pair.weight * pair.control.value for pair in pairs),
        low=low,
        high=high,
        status=_status(least, most, margin),
    )


def _failures(moments: Moments) -> Share:
    return Share(moments.units, min(max(moments.units - moments.sum_m, 0.0), moments.units))


def _status(least: float, most: float, margin: float) -> Status:
    return "broken" if least > margin else "ok" if most <= margin else "unknown"


def _judge_mean(test: ABTest, sums: Sums, control: str, variant: str, limit: Limit) -> Finding:
    """By the asymptotic sequence; each of its ends is a bound of its own."""
    measured = measured_of(test, limit.measure)
    planned = planned_units_of(test)
    mine, theirs = sums.moments_of(limit.measure, variant), sums.moments_of(limit.measure, control)
    found = compare(theirs, mine, measured, alpha=2 * limit.alpha, planned_units=planned)
    if found is None:
        return Finding()
    value = found.control_value + found.value
    if found.low is None or found.high is None:
        return Finding(value, found.control_value)
    worse = 1 if measured.is_less_better else -1
    factor = 1 + worse * copysign(limit.margin, found.control_value) if limit.is_relative else 1.0
    excess = worse * (value - factor * found.control_value)
    reach = sqrt(found.candidate_error**2 + (factor * found.control_error) ** 2) * one_sided_multiplier(
        found.units, planned_units=planned, alpha=limit.alpha
    )
    margin = 0.0 if limit.is_relative else limit.margin
    return Finding(value, found.control_value, found.low, found.high, _status(excess - reach, excess + reach, margin))


@dataclass(frozen=True, slots=True)
class _Latencies:
    """Of an arm in one phase. `calls` are those that say as much as calls of as many units would."""

    weight: float
    calls: float
    histogram: Histogram


def _judge_latency(sums: Sums, control: str, variant: str, limit: Limit) -> Finding:
    """The 95th percentile of answers, in ms, by a band of order statistics for each arm."""
    mine, theirs = sums.arms.get(variant, {}), sums.arms.get(control, {})
    shared = [phase for phase in sorted(mine.keys() & theirs.keys()) if mine[phase].units and theirs[phase].units]
    whole = sum(mine[phase].units + theirs[phase].units for phase in shared)
    arms: list[list[_Latencies]] = [[], []]
    for phase in shared:
        pair = [latencies(each[phase]) for each in (theirs, mine)]
        if not all(histogram.count for histogram in pair):
            continue
        weight = (mine[phase].units + theirs[phase].units) / whole
        for own, row, histogram in zip(arms, (theirs[phase], mine[phase]), pair, strict=True):
            own.append(_Latencies(weight, histogram.count * row.exposures / row.squared_exposures, histogram))
    if not arms[0]:
        return Finding()
    (control_value, least, most), (value, low, high) = (_p95(own, alpha=limit.alpha / 2) for own in arms)
    factor, margin = (1 + limit.margin, 0.0) if limit.is_relative else (1.0, limit.margin)
    bounds = (low - factor * most if most is not None else None, high - factor * least if high is not None else None)
    return Finding(
        value=value,
        control_value=control_value,
        low=low - most if most is not None else None,
        high=high - least if high is not None else None,
        status="broken"
        if bounds[0] is not None and bounds[0] > margin
        else "ok"
        if bounds[1] is not None and bounds[1] <= margin
        else "unknown",
    )


def _p95(phases: Sequence[_Latencies], *, alpha: float) -> tuple[float, float, float | None]:
    """The percentile over all phases and its bounds, widened by what buckets blur; None where there is none above."""
    whole = sum(phase.weight for phase in phases)
    calls = whole**2 / sum(phase.weight**2 / phase.calls for phase in phases)
    low, high = shares_below_quantile(calls, P95, alpha=alpha)
    return (
        _quantile(phases, P95),
        _quantile(phases, low) / (1 + RELATIVE_ERROR) if low > 0 else 0.0,
        _quantile(phases, high) / (1 - RELATIVE_ERROR) if high < 1 else None,
    )


def _quantile(phases: Sequence[_Latencies], share: float) -> float:
    """The least value that at least this share of all phases' calls, each phase by its weight, do not exceed."""
    whole = sum(phase.weight for phase in phases)
    low = bucket_of(min(phase.histogram.quantile(0.0) or 0.0 for phase in phases))
    high = bucket_of(max(phase.histogram.quantile(1.0) or 0.0 for phase in phases))
    while low < high:
        middle = (low + high) // 2
        below = sum(phase.weight * (phase.histogram.share_below(value_of(middle)) or 0.0) for phase in phases)
        low, high = (low, middle) if below >= share * whole else (middle + 1, high)
    return value_of(low)
