"""What the page of a test shows: results as `results_of` gives them, put into words, and the plot of the sequence."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString

from apps.evaluations.ab_tests.admin.figures import change, loss, p_value, percent, value
from apps.evaluations.ab_tests.admin.plot import Reading, Reference, plot
from apps.evaluations.ab_tests.measures import Direction
from apps.prompts.models import ABTest, ABTestStatus
from apps.workflows.admin.showing import duration, pretty, span

COLOURS: dict[str, str] = {
    ABTestStatus.DRAFT: "",
    ABTestStatus.RUNNING: "info",
    ABTestStatus.PAUSED: "warning",
    ABTestStatus.STOPPED: "primary",
    ABTestStatus.PROMOTED: "success",
    ABTestStatus.ROLLED_BACK: "danger",
}
VERDICTS = {"better": "success", "worse": "danger", "undecided": ""}
GUARDS = {"ok": "success", "unknown": "", "broken": "danger"}
DAY = timedelta(days=1)
MOST_INCIDENTS, MOST_PHASES = 20, 50
Json = Mapping[str, Any]


def shown(test: ABTest, results: Json) -> dict[str, Any]:
    """The context of the page; `results` are those of the stop, or of now."""
    planned = test.planned_units or 0
    phases = test.phases.order_by("-number").select_related("created_by")
    return {
        "results": results,
        "is_draft": test.status == ABTestStatus.DRAFT,
        "percent_done": min(100, round(100 * results["units"] / planned)) if planned else None,
        "confidence": percent(1 - test.alpha),
        "facts": _facts(test),
        "history": _history(test),
        "plot": drawn(test),
        "variants": _variants(test, results),
        "sample_ratio_p": p_value(results["sample_ratio"]["p_value"]),
        "metrics": [_metric(each) for each in results["metrics"]],
        "guardrails": [_guardrail(each) for each in results["guardrails"]],
        "incidents": list(test.incidents.order_by("-id")[:MOST_INCIDENTS]),
        "phases": [(phase, _weights(phase.weights)) for phase in phases[:MOST_PHASES]],
        "segments": pretty(test.segments) if test.segments else "",
    }


def drawn(test: ABTest) -> SafeString:
    """The primary metric's sequence; empty while there is none."""
    metric = next((each for each in test.metrics if each["name"] == test.primary_metric), None)
    if metric is None:
        return SafeString("")
    sign = 1 if metric["direction"] == Direction.INCREASE else -1
    # What users wrote in it is escaped there.
    return SafeString(
        plot(
            _readings(test, metric["name"]),
            Reference(sign * test.min_effect, test.planned_units),
            title=f"Difference of {metric['name']} to the control",
            write=lambda number: change(number, metric["measure"], metric["aggregation"]),
        )
    )


def _readings(test: ABTest, metric: str) -> dict[str, list[Reading]]:
    lines: dict[str, list[Reading]] = {each.name: [] for each in test.variants.all() if not each.is_control}
    for point in test.points.order_by("taken_at"):
        for name, said in (point.metrics.get(metric) or {}).items():
            if name in lines:
                bounds = (said.get(part) for part in ("difference", "low", "high"))
                lines[name].append(Reading(point.taken_at, point.units, *bounds))
    return lines


def _facts(test: ABTest) -> list[tuple[str, str]]:
    until = test.stopped_at or timezone.now()
    facts = [
        ("Organization", test.organization.name),
        ("Prompt", test.prompt.slug),
        ("Label", test.label),
        ("Mode", test.get_mode_display()),
        ("Takes part", f"{percent(test.exposed_share)} of the traffic"),
        ("Planned", f"{test.planned_units:,} units" if test.planned_units else ""),
        ("Primary metric", test.primary_metric),
        ("Ran" if test.stopped_at else "Runs for", duration(span(test.started_at, until))),
        ("Winner", test.winner),
        ("Created by", str(test.created_by or "")),
    ]
    return [(name, said) for name, said in facts if said]


def _history(test: ABTest) -> list[tuple[str, str, str]]:
    """What became of it, when, and why."""
    events = [
        ("Started", test.started_at, ""),
        ("Paused", test.paused_at, test.pause_reason),
        ("Resumed", test.resumed_at, test.resume_reason),
        ("Stopped", test.stopped_at, test.stop_reason),
        (test.get_status_display().capitalize(), test.concluded_at, test.conclusion_reason),
    ]
    happened = sorted((at, name, reason) for name, at, reason in events if at is not None)
    return [(_moment(at), name, reason) for at, name, reason in happened]


def _variants(test: ABTest, results: Json) -> list[dict[str, Any]]:
    counted = {each["variant"]: each for each in results["arms"]}
    rows = []
    for variant in test.variants.all():
        units, exposures = (counted[variant.name][what] for what in ("units", "exposures"))
        rows.append(
            {
                "variant": variant,
                "weight": percent(variant.weight),
                "units": f"{units:,}",
                "share": percent(units / results["units"]) if results["units"] else "",
                "exposures": f"{exposures:,}",
                "parameters": pretty(variant.parameters) if variant.parameters else "",
            }
        )
    return rows


def _metric(metric: Json) -> dict[str, Any]:
    measure, aggregation = metric["measure"], metric["aggregation"]
    effect = metric["min_effect"]
    return {
        **metric,
        "min_effect_said": change(effect, measure, aggregation).removeprefix("+") if effect is not None else "",
        "rows": [_metric_row(each, measure, aggregation) for each in metric["arms"]],
    }


def _metric_row(arm: Json, measure: str, aggregation: str) -> dict[str, Any]:
    row = {
        "variant": arm["variant"],
        "units": f"{arm['units']:,}",
        "coverage": percent(arm["coverage"]),
        "value": value(arm["value"], measure, aggregation),
        "interval": _between(value, (arm["low"], arm["high"]), measure, aggregation),
        "difference": None,
    }
    found = arm["difference"]
    if found is None:
        return row
    return {
        **row,
        "difference": change(found["value"], measure, aggregation),
        "relative": percent(found["relative"]),
        "sequence": _between(change, (found["low"], found["high"]), measure, aggregation),
        "fixed": _between(change, (found["fixed_low"], found["fixed_high"]), measure, aggregation),
        "p_value": p_value(found["p_value"]),
        "is_fixed_horizon_reached": found["is_fixed_horizon_reached"],
        "probability_best": percent(found["probability_best"]),
        "expected_loss": loss(found["expected_loss"], measure, aggregation, beside=arm["value"]),
        "verdict": found["verdict"],
        "colour": VERDICTS.get(found["verdict"], ""),
    }


def _guardrail(guardrail: Json) -> dict[str, Any]:
    measure = guardrail["measure"]
    margin = guardrail["margin"]
    return {
        "name": guardrail["name"],
        "margin": percent(margin) if guardrail["is_relative"] else change(margin, measure).removeprefix("+"),
        "is_relative": guardrail["is_relative"],
        "rows": [
            {
                "variant": arm["variant"],
                "value": value(arm["value"], measure),
                "control": value(arm["control_value"], measure),
                "interval": _between(change, (arm["low"], arm["high"]), measure),
                "status": arm["status"],
                "colour": GUARDS.get(arm["status"], ""),
            }
            for arm in guardrail["arms"]
        ],
    }


def _between(write: Any, bounds: Iterable[float | None], measure: str, *rest: str) -> str:
    """Of a bound that is not known, the sequence is open on that side."""
    low, high = (None if bound is None else write(bound, measure, *rest) for bound in bounds)
    if low is None and high is None:
        return ""
    return f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"


def _weights(weights: Json) -> str:
    return ", ".join(f"{name} {percent(share)}" for name, share in weights.items())


def _moment(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else ""


def units_a_day(units: int, since: datetime, before: int) -> float:
    """New units a day since a moment at which there were `before`."""
    passed = max((timezone.now() - since) / DAY, 1e-6)
    return (units - before) / passed
