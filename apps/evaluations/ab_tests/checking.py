"""What a test must be: at any time, and when it starts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from apps.evaluations.ab_tests.measures import Direction, measures_of
from apps.evaluations.ab_tests.variants import weight_problem
from apps.executions.orchestrator.candidates import candidates_for
from apps.prompts import published
from apps.prompts.ab_tests.segments import check_segments
from apps.prompts.models import PRODUCTION, ABTest, ABVariant, Prompt
from apps.prompts.promotion import PromotionRefused
from everquant.api.errors import BadRequest, Conflict, Details

ERROR_RATE, LATENCY_P95 = "error_rate", "latency_p95"
"""What only guardrails measure."""
MIN_VARIANTS = 2


def check_definition(test: ABTest) -> None:
    """Raises BadRequest naming what does not fit together."""
    problems = _definition_problems(test)
    if problems:
        raise BadRequest("The test is not valid.", details=problems)


def check_start(test: ABTest, prompt: Prompt, variants: Sequence[ABVariant]) -> None:
    """Raises Conflict with everything that keeps it from starting. The prompt is locked, of `with_current`."""
    problems = {**_prompt_problems(prompt), **_definition_problems(test), **_variant_problems(variants)}
    control = next((variant for variant in variants if variant.is_control), None)
    if control is not None:
        problems |= _control_problems(test, prompt, control) | _variable_problems(variants, control)
    problems |= _model_problems(test, variants)
    if problems:
        raise Conflict(" ".join(["The test cannot start.", *dict.fromkeys(problems.values())]), details=problems)


def check_departure(owner: Any) -> None:
    """Raises PromotionRefused for a prompt with a test that runs or is paused."""
    if not isinstance(owner, Prompt):
        return
    test = ABTest.objects.live().filter(prompt=owner).first()
    if test is not None:
        raise PromotionRefused(
            f"Its A/B test {test.name} is {test.status}: stop it to delete the prompt or change its slug.",
            details={"AB_TEST_LIVE": str(test.id)},
        )


def _definition_problems(test: ABTest) -> Details:
    problems = {f"segments.{path}".rstrip("."): why for path, why in check_segments(test.segments).items()}
    names = [metric["name"] for metric in test.metrics]
    if not names:
        problems["metrics"] = "A test needs a metric."
    elif test.primary_metric not in names:
        problems["primary_metric"] = "No metric has this name."
    problems |= _repeated("metrics", test.metrics) | _repeated("guardrails", test.guardrails)
    known = {ERROR_RATE, LATENCY_P95, *measures_of(test.metrics)}
    for number, guardrail in enumerate(test.guardrails):
        if guardrail["measure"] not in known:
            problems[f"guardrails.{number}.measure"] = "No metric of the test has this measure."
    return problems | _direction_problems(test.metrics)


def _direction_problems(metrics: Sequence[Mapping[str, Any]]) -> Details:
    """A guardrail on a measure asks of its metrics what is worse: they must agree."""
    directions: dict[str, Direction] = {}
    problems = {}
    for number, metric in enumerate(metrics):
        if directions.setdefault(metric["measure"], metric["direction"]) != metric["direction"]:
            problems[f"metrics.{number}.direction"] = "Another metric of this measure has the other direction."
    return problems


def _repeated(where: str, rows: Sequence[Mapping[str, Any]]) -> Details:
    counts = Counter(row["name"] for row in rows)
    return {
        f"{where}.{number}.name": "Another one has this name."
        for number, row in enumerate(rows)
        if counts[row["name"]] > 1
    }


def _prompt_problems(prompt: Prompt) -> Details:
    if prompt.is_deleted:
        return {"prompt_id": "The prompt is deleted."}
    return {} if prompt.is_active else {"prompt_id": "The prompt is not active."}


def _variant_problems(variants: Sequence[ABVariant]) -> Details:
    if len(variants) < MIN_VARIANTS:
        return {"variants": f"A test needs at least {MIN_VARIANTS} variants."}
    controls = [variant for variant in variants if variant.is_control]
    if not controls:
        return {"variants": "One variant must be the control."}
    if why := weight_problem([variant.weight for variant in variants]):
        return {"variants": why}
    if not controls[0].weight or controls[0].weight == 1:
        return {"variants": "The control and another variant must have a weight."}
    return {}


def _control_problems(test: ABTest, prompt: Prompt, control: ABVariant) -> Details:
    """The control must be what traffic gets without the test, or to stop it would change what traffic gets."""
    problems = {}
    served, at = published.resolve_version(prompt), f"variants.{control.position}"
    labelled = prompt.labels.get(test.label)
    number = control.version.version_number
    if served.pk != control.version_id:
        where = PRODUCTION if PRODUCTION in prompt.labels else "the current version"
        problems[f"{at}.version"] = f"Traffic gets version {served.version_number} ({where}): the control must be it."
    if labelled not in {None, number}:
        problems["label"] = f"The label {test.label} is at version {labelled}, and the control is version {number}."
    if control.model_id is not None:
        problems[f"{at}.model_id"] = "The control has the model of its version."
    if control.parameters:
        problems[f"{at}.parameters"] = "The control has the parameters of its version."
    return problems


def _variable_problems(variants: Sequence[ABVariant], control: ABVariant) -> Details:
    """What is good for the control must be good for all, or some units' requests would be refused."""
    given, needed = _variables(control)
    problems = {}
    for variant in variants:
        known, required = _variables(variant)
        if unknown := sorted(given - known):
            problems[f"variants.{variant.position}.version"] = f"It lacks variables of the control: {unknown}."
        elif missing := sorted(required - needed):
            problems[f"variants.{variant.position}.version"] = (
                f"It needs variables that the control does not: {missing}."
            )
    return problems


def _variables(variant: ABVariant) -> tuple[set[str], set[str]]:
    """The names of all, and of those that every request has to give."""
    variables = variant.version.variables
    return {each["name"] for each in variables}, {each["name"] for each in variables if each["required"]}


def _model_problems(test: ABTest, variants: Sequence[ABVariant]) -> Details:
    return {f"variants.{variant.position}.model_id": why for variant, why in without_model(test, variants)}


def without_model(test: ABTest, variants: Sequence[ABVariant]) -> list[tuple[ABVariant, str]]:
    """Those whose model cannot be called now, and why."""
    found = []
    for variant in variants:
        try:
            candidates_for(test.organization_id, variant.model_id or variant.version.model_id)
        except BadRequest as error:
            found.append((variant, error.details["model_id"]))
    return found
