"""A version evaluated and put through the gate as its policy demands."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction

from apps.evaluations.comparing.metrics import metrics_of as metrics_of_evaluation
from apps.evaluations.models import Evaluation, EvaluationSubject, PromotionGate, PromotionPolicy
from apps.evaluations.promotion.requirements import applicable_rules
from apps.evaluations.promotion.targets import answers_as, current_version, metrics_of, version_of
from apps.evaluations.runs.services import create_evaluation
from apps.evaluations.runs.wishes import MetricWish, SubjectWish
from apps.users.principal import Principal
from everquant.api.errors import BadRequest, Conflict
from everquant.db import lock_for_update

Json = dict[str, Any]


@transaction.atomic(savepoint=False)
def evaluate_version(
    *, policy: PromotionPolicy, version_number: int, by: Principal, budget_usd: Decimal | None = None
) -> Evaluation:
    """A queued evaluation that the policy's gate takes: the version beside the one that the label points at now.

    Raises BadRequest, Conflict for the version that the label points at, Forbidden as `create_evaluation`.
    """
    version, current = version_of(policy, version_number), current_version(policy)
    if version == current:
        raise Conflict("The label points at this version.", details={"version": "The label points there."})
    wishes = [_wish(policy, version, "candidate")]
    if policy.compares and current is not None:
        wishes.insert(0, _wish(policy, current, "baseline"))
    metrics = policy.metrics.select_related("evaluator_version").order_by("position")
    return create_evaluation(
        organization_id=policy.organization_id,
        dataset_version=policy.dataset_version,
        subjects=wishes,
        metrics=[
            MetricWish(
                evaluator=row.evaluator_version.evaluator_id,
                version=row.evaluator_version.version_number,
                name=row.name,
            )
            for row in metrics
        ],
        by=by,
        name=f"{policy}, version {version_number}"[:200],
        split=policy.split,
        repeats=policy.repeats,
        budget_usd=budget_usd,
        metadata={"promotion_policy_id": str(policy.id), "revision": policy.revision, "version": version_number},
    )


def _wish(policy: PromotionPolicy, version: Any, name: str) -> SubjectWish:
    target: Json = {policy.target_kind: policy.target.id}
    return SubjectWish(name=name, version=version.version_number, **target)


def gate_version(
    *, policy: PromotionPolicy, evaluation: Evaluation, version_number: int | None, by: Principal | None
) -> PromotionGate:
    """The verdict of the policy's rules on an evaluation of just what the policy demands.

    Without a number, the version is the one that the label does not point at. Raises Conflict for an evaluation of
    anything else or one that has not ended, BadRequest.
    """
    from apps.evaluations.comparing.gate import run_gate  # noqa: PLC0415 (statistics are slow to import)

    locked: PromotionPolicy = lock_for_update(PromotionPolicy.objects.all(), pk=policy.pk)
    _require_fitting(locked, evaluation)
    current = current_version(locked)
    subjects = list(EvaluationSubject.objects.filter(evaluation=evaluation).order_by("position"))
    version = _gated_version(locked, subjects, current, version_number)
    _require_own_pairs(evaluation, subjects, current if locked.compares else None)
    candidate = _position(subjects, version)
    baseline = _position(subjects, current) if locked.compares and current is not None else None
    rules = applicable_rules(locked, has_baseline=baseline is not None)
    if not rules:
        raise Conflict("The label points nowhere yet, and every rule of the policy compares.")
    others = [subject.position for subject in subjects if subject.position != candidate]
    unused = others[0] if others else None
    result = run_gate(
        evaluation=evaluation,
        rules=rules,
        candidate=candidate,
        baseline=unused if baseline is None else baseline,
        by=by,
    )
    gate: PromotionGate = PromotionGate.objects.create(
        organization_id=locked.organization_id,
        policy=locked,
        revision=locked.revision,
        version_id=version.id,
        version_number=version.version_number,
        baseline_version_id=current.id if baseline is not None else None,
        result=result,
    )
    return gate


def _require_fitting(policy: PromotionPolicy, evaluation: Evaluation) -> None:
    """Raises Conflict for an evaluation of other items or by other evaluators than the policy's."""
    details = {}
    if evaluation.dataset_version_id != policy.dataset_version_id:
        details["dataset_version"] = "Another version of a dataset than the policy's."
    if (evaluation.split, evaluation.item_limit) != (policy.split, None):
        details["split"] = "Not just the items that the policy demands."
    if evaluation.repeats != policy.repeats:
        details["repeats"] = f"The policy demands {policy.repeats}."
    evaluated_by = set(evaluation.metrics.values_list("name", "evaluator_version_id"))
    if evaluated_by != set(metrics_of(policy)):
        details["evaluators"] = "Not just those of the policy, in their versions and under their names."
    if details:
        raise Conflict("The evaluation is not what the policy demands.", details=details)


def _require_own_pairs(evaluation: Evaluation, subjects: Sequence[EvaluationSubject], current: Any) -> None:
    """Scores of pairs are against the first subject: raises Conflict if that is not what the label points at."""
    compares_two = any(metric.compares_two for metric in metrics_of_evaluation(evaluation).values())
    if compares_two and not (current is not None and answers_as(subjects[0], current)):
        said = "The first subject must be the version that the label points at: pairs are judged against it."
        raise Conflict(said, details={"subjects": said})


def _gated_version(
    policy: PromotionPolicy, subjects: Sequence[EvaluationSubject], current: Any, version_number: int | None
) -> Any:
    if version_number is not None:
        return version_of(policy, version_number)
    owned = f"{policy.target_kind}_id"
    numbers = {subject.version_number for subject in subjects if getattr(subject, owned) == policy.target.id}
    numbers -= {current.version_number} if current is not None else set()
    if len(numbers) != 1:
        raise BadRequest("Say which version.", details={"version": "The evaluation has not just one candidate."})
    return version_of(policy, int(numbers.pop() or 0))


def _position(subjects: Sequence[EvaluationSubject], version: Any) -> int:
    """Of the subject that is the version and nothing else; raises Conflict."""
    for subject in subjects:
        if answers_as(subject, version):
            return subject.position
    said = f"No subject is version {version.version_number} with the model and parameters that it says itself."
    raise Conflict(said, details={"subjects": said})
