"""Policies, made and changed."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.evaluations.comparing.metrics import MEASURED
from apps.evaluations.comparing.rules import COMPARING_TYPES
from apps.evaluations.models import DatasetVersion, EvaluationMetric, PromotionPolicy, PromotionPolicyMetric
from apps.evaluations.promotion.targets import metrics_of
from apps.evaluations.runs import pinning
from apps.evaluations.runs.wishes import MetricWish, Reference
from apps.prompts.models import Prompt
from apps.workflows.models import Workflow
from everquant.api.errors import BadRequest, Conflict
from everquant.db import lock_for_update

_TARGETS: dict[str, Any] = {"prompt": Prompt, "workflow": Workflow}


def find_target(organization_id: UUID, kind: str, reference: Reference) -> Prompt | Workflow:
    """Raises BadRequest naming `prompt` or `workflow`."""
    target: Prompt | Workflow | None = pinning.find(_TARGETS[kind].objects.for_organization(organization_id), reference)
    if target is None:
        raise BadRequest(f"There is no such {kind}.", details={kind: "No such object."})
    return target


@transaction.atomic(savepoint=False)
def create_policy(
    *,
    target: Prompt | Workflow,
    label: str,
    dataset: Reference,
    metrics: Sequence[MetricWish],
    dataset_version: int | None,
    created_by_id: UUID | None,
    **fields: Any,
) -> PromotionPolicy:
    """References are looked up now and pinned. Raises BadRequest naming each, Conflict for a label that has a policy.

    The target is locked, so that a label which is just being moved is there before the policy or obeys it.
    """
    lock_for_update(type(target).objects.all(), pk=target.pk)
    pinned, rows = _pin(target.organization_id, dataset, dataset_version, metrics)
    policy = PromotionPolicy(
        organization_id=target.organization_id,
        label=label,
        dataset_version=pinned,
        created_by_id=created_by_id,
        **{str(target._meta.model_name): target},
        **fields,
    )
    _require_sense(policy, [row.name for row in rows])
    try:
        policy.save(force_insert=True)
    except IntegrityError as error:
        if "evaluations_promotionpolicy_" not in str(error):
            raise
        raise Conflict("The label has a policy.", details={"label": "It has a policy."}) from error
    _store_metrics(policy, rows)
    return policy


@transaction.atomic(savepoint=False)
def update_policy(
    *,
    policy: PromotionPolicy,
    dataset: Reference | None = None,
    dataset_version: int | None = None,
    metrics: Sequence[MetricWish] | None = None,
    **fields: Any,
) -> PromotionPolicy:
    """A change of what is demanded begins a new revision, for which nothing is gated or approved yet.

    A dataset without its version is its newest one now. Raises BadRequest.
    """
    before, was_active = _demands(policy), policy.is_active
    if dataset is None and dataset_version is not None:
        dataset = policy.dataset_version.dataset_id
    pinned, rows = _pin(policy.organization_id, dataset, dataset_version, metrics)
    policy.dataset_version = pinned or policy.dataset_version
    for name, value in fields.items():
        setattr(policy, name, value)
    names = [name for name, _ in metrics_of(policy)] if metrics is None else [row.name for row in rows]
    _require_sense(policy, names)
    if metrics is not None and [(row.name, row.evaluator_version_id) for row in rows] != metrics_of(policy):
        policy.metrics.all().delete()
        _store_metrics(policy, rows)
    is_changed = _demands(policy) != before
    policy.revision += int(is_changed)
    if is_changed or policy.is_active != was_active:
        policy.save()
    return policy


def _demands(policy: PromotionPolicy) -> tuple[Any, ...]:
    names = ("dataset_version_id", "split", "repeats", "compares", "rules", "min_approvals")
    return (*(getattr(policy, name) for name in names), metrics_of(policy))


def _pin(
    organization_id: UUID, dataset: Reference | None, dataset_version: int | None, metrics: Sequence[MetricWish] | None
) -> tuple[DatasetVersion | None, list[EvaluationMetric]]:
    problems: pinning.Problems = {}
    pinned = pinning.pin_dataset(organization_id, dataset, dataset_version, problems) if dataset is not None else None
    rows = pinning.pin_metrics(organization_id, metrics or (), 2, problems)
    if problems:
        raise BadRequest("The policy cannot be made.", details=problems)
    return pinned, rows


def _store_metrics(policy: PromotionPolicy, rows: Sequence[EvaluationMetric]) -> None:
    PromotionPolicyMetric.objects.bulk_create(
        PromotionPolicyMetric(policy=policy, position=position, name=row.name, evaluator_version=row.evaluator_version)
        for position, row in enumerate(rows)
    )


def _require_sense(policy: PromotionPolicy, metric_names: Iterable[str]) -> None:
    """Raises BadRequest for rules of what is not measured, and those that compare where nothing is compared with."""
    measured = {*metric_names, *(metric.name for metric in MEASURED)}
    problems: pinning.Problems = {}
    for number, rule in enumerate(policy.rules):
        if rule.get("metric", next(iter(measured))) not in measured:
            problems[f"rules.{number}.metric"] = "No evaluator of the policy has this name."
        if rule["type"] in COMPARING_TYPES and not policy.compares:
            problems[f"rules.{number}.type"] = "It compares, and the policy has no baseline."
    if problems:
        raise BadRequest("Some rules make no sense.", details=problems)
