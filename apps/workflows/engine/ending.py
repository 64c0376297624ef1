"""How a run ends. Its last event, what waits in it and who is told are one transaction with its state."""

from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.workflows.engine import events
from apps.workflows.engine.queue import call_for_ready
from apps.workflows.models import Approval, ApprovalStatus, RunStatus, StepStatus, WorkflowRun, WorkflowStep
from apps.workflows.telling import tell_of_end
from everquant.api.errors import Conflict

MESSAGE_LENGTH = 500


def finish(run: WorkflowRun, status: RunStatus, *, active_ms: int = 0, **changes: Any) -> bool:
    """Store the end of a run that this worker holds. False when it is no longer ours: then nothing is written."""
    with transaction.atomic():
        ours = WorkflowRun.objects.filter(id=run.id, fence=run.fence, status=RunStatus.RUNNING)
        return _end(run, ours, status, active_ms=F("active_ms") + active_ms, **changes)


def fail(
    run: WorkflowRun, *, code: str, message: str, path: str = "", active_ms: int = 0, status: RunStatus | None = None
) -> bool:
    return finish(
        run,
        status or RunStatus.FAILED,
        active_ms=active_ms,
        error_code=code,
        error_message=message[:MESSAGE_LENGTH],
        error_path=path,
    )


@transaction.atomic
def request_cancel(*, run: WorkflowRun) -> WorkflowRun:
    """One that no worker has is cancelled at once, another within a second or two.

    Gives the run as it is then; raises Conflict when it had ended.
    """
    now = timezone.now()
    current = WorkflowRun.objects.select_for_update(of=("self",)).get(id=run.id)
    if current.is_finished:
        raise Conflict("The run has ended.", details={"status": current.status})
    row = WorkflowRun.objects.filter(id=run.id)
    if current.status == RunStatus.RUNNING:
        row.update(cancel_requested_at=Coalesce("cancel_requested_at", now))
    else:
        _end(current, row, RunStatus.CANCELLED, cancel_requested_at=now)
    found: WorkflowRun = row.get()
    return found


def _end(run: WorkflowRun, row: Any, status: RunStatus, **changes: Any) -> bool:
    now = timezone.now()
    # Every walk leaves a checkpoint, however the run ends.
    changes["has_checkpoints"] = run.fence > 0
    if not row.update(status=status, finished_at=now, lease_expires_at=None, wake_at=None, **changes):
        return False
    pending = Approval.objects.filter(run_id=run.id, status=ApprovalStatus.PENDING)
    pending.update(status=ApprovalStatus.CANCELLED, decided_at=now)
    unfinished = WorkflowStep.objects.filter(run_id=run.id, status__in=[StepStatus.RUNNING, StepStatus.WAITING])
    unfinished.update(status=StepStatus.INTERRUPTED, finished_at=now)
    run.refresh_from_db()
    run.last_event = events.append(run.id, [(f"run.{status}", summary(run))])
    tell_of_end(run)
    call_for_ready()
    return True


def summary(run: WorkflowRun) -> dict[str, Any]:
    """What the last event says."""
    said: dict[str, Any] = {"status": run.status, "cost_usd": f"{run.cost_usd:f}"}
    if run.error_code:
        said["error"] = {"code": run.error_code, "message": run.error_message, "path": run.error_path}
    return said
