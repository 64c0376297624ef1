"""Evaluations as they are answered: plain values made once."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Prefetch
from django.utils import timezone

from apps.evaluations.models import Evaluation, EvaluationMetric, EvaluationSubject

Json = dict[str, Any]


def with_parts(evaluations: Any) -> Any:
    """With all that `represent` reads: three queries in all."""
    joined = evaluations.select_related("dataset_version__dataset")
    metrics = EvaluationMetric.objects.select_related("evaluator_version__evaluator")
    return joined.prefetch_related("subjects", Prefetch("metrics", metrics))


def represent(evaluation: Evaluation) -> Json:
    """Of a row of `with_parts`."""
    version = evaluation.dataset_version
    return {
        "id": evaluation.id,
        "name": evaluation.name,
        "dataset_id": version.dataset_id,
        "dataset_slug": version.dataset.slug,
        "dataset_version": version.version_number,
        "dataset_version_id": version.id,
        "split": evaluation.split,
        "item_limit": evaluation.item_limit,
        "repeats": evaluation.repeats,
        "max_concurrency": evaluation.max_concurrency,
        "budget_usd": dollars(evaluation.budget_usd),
        "metadata": evaluation.metadata,
        "status": evaluation.status,
        "error": failure(evaluation.error_code, evaluation.error_message),
        "subjects": [_subject(subject) for subject in evaluation.subjects.all()],
        "evaluators": [_metric(metric) for metric in evaluation.metrics.all()],
        "progress": _progress(evaluation),
        "cost_usd": dollars(evaluation.cost_usd),
        "evaluator_cost_usd": dollars(evaluation.evaluator_cost_usd),
        "created_by": evaluation.created_by_id,
        "api_key_id": evaluation.api_key_id,
        "created_at": evaluation.created_at,
        "started_at": evaluation.started_at,
        "finished_at": evaluation.finished_at,
        "cancel_requested_at": evaluation.cancel_requested_at,
    }


def dollars(amount: Decimal | None) -> str | None:
    """In decimals, without zeros at the end."""
    return None if amount is None else f"{amount.normalize():f}"


def failure(code: str, message: str) -> Json | None:
    return {"code": code, "message": message} if code else None


def planned(evaluation: Evaluation) -> tuple[int, int]:
    """Items and cases: as counted when all cases are there, before as the dataset's version says (not of a split)."""
    if evaluation.has_cases or evaluation.split:
        return evaluation.item_count, evaluation.case_count
    items = evaluation.dataset_version.item_count
    items = items if evaluation.item_limit is None else min(items, evaluation.item_limit)
    return items, items * len(evaluation.subjects.all()) * evaluation.repeats


def share_done(evaluation: Evaluation) -> float:
    """From 0 to 1, of the cases."""
    cases = planned(evaluation)[1]
    ended = evaluation.succeeded_count + evaluation.failed_count
    return min(1.0, ended / cases) if cases else 0.0


def estimated_end(evaluation: Evaluation) -> datetime | None:
    """At the speed since it was begun; None before anything has ended, and after everything has."""
    share = share_done(evaluation)
    if evaluation.is_finished or evaluation.started_at is None or not share:
        return None
    now = timezone.now()
    return now + (now - evaluation.started_at) * (1 - share) / share


def _progress(evaluation: Evaluation) -> Json:
    items, cases = planned(evaluation)
    return {
        "items": items,
        "cases": cases,
        "succeeded": evaluation.succeeded_count,
        "failed": evaluation.failed_count,
        "share": share_done(evaluation),
        "scores": evaluation.score_count,
        "score_errors": evaluation.score_error_count,
        "estimated_end_at": estimated_end(evaluation),
    }


def _subject(subject: EvaluationSubject) -> Json:
    return {
        "position": subject.position,
        "name": subject.name,
        "kind": subject.kind,
        "prompt_id": subject.prompt_id,
        "prompt_version_id": subject.prompt_version_id,
        "workflow_id": subject.workflow_id,
        "workflow_version_id": subject.workflow_version_id,
        "version_number": subject.version_number,
        "model_id": subject.model_id,
        "parameters": subject.parameters,
    }


def _metric(metric: EvaluationMetric) -> Json:
    version = metric.evaluator_version
    return {
        "position": metric.position,
        "name": metric.name,
        "evaluator_id": version.evaluator_id,
        "evaluator_version_id": version.id,
        "slug": version.evaluator.slug,
        "kind": version.evaluator.kind,
        "version_number": version.version_number,
    }
