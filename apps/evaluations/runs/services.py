"""Evaluations made, changed and deleted; what they are given is checked and pinned before anything is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from apps.evaluations.engine.jobs import QUEUE
from apps.evaluations.engine.queue import enqueue
from apps.evaluations.models import (
    MAX_CASES,
    MAX_METRICS,
    MAX_SUBJECTS,
    DatasetItem,
    DatasetVersion,
    Evaluation,
    EvaluationMetric,
    EvaluationSubject,
    SubjectKind,
)
from apps.evaluations.runs import pinning
from apps.evaluations.runs.pinning import Problems
from apps.evaluations.runs.wishes import MetricWish, SubjectWish
from apps.users.principal import Principal
from apps.workflows.evaluating import evaluators
from everquant.api.errors import BadRequest, Conflict, Forbidden

DEFAULT_CONCURRENCY = 16
PURGE_TASK = "evaluations.purge"
_NARROWED = ("split", "item_limit", "repeats", "budget_usd")


@dataclass(frozen=True, slots=True)
class Pinned:
    """An evaluation that can be made, without its rows."""

    dataset_version: DatasetVersion
    subjects: list[EvaluationSubject]
    metrics: list[EvaluationMetric]
    item_count: int


@transaction.atomic(savepoint=False)
def create_evaluation(
    *,
    organization_id: UUID,
    dataset_version: DatasetVersion,
    subjects: Sequence[SubjectWish],
    metrics: Sequence[MetricWish],
    by: Principal | None,
    name: str = "",
    split: str = "",
    item_limit: int | None = None,
    repeats: int = 1,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    budget_usd: Decimal | None = None,
    metadata: dict[str, Any] | None = None,
) -> Evaluation:
    """A queued evaluation of what the wishes name now. Without `by` a command asks, which may do everything.

    Raises BadRequest naming every problem (`subjects.1.prompt`), Forbidden for what `by` may not call.
    """
    narrowed: dict[str, Any] = {"split": split, "item_limit": item_limit, "repeats": repeats, "budget_usd": budget_usd}
    pinned = _pin(organization_id, dataset_version, by, subjects=subjects, metrics=metrics, problems={}, **narrowed)
    return _store(
        organization_id, pinned, by, name=name, max_concurrency=max_concurrency, metadata=metadata or {}, **narrowed
    )


@transaction.atomic(savepoint=False)
def request_evaluation(*, organization_id: UUID, by: Principal | None, **wish: Any) -> Evaluation:
    """As `create_evaluation`, of a dataset that is named: the wish has `dataset` and `dataset_version`, or None."""
    pinned = pin_wish(organization_id=organization_id, by=by, **wish)
    fields = {name: wish[name] for name in (*_NARROWED, "name", "max_concurrency", "metadata")}
    return _store(organization_id, pinned, by, **fields)


def pin_wish(*, organization_id: UUID, by: Principal | None, **wish: Any) -> Pinned:
    """What an evaluation would be made of; raises as `create_evaluation`."""
    problems: Problems = {}
    version = pinning.pin_dataset(organization_id, wish["dataset"], wish["dataset_version"], problems)
    wanted = {name: wish[name] for name in ("subjects", "metrics", *_NARROWED)}
    return _pin(organization_id, version, by, problems=problems, **wanted)


def _pin(
    organization_id: UUID,
    dataset_version: DatasetVersion | None,
    by: Principal | None,
    *,
    subjects: Sequence[SubjectWish],
    metrics: Sequence[MetricWish],
    split: str,
    item_limit: int | None,
    repeats: int,
    budget_usd: Decimal | None,
    problems: Problems,
) -> Pinned:
    """`problems` are what was found before."""
    if by is not None and (missing := pinning.missing_permissions(subjects, by)):
        raise Forbidden("These subjects may not be called.", details=missing)
    _check_counts(subjects, metrics, problems)
    pinned_subjects = pinning.pin_subjects(organization_id, subjects, budget_usd, problems)
    pinned_metrics = pinning.pin_metrics(organization_id, metrics, len(subjects), problems)
    item_count = 0
    if dataset_version is not None:
        item_count = _count_items(dataset_version, split, item_limit, problems)
        _check_cases(dataset_version, subjects, item_count, repeats, problems)
    if problems or dataset_version is None:
        raise BadRequest("The evaluation cannot be made.", details=problems)
    _require_judges(pinned_metrics, by)
    return Pinned(dataset_version, pinned_subjects, pinned_metrics, item_count)


def _store(organization_id: UUID, pinned: Pinned, by: Principal | None, **fields: Any) -> Evaluation:
    evaluation: Evaluation = Evaluation.objects.create(
        organization_id=organization_id,
        dataset_version=pinned.dataset_version,
        created_by_id=by.user_id if by else None,
        api_key_id=by.api_key_id if by else None,
        **fields,
    )
    parts: list[EvaluationSubject | EvaluationMetric] = [*pinned.subjects, *pinned.metrics]
    for part in parts:
        part.evaluation = evaluation
    EvaluationSubject.objects.bulk_create(pinned.subjects)
    EvaluationMetric.objects.bulk_create(pinned.metrics)
    enqueue(evaluation)
    return evaluation


def _check_counts(subjects: Sequence[SubjectWish], metrics: Sequence[MetricWish], found: Problems) -> None:
    if not 1 <= len(subjects) <= MAX_SUBJECTS:
        found["subjects"] = f"1 to {MAX_SUBJECTS} subjects."
    if not 1 <= len(metrics) <= MAX_METRICS:
        found["evaluators"] = f"1 to {MAX_METRICS} evaluators."


def _count_items(version: DatasetVersion, split: str, item_limit: int | None, found: Problems) -> int:
    count = version.item_count
    if split:
        count = DatasetItem.objects.of_version(version).filter(split=split).count()
    if not count:
        found["split" if split else "dataset"] = "There are no items."
    return min(count, item_limit) if item_limit is not None else count


def _check_cases(
    version: DatasetVersion, subjects: Sequence[SubjectWish], item_count: int, repeats: int, found: Problems
) -> None:
    cases = item_count * len(subjects) * repeats
    if cases > MAX_CASES:
        found["item_limit"] = f"{cases} cases are more than {MAX_CASES}: take fewer items, subjects or repeats."
    recorded = [number for number, wish in enumerate(subjects) if wish.kind == SubjectKind.RECORDED]
    if recorded and not DatasetItem.objects.of_version(version).filter(has_output=True).exists():
        found[f"subjects.{recorded[0]}.recorded"] = "No item of the dataset has a recorded output."


def _require_judges(metrics: Sequence[EvaluationMetric], by: Principal | None) -> None:
    """Evaluators that call models cost money as prompts do."""
    if by is None or by.can("prompts:execute"):
        return
    kinds = {metric.position: metric.evaluator_version.evaluator.kind for metric in metrics}
    calling = [position for position, kind in kinds.items() if evaluators()[kind].calls_models]
    if calling:
        missing = {f"evaluators.{position}": "Needs prompts:execute." for position in calling}
        raise Forbidden("These evaluators call models.", details=missing)


@transaction.atomic(savepoint=False)
def delete_evaluation(*, evaluation: Evaluation) -> None:
    """Take an ended one out of sight; a job deletes its rows. Raises Conflict for one that has not ended."""
    if not evaluation.is_finished:
        raise Conflict("The evaluation has not ended: cancel it first.", details={"status": evaluation.status})
    evaluation.deleted_at = timezone.now()
    evaluation.save_fields("deleted_at")
    app.configure_task(PURGE_TASK, queue=QUEUE).defer(evaluation_id=str(evaluation.id))
