"""How an evaluation ends: who is told of it is one transaction with its state."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.evaluations.engine.jobs import call_drivers, has_waiting
from apps.evaluations.models import Evaluation, EvaluationStatus
from apps.organizations.webhooks import emit

MESSAGE_LENGTH = 500
EVENTS = {
    EvaluationStatus.SUCCEEDED: "evaluation.completed",
    EvaluationStatus.FAILED: "evaluation.failed",
    EvaluationStatus.CANCELLED: "evaluation.cancelled",
}
_COUNTS = (
    "item_count", "case_count", "succeeded_count", "failed_count", "score_count", "score_error_count",
)  # fmt: skip


def finish(evaluation: Evaluation, status: EvaluationStatus, *, code: str = "", message: str = "") -> bool:
    """Store the end of an evaluation of this fence. False when it is no longer ours, or has ended."""
    with transaction.atomic():
        ours = Evaluation.objects.live().filter(id=evaluation.id, fence=evaluation.fence)
        changed = ours.update(
            status=status,
            finished_at=timezone.now(),
            lease_expires_at=None,
            error_code=code,
            error_message=message[:MESSAGE_LENGTH],
        )
        if changed:
            evaluation.refresh_from_db()
            emit(organization_id=evaluation.organization_id, event=EVENTS[status], data=summary(evaluation))
            # A place has become free.
            if has_waiting():
                call_drivers()
    return bool(changed)


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """What a webhook says."""
    failed = evaluation.status == EvaluationStatus.FAILED
    return {
        "id": evaluation.id,
        "name": evaluation.name,
        "dataset_version_id": evaluation.dataset_version_id,
        "status": evaluation.status,
        "error": {"code": evaluation.error_code, "message": evaluation.error_message} if failed else None,
        **{name: getattr(evaluation, name) for name in _COUNTS},
        "cost_usd": f"{evaluation.cost_usd:f}",
        "evaluator_cost_usd": f"{evaluation.evaluator_cost_usd:f}",
        "metadata": evaluation.metadata,
        "created_at": evaluation.created_at,
        "finished_at": evaluation.finished_at,
    }
