"""What results say in words: what may be concluded, what speaks against a promotion, what to be wary of."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from apps.evaluations.statistics.deciding import BURN_IN
from apps.evaluations.statistics.sample_ratio import LEVEL
from apps.prompts.models import ABTest, ABTestStatus

Json = Mapping[str, Any]
MOST_COVERAGE_APART = 0.05
"""Of the shares of units that have a value at all, between two arms."""


def conclude(results: Json) -> str:
    """One sentence about the primary metric, or about what keeps it from being believed."""
    metric = _primary(results)
    if results["status"] == ABTestStatus.DRAFT:
        return "The test has not started, so there is nothing to conclude."
    if not results["units"] or metric is None:
        return "No unit has been exposed yet, so nothing can be concluded."
    if results["sample_ratio"]["is_mismatch"]:
        return (
            "Units did not come to the variants as the weights say, so no difference can be believed: find the cause, "
            "and begin a new test."
        )
    broken = _broken(results)
    better = [] if results["mode"] == ABTest.Mode.BANDIT else _better(metric, broken)
    if better:
        return f"This may be concluded at any time: {'; '.join([*better, *broken.values()])}."
    if broken:
        return f"Not to be promoted is what is too bad for certain: {'; '.join(broken.values())}."
    if results["mode"] == ABTest.Mode.BANDIT:
        return _conclude_bandit(metric)
    return _conclude_metric(results, metric)


def _better(metric: Json, broken: Mapping[str, str]) -> list[str]:
    return [
        f"{arm['variant']} is better than the control in {metric['name']}, by {_shown(arm)}"
        for arm in _compared(metric)
        if arm["difference"]["verdict"] == "better" and arm["variant"] not in broken
    ]


def _conclude_metric(results: Json, metric: Json) -> str:
    by_verdict: dict[str, list[Json]] = defaultdict(list)
    for arm in _compared(metric):
        by_verdict[arm["difference"]["verdict"]].append(arm)
    worse = "; ".join(f"{arm['variant']} is worse in {metric['name']}, by {_shown(arm)}" for arm in by_verdict["worse"])
    if worse and len(by_verdict["worse"]) == sum(not arm["is_control"] for arm in results["arms"]):
        return f"The control is the best variant, which may be concluded at any time: {worse}."
    rest = _conclude_undecided(results, metric, by_verdict["undecided"])
    return f"This may be concluded at any time: {worse}; of the others: {rest[0].lower()}{rest[1:]}" if worse else rest


def _conclude_undecided(results: Json, metric: Json, undecided: Sequence[Json]) -> str:
    shown = [arm for arm in undecided if arm["difference"]["low"] is not None]
    if not shown and undecided and all(arm["difference"]["p_value"] is None for arm in undecided):
        return f"Nothing can be concluded, as {metric['name']} is the same for all units of each variant."
    if not shown:
        return (
            f"Too few units to conclude anything: each variant needs {BURN_IN} with a value of {metric['name']} in a "
            "phase."
        )
    said = "; ".join(f"the difference of {arm['variant']} in {metric['name']} is {_shown(arm)}" for arm in shown)
    units, planned = _measured_units(metric), results["planned_units"]
    if planned is None:
        return f"Nothing can be concluded yet from {units:,} units: {said}."
    if units < planned:
        return f"Nothing can be concluded yet, with {units:,} of {planned:,} planned units: {said}."
    return (
        f"No difference has been shown with all {planned:,} planned units, which does not say that there is none "
        f"(the smallest that matters is {_number(metric['min_effect'])}): {said}."
    )


def _conclude_bandit(metric: Json) -> str:
    chances = {arm["variant"]: arm["difference"]["probability_best"] for arm in _compared(metric)}
    known = {name: chance for name, chance in chances.items() if chance is not None}
    if not known:
        return "Too few units to conclude anything."
    best = max(known, key=lambda name: known[name])
    share = known[best]
    if (rest := 1 - sum(known.values())) > share:
        best, share = "the control", rest
    return (
        f"With a chance of about {share:.0%} {best} is the best in {metric['name']}, but weights that follow what was "
        "seen bias all estimates, so this is no proof."
    )


def reasons_against(results: Json, variant: str) -> list[str]:
    """What speaks against promoting a variant, in sentences; empty for one that may be promoted."""
    arm = next((each for each in results["arms"] if each["variant"] == variant), None)
    if arm is None:
        return [f"The test has no variant {variant}."]
    if arm["is_control"]:
        return ["This is the control, which traffic gets anyway."]
    reasons = []
    if results["sample_ratio"]["is_mismatch"]:
        reasons.append(_mismatch(results))
    verdict = _verdict(results, variant)
    if verdict == "worse":
        reasons.append(f"It is worse than the control in {results['primary_metric']}.")
    if verdict == "undecided" and (few := _too_few(results)):
        reasons.append(few)
    reasons += [
        f"It breaks the guardrail {guardrail['name']}."
        for guardrail in results["guardrails"]
        for each in guardrail["arms"]
        if each["variant"] == variant and each["status"] == "broken"
    ]
    return reasons


def _too_few(results: Json) -> str | None:
    metric, planned = _primary(results), results["planned_units"]
    units = _measured_units(metric) if metric is not None else 0
    if planned is None:
        return f"No difference has been shown with {units:,} units, and no number of units was planned."
    if units < planned:
        return f"No difference has been shown, and there are only {units:,} of {planned:,} planned units."
    return None


def warnings_of(results: Json) -> list[str]:
    warnings = []
    if results["status"] == ABTestStatus.PAUSED:
        warnings.append("The test is paused: everybody gets the control, and no unit is added.")
    if results["mode"] == ABTest.Mode.BANDIT:
        warnings.append("The weights follow what was seen, so that all estimates and intervals are biased.")
    if results["sample_ratio"]["is_mismatch"]:
        warnings.append(_mismatch(results))
    if len(results["phases"]) > 1 and results["mode"] != ABTest.Mode.BANDIT:
        warnings.append(
            "The weights have changed: variants are compared within each phase, and phases in which one of the two has "
            f"fewer than {BURN_IN} units are left out."
        )
    return warnings + [
        f"Of a variant's units {low:.0%} to {high:.0%} have a value of {metric['name']}: what is missing may be why "
        "the variants differ."
        for metric in results["metrics"]
        for low, high in [_coverage(metric)]
        if high - low > MOST_COVERAGE_APART
    ]


def _coverage(metric: Json) -> tuple[float, float]:
    """The least and the most of arms in which it can be told."""
    told = [arm["coverage"] for arm in metric["arms"] if arm["coverage"] is not None and arm["units"] >= BURN_IN] or [
        0.0
    ]
    return min(told), max(told)


def _mismatch(results: Json) -> str:
    return (
        "The numbers of units are not what the weights say "
        f"(p = {_number(results['sample_ratio']['p_value'])}, below {LEVEL})."
    )


def _broken(results: Json) -> dict[str, str]:
    """What a variant breaks for certain, by variant; one guardrail of each is enough."""
    return {
        arm["variant"]: f"{arm['variant']} breaks the guardrail {guardrail['name']} with {_number(arm['value'])} "
        f"against {_number(arm['control_value'])} of the control"
        for guardrail in results["guardrails"]
        for arm in guardrail["arms"]
        if arm["status"] == "broken"
    }


def _primary(results: Json) -> Json | None:
    return next((metric for metric in results["metrics"] if metric["is_primary"]), None)


def _measured_units(metric: Json) -> int:
    """Those that have a value, which are what is planned."""
    return sum(arm["units"] for arm in metric["arms"])


def _compared(metric: Json) -> list[Json]:
    return [arm for arm in metric["arms"] if arm["difference"] is not None]


def _verdict(results: Json, variant: str) -> str:
    metric = _primary(results)
    found = [arm for arm in _compared(metric) if arm["variant"] == variant] if metric else []
    return str(found[0]["difference"]["verdict"]) if found else "undecided"


def _shown(arm: Json) -> str:
    found = arm["difference"]
    return f"{_number(found['value'])} ({_number(found['low'])} to {_number(found['high'])})"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.4g}"
