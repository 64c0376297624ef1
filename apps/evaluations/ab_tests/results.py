"""What a test shows: its arms, its metrics with their sequences, its guardrails, and what may be concluded."""

from datetime import UTC
from math import isfinite
from typing import Any

from django.utils import timezone

from apps.evaluations.ab_tests.conclusions import conclude, reasons_against, warnings_of
from apps.evaluations.ab_tests.guardrails import judge_guardrails
from apps.evaluations.ab_tests.measuring import measured, planned_units_of
from apps.evaluations.ab_tests.sums import Sums, read_sums
from apps.evaluations.models import ABIncident
from apps.evaluations.statistics.deciding import Arm, Chance, Difference, chances, compare, measure_arm
from apps.evaluations.statistics.sample_ratio import check_sample_ratio
from apps.prompts.models import ABTest

Json = dict[str, Any]
MOST_INCIDENTS = 20
MOST_PHASES = 100
"""Of those that are shown, the newest: a bandit begins many."""


def results_of(test: ABTest) -> Json:
    """As of what is collected by now, whatever the test's state; five queries. Intervals without bounds are null."""
    sums = read_sums(test)
    results: Json = {
        "test_id": str(test.id),
        "status": test.status,
        "as_of": _moment(timezone.now()),
        "mode": test.mode,
        "units": sum(sums.units(variant.name) for variant in sums.variants),
        "exposures": sum(sums.exposures(variant.name) for variant in sums.variants),
        "planned_units": test.planned_units,
        "primary_metric": test.primary_metric,
        "phases": _phases(sums),
        "sample_ratio": _sample_ratio(test, sums),
        "arms": [
            {
                "variant": variant.name,
                "is_control": variant.is_control,
                "weight": variant.weight,
                "units": sums.units(variant.name),
                "exposures": sums.exposures(variant.name),
            }
            for variant in sums.variants
        ],
        "metrics": [_metric(test, sums, metric) for metric in test.metrics],
        "guardrails": judge_guardrails(test, sums),
        "incidents": _incidents(test),
    }
    results = _without_infinity(results)
    return {
        **results,
        "conclusion": conclude(results),
        "can_promote": _can_promote(results),
        "warnings": warnings_of(results),
    }


def reasons_not_to_promote(test: ABTest, variant: str) -> list[str]:
    """By the results of the stop once there are some, else by those of now; empty when nothing speaks against it."""
    return reasons_against(test.final_results or results_of(test), variant)


def _can_promote(results: Json) -> Json | None:
    """The candidate that is best for certain in the primary metric: of several the most likely one, and rather one that
    nothing speaks against.
    """
    better = [
        {
            "variant": arm["variant"],
            "reasons": reasons_against(results, arm["variant"]),
            "chance": arm["difference"]["probability_best"],
        }
        for metric in results["metrics"]
        if metric["is_primary"]
        for arm in metric["arms"]
        if arm["difference"] and arm["difference"]["verdict"] == "better"
    ]
    if not better:
        return None
    best = max(better, key=lambda each: (not each["reasons"], each["chance"]))
    return {"variant": best["variant"], "reasons": best["reasons"]}


def _metric(test: ABTest, sums: Sums, metric: Json) -> Json:
    by, measure = measured(metric), metric["measure"]
    alpha, planned = test.alpha / max(1, len(sums.candidates)), planned_units_of(test)
    is_primary, phase_units = metric["name"] == test.primary_metric, sums.phase_units(measure)
    arms = {
        variant.name: measure_arm(
            sums.moments_of(measure, variant.name), by, phase_units=phase_units, alpha=alpha, planned_units=planned
        )
        for variant in sums.variants
    }
    best = chances(arms, by)
    rows = []
    for variant in sums.variants:
        row, found = _arm(arms[variant.name], variant.name, sums.units(variant.name)), None
        if sums.control is not None and not variant.is_control:
            pair = sums.moments_of(measure, sums.control.name), sums.moments_of(measure, variant.name)
            found = compare(*pair, by, alpha=alpha, planned_units=planned)
        difference = _difference(found, best.get(variant.name), len(sums.candidates)) if found else None
        if difference is not None:
            is_reached = test.planned_units is not None and sum(phase_units.values()) >= test.planned_units
            difference["is_fixed_horizon_reached"] = is_reached
        rows.append({**row, "difference": difference})
    return {
        **{key: metric[key] for key in ("name", "measure", "aggregation", "direction")},
        "is_primary": is_primary,
        "min_effect": test.min_effect if is_primary else None,
        "arms": rows,
    }


def _arm(arm: Arm, variant: str, exposed: int) -> Json:
    return {
        "variant": variant,
        "units": arm.units,
        "value": arm.value,
        "low": arm.low,
        "high": arm.high,
        "coverage": arm.units / exposed if exposed else None,
    }


def _difference(found: Difference, chance: Chance | None, candidates: int) -> Json:
    """p is multiplied by the number of candidates, as the levels of all intervals are divided by it (Bonferroni)."""
    fixed = found.fixed
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "relative": found.relative,
        "p_value": min(1.0, fixed.p_value * candidates) if fixed else None,
        "fixed_low": fixed.low if fixed else None,
        "fixed_high": fixed.high if fixed else None,
        "probability_best": chance.probability_best if chance else None,
        "expected_loss": chance.expected_loss if chance else None,
        "verdict": found.verdict,
    }


def _sample_ratio(test: ABTest, sums: Sums) -> Json:
    """Nothing can be said of a bandit, whose weights follow what was seen."""
    if test.mode == ABTest.Mode.BANDIT:
        return {"p_value": None, "is_mismatch": False, "expected": {}, "observed": {}}
    by_phase = [
        (phase.weights, {name: arms[phase.number].units for name, arms in sums.arms.items() if phase.number in arms})
        for phase in sums.phases
    ]
    found = check_sample_ratio(by_phase)
    return {
        "p_value": found.p_value,
        "is_mismatch": found.is_mismatch,
        "expected": found.expected,
        "observed": found.observed,
    }


def _phases(sums: Sums) -> list[Json]:
    return [
        {
            "number": phase.number,
            "weights": phase.weights,
            "units": sum(arms[phase.number].units for arms in sums.arms.values() if phase.number in arms),
            "started_at": _moment(phase.started_at),
            "ended_at": _moment(phase.ended_at) if phase.ended_at else None,
        }
        for phase in sums.phases[-MOST_PHASES:]
    ]


def _incidents(test: ABTest) -> list[Json]:
    newest = ABIncident.objects.filter(test=test).order_by("-id")[:MOST_INCIDENTS]
    return [
        {
            "id": str(incident.id),
            "kind": incident.kind,
            "variant": incident.variant,
            "message": incident.message,
            "created_at": _moment(incident.created_at),
        }
        for incident in newest
    ]


def _moment(at: Any) -> str:
    return str(at.astimezone(UTC).isoformat().replace("+00:00", "Z"))


def _without_infinity(value: Any) -> Any:
    """JSON has no numbers that are none."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_infinity(one) for key, one in value.items()}
    return [_without_infinity(one) for one in value] if isinstance(value, list) else value
