"""A/B tests made, changed, and brought from one state to the next.

The test's row is locked first, its prompt's after it. The lock lets assignments of units refer to the row meanwhile.
Services make no savepoint: an error that they raise ends the caller's transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.evaluations.ab_tests.checking import check_definition, check_start
from apps.evaluations.ab_tests.collecting import collect
from apps.evaluations.ab_tests.results import results_of
from apps.evaluations.ab_tests.sizing import plan_of
from apps.evaluations.ab_tests.variants import VariantWish, make_variants, variants_of, weight_problem, wishes_of
from apps.evaluations.models import ABIncident
from apps.organizations.models import Organization
from apps.prompts.models import PRODUCTION, ABPhase, ABTest, ABTestStatus, ABVariant, Prompt
from apps.users.principal import Principal
from everquant.api.errors import BadRequest, Conflict, Forbidden, NotFound
from everquant.db import lock_for_update

logger = structlog.get_logger(__name__)

MOST_PLANNED = 10**15
"""Units, beyond which a plan only says that nobody will see the end of it."""
_ALWAYS = frozenset({"name", "hypothesis"})
_WHILE_LIVE = _ALWAYS | {"exposed_share"}
_INPUT_NAMES = {"prompt": "prompt_id"}


@transaction.atomic(savepoint=False)
def create_test(
    *, prompt: Prompt, variants: Sequence[VariantWish], created_by_id: UUID | None, **fields: Any
) -> ABTest:
    """A draft. Without `primary_metric` it is the first one. Raises BadRequest naming all that is not valid."""
    test = ABTest(organization_id=prompt.organization_id, prompt=prompt, created_by_id=created_by_id, **fields)
    test.primary_metric = test.primary_metric or _first_name(test.metrics)
    check_definition(test)
    rows = make_variants(test, variants)
    test.save(force_insert=True)
    _save_variants(rows)
    return test


@transaction.atomic(savepoint=False)
def update_test(
    *,
    test: ABTest,
    by: Principal,
    prompt: Prompt | None = None,
    variants: Sequence[VariantWish] | None = None,
    weights: Mapping[str, float] | None = None,
    reason: str = "",
    **fields: Any,
) -> ABTest:
    """Of a draft everything; of one that runs or is paused name, hypothesis, `exposed_share` and weights.

    New weights of the latter begin a phase, which has the reason. What is said again as it is may always be said.
    Raises BadRequest, Conflict naming what cannot change any more, Forbidden as `start`.
    """
    locked = locked_test(test)
    if fields.get("primary_metric") == "":
        fields["primary_metric"] = _first_name(fields.get("metrics", locked.metrics))
    changed = {name: value for name, value in fields.items() if getattr(locked, name) != value}
    has_moved = prompt is not None and prompt.pk != locked.prompt_id
    has_variants = variants is not None and list(variants) != wishes_of(locked)
    if locked.status == ABTestStatus.DRAFT:
        wishes = variants if has_variants else wishes_of(locked) if has_moved else None
        _rewrite(locked, changed, prompt, wishes)
    else:
        names = {*changed, *(["prompt"] if has_moved else []), *(["variants"] if has_variants else [])}
        _require_changeable(locked, names, has_weights=weights is not None)
        if weights is not None or "exposed_share" in changed:
            require_right_to_route(locked, by)
        _store(locked, changed)
    if weights is not None:
        _change_weights(locked, weights, reason=reason, by=by)
    return locked


@transaction.atomic(savepoint=False)
def delete_test(*, test: ABTest) -> None:
    """Raises Conflict while it runs or is paused."""
    locked = locked_test(test)
    if locked.is_live:
        raise Conflict(f"The test is {locked.status}: stop it first.", details={"status": locked.status})
    locked.soft_delete()


@transaction.atomic(savepoint=False)
def start(*, test: ABTest, by: Principal, reason: str = "") -> ABTest:
    """Running from now on, with its planned units if the prompt's calls tell them; one that runs is left as it is.

    The reason is kept with the first phase.

    Raises Conflict with everything that it lacks, and while another test of the prompt is live; Forbidden when what
    traffic gets is protected.
    """
    locked = locked_test(test)
    if locked.status == ABTestStatus.RUNNING:
        return locked
    locked.check_becoming(ABTestStatus.RUNNING, "started", source=ABTestStatus.DRAFT)
    require_right_to_route(locked, by)
    lock_for_update(Prompt.objects.only("id"), pk=locked.prompt_id)
    variants = variants_of(locked)
    check_start(locked, Prompt.objects.with_current().get(pk=locked.prompt_id), variants)
    plan = plan_of(locked, variants)
    try:
        locked.start(planned_units=min(plan.units, MOST_PLANNED) if plan is not None else None)
    except IntegrityError as error:
        if "prompts_abtest_one_live" not in str(error):
            raise
        raise Conflict(
            "Another test of the prompt runs or is paused: stop it first.", details={"prompt_id": "Has another test."}
        ) from error
    weights = {variant.name: variant.weight for variant in variants}
    _begin_phase(locked, weights, reason=reason, created_by_id=by.user_id)
    _log(locked, by)
    return locked


@transaction.atomic(savepoint=False)
def pause(*, test: ABTest, reason: str, by: Principal | None, incident: ABIncident | None = None) -> ABTest:
    """All traffic to the control. With an incident, it is paused as of that; who resumes must then force it.

    Raises Conflict for one that does not run.
    """
    locked = locked_test(test)
    locked.pause(reason=reason, at=incident.created_at if incident is not None else None)
    _log(locked, by)
    return locked


@transaction.atomic(savepoint=False)
def resume(*, test: ABTest, by: Principal, reason: str = "", force: bool = False) -> ABTest:
    """Raises Conflict for one that is not paused, or was by an incident and is not forced; Forbidden as `start`."""
    locked = locked_test(test)
    locked.check_becoming(ABTestStatus.RUNNING, "resumed", source=ABTestStatus.PAUSED)
    require_right_to_route(locked, by)
    if is_paused_by_incident(locked) and not force:
        raise Conflict(
            f"The test was paused by itself: {locked.pause_reason} Resume it with force and a reason.",
            details={"force": "The test was paused by itself."},
        )
    locked.resume(reason=reason)
    _log(locked, by)
    return locked


@transaction.atomic(savepoint=False)
def stop(*, test: ABTest, reason: str, by: Principal | None) -> ABTest:
    """Traffic gets what it gets without a test, and the results are kept as they are; a stopped one is left as it is.

    Raises Conflict for one that neither runs nor is paused.
    """
    locked = locked_test(test)
    if locked.status == ABTestStatus.STOPPED:
        return locked
    locked.stop(reason=reason)
    _end_phase(locked)
    collect(locked)
    locked.final_results = results_of(locked)
    locked.save_fields("final_results")
    _log(locked, by)
    return locked


def locked_test(test: ABTest) -> ABTest:
    """The row as it is now, locked until the transaction ends. Raises NotFound for one that was deleted meanwhile."""
    locked: ABTest | None = (
        ABTest.objects.alive().select_for_update(of=("self",), no_key=True).filter(pk=test.pk).first()
    )
    if locked is None:
        raise NotFound("No such object.")
    return locked


def is_paused_by_incident(test: ABTest) -> bool:
    if test.paused_at is None:
        return False
    return ABIncident.objects.filter(test=test, created_at__gte=test.paused_at).exists()


def require_right_to_route(test: ABTest, by: Principal) -> None:
    """Raises Forbidden where who may not move a protected label would decide what is served in its place."""
    protected = Organization.objects.values_list("protected_labels", flat=True).get(pk=test.organization_id)
    found = sorted({PRODUCTION, test.label} & set(protected))
    if found and not by.can("prompts:protect"):
        raise Forbidden(f"The label {found[0]} is protected: prompts:protect is needed to decide what traffic gets.")


def _first_name(metrics: Sequence[Mapping[str, Any]]) -> str:
    return str(metrics[0]["name"]) if metrics else ""


def _rewrite(
    draft: ABTest, changed: Mapping[str, Any], prompt: Prompt | None, variants: Sequence[VariantWish] | None
) -> None:
    """Of a draft everything may change; without `variants` they stay."""
    if prompt is not None and prompt.pk != draft.prompt_id:
        draft.prompt = prompt
        changed = {**changed, "prompt": prompt}
    for name, value in changed.items():
        setattr(draft, name, value)
    check_definition(draft)
    if variants is not None:
        rows = make_variants(draft, variants)
        for variant in variants_of(draft):
            variant.delete()
        _save_variants(rows)
    _store(draft, changed)


def _store(test: ABTest, changed: Mapping[str, Any]) -> None:
    for name, value in changed.items():
        setattr(test, name, value)
    if changed:
        test.save_fields(*changed)


def _save_variants(rows: Sequence[ABVariant]) -> None:
    for row in rows:
        row.save(force_insert=True)


def _require_changeable(test: ABTest, names: set[str], *, has_weights: bool) -> None:
    allowed = _WHILE_LIVE if test.is_live else _ALWAYS
    state = test.get_status_display().lower()
    problems = {
        _INPUT_NAMES.get(name, name): f"Cannot change any more: the test is {state}." for name in names - allowed
    }
    if has_weights and not test.is_live:
        problems["weights"] = f"Cannot change any more: the test is {state}."
    elif has_weights and test.mode == ABTest.Mode.BANDIT:
        problems["weights"] = "A bandit sets its weights itself."
    if problems:
        raise Conflict(f"The test is {state}: {', '.join(sorted(problems))} cannot change.", details=problems)


def _change_weights(test: ABTest, weights: Mapping[str, float], *, reason: str, by: Principal) -> None:
    variants = variants_of(test)
    problems = {f"weights.{name}": "No such variant." for name in weights.keys() - {one.name for one in variants}}
    problems |= {f"weights.{one.name}": "Give all weights." for one in variants if one.name not in weights}
    if not problems and (why := weight_problem([*weights.values()])):
        problems["weights"] = why
    if problems:
        raise BadRequest("The weights are not valid.", details=problems)
    set_weights(test, weights, reason=reason, created_by_id=by.user_id)


def set_weights(test: ABTest, weights: Mapping[str, float], *, reason: str, created_by_id: UUID | None) -> None:
    """Of all variants of a locked test; those of a live one begin a phase, if they are others."""
    variants = variants_of(test)
    different = [variant for variant in variants if variant.weight != weights[variant.name]]
    for variant in different:
        variant.weight = weights[variant.name]
        variant.save_fields("weight")
    if different and test.is_live:
        _end_phase(test)
        test.phase += 1
        test.save_fields("phase")
        by_position = {variant.name: variant.weight for variant in variants}
        _begin_phase(test, by_position, reason=reason, created_by_id=created_by_id)


def _begin_phase(test: ABTest, weights: Mapping[str, float], *, reason: str, created_by_id: UUID | None) -> None:
    ABPhase.objects.create(
        organization_id=test.organization_id,
        test=test,
        number=test.phase,
        weights=weights,
        reason=reason,
        started_at=timezone.now(),
        created_by_id=created_by_id,
    )


def _end_phase(test: ABTest) -> None:
    for phase in ABPhase.objects.filter(test=test, ended_at__isnull=True):
        phase.ended_at = timezone.now()
        phase.save_fields("ended_at")


def _log(test: ABTest, by: Principal | None) -> None:
    """Of what happens by itself: what people do is in the audit log."""
    if by is None:
        logger.info("ab_test_moved", ab_test_id=str(test.pk), status=test.status, phase=test.phase)
