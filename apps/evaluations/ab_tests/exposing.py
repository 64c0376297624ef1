"""What programs that call models themselves tell of units: that they were exposed, and what became known later."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.evaluations.ab_tests.measures import CUSTOM_PREFIX, SCORE_PREFIX, Builtin, measures_of
from apps.evaluations.models import ABObservation
from apps.executions.models import Execution
from apps.prompts.ab_tests.assignment import Place, choose_each
from apps.prompts.ab_tests.routing import load_live
from apps.prompts.models import ABAssignment, ABTest, ABTestStatus, Prompt
from apps.users.principal import Principal
from everquant.api.errors import BadRequest, Conflict

MOST_PROBLEMS = 100
_OF_ANSWERS = (Builtin.LATENCY_MS, Builtin.FIRST_TOKEN_MS, Builtin.OUTPUT_TOKENS)
_UNASKED = "No metric of the test measures this."

Json = Mapping[str, Any]


@transaction.atomic
def record_exposures(*, test: ABTest, exposures: Sequence[Json], by: Principal) -> int:
    """All of them or none; a unit without an assignment gets one. How many were recorded.

    Raises Conflict when the test does not run or a unit has another variant, BadRequest naming units that take no part
    and values that nothing asks for.
    """
    live = load_live(Prompt(id=test.prompt_id))
    if live is None or live.id != test.id or live.is_paused:
        raise Conflict("Exposures are recorded while the test runs.", details={"status": test.status})
    known = _assigned(test, (said["unit_id"] for said in exposures))
    new = list(dict.fromkeys(said["unit_id"] for said in exposures if said["unit_id"] not in known))
    for unit_id, choice in zip(new, choose_each(live, [(unit_id, {}) for unit_id in new]), strict=True):
        if choice is not None:
            known[unit_id] = (choice.arm.name, choice.phase)
    _refuse_strangers("exposures", "unit_id", exposures, known, "Takes no part in the test: assign it first.")
    _refuse_other_variants(exposures, known)
    values = _checked("exposures", test, [_values_of(said) for said in exposures])
    rows = [
        _observation(test, by, known[said["unit_id"]], own, unit_id=said["unit_id"], is_exposure=True)
        for said, own in zip(exposures, values, strict=True)
    ]
    return len(ABObservation.objects.bulk_create(rows))


@transaction.atomic
def record_observations(*, test: ABTest, observations: Sequence[Json], by: Principal) -> int:
    """Values of units that the test has assigned, or of single requests by their executions; all of them or none.

    A value counts once its unit is exposed. Raises Conflict for a draft, BadRequest naming what is unknown.
    """
    if test.status == ABTestStatus.DRAFT:
        raise Conflict("The test has not been started.", details={"status": test.status})
    units = _assigned(test, (said["unit_id"] for said in observations if "unit_id" in said))
    _refuse_strangers("observations", "unit_id", observations, units, "The test has no such unit.")
    executions = _of_executions(test, [said["execution_id"] for said in observations if "execution_id" in said])
    _refuse_strangers("observations", "execution_id", observations, executions, "The test has no such execution.")
    named = [{f"{CUSTOM_PREFIX}{name}": number for name, number in said["values"].items()} for said in observations]
    rows = []
    for said, own in zip(observations, _checked("observations", test, named), strict=True):
        if "unit_id" in said:
            unit_id, place, execution_id = said["unit_id"], units[said["unit_id"]], None
        else:
            execution_id = said["execution_id"]
            unit_id, place = executions[execution_id]
        rows.append(_observation(test, by, place, own, unit_id=unit_id, execution_id=execution_id, is_exposure=False))
    return len(ABObservation.objects.bulk_create(rows))


def _observation(test: ABTest, by: Principal, place: Place, values: Json, **unit: Any) -> ABObservation:
    variant, phase = place
    return ABObservation(
        organization_id=test.organization_id,
        test=test,
        variant=variant,
        phase=phase,
        values=values,
        created_by_id=by.user_id,
        api_key_id=by.api_key_id,
        **unit,
    )


def _assigned(test: ABTest, unit_ids: Iterable[str]) -> dict[str, Place]:
    rows = ABAssignment.objects.filter(test=test, unit_id__in=set(unit_ids))
    return {unit_id: (variant, phase) for unit_id, variant, phase in rows.values_list("unit_id", "variant", "phase")}


def _of_executions(test: ABTest, ids: Sequence[UUID]) -> dict[UUID, tuple[str, Place]]:
    """The unit of each, which has no name where it is a unit of its own, and its place."""
    if not ids:
        return {}
    rows = Execution.objects.for_organization(test.organization_id).filter(id__in=ids, ab_test_id=test.id)
    columns = rows.values_list("id", "unit_id", "ab_variant", "ab_phase")
    return {key: (unit_id, (variant, phase or 1)) for key, unit_id, variant, phase in columns}


def _values_of(said: Json) -> dict[str, float]:
    """By measure. What is measured of answers only is not where there was none."""
    has_failed = said.get(Builtin.SUCCESS) is False
    known = [name for name in Builtin if name in said and not (has_failed and name in _OF_ANSWERS)]
    own = {name.value: float(said[name]) for name in known}
    for prefix, numbers in ((SCORE_PREFIX, said["scores"]), (CUSTOM_PREFIX, said["custom"])):
        own |= {f"{prefix}{name}": number for name, number in numbers.items()}
    return own


def _checked(at: str, test: ABTest, values: list[dict[str, float]]) -> list[dict[str, float]]:
    """Raises BadRequest for measures that the test does not keep."""
    kept = set(measures_of(test.metrics))
    problems = {
        f"{at}.{number}.{_path(measure, at)}": _UNASKED
        for number, own in enumerate(values)
        for measure in own
        if measure not in kept
    }
    if problems:
        raise BadRequest("Values that the test does not ask for.", details=_some(problems))
    return values


def _path(measure: str, at: str) -> str:
    kind, _, name = measure.partition(":")
    part = "values" if at == "observations" else "scores" if f"{kind}:" == SCORE_PREFIX else "custom"
    return f"{part}.{name}"


def _refuse_strangers(at: str, field: str, said: Sequence[Json], known: Mapping[Any, Any], why: str) -> None:
    problems = {
        f"{at}.{number}.{field}": why for number, one in enumerate(said) if field in one and one[field] not in known
    }
    if problems:
        raise BadRequest(why, details=_some(problems))


def _refuse_other_variants(exposures: Sequence[Json], known: Mapping[str, Place]) -> None:
    problems = {
        f"exposures.{number}.variant": f"The unit has the variant {known[said['unit_id']][0]}."
        for number, said in enumerate(exposures)
        if said.get("variant", known[said["unit_id"]][0]) != known[said["unit_id"]][0]
    }
    if problems:
        raise Conflict("A unit keeps the variant that it got first.", details=_some(problems))


def _some(problems: dict[str, str]) -> dict[str, str]:
    return dict(list(problems.items())[:MOST_PROBLEMS])
