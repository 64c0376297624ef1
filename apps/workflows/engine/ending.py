"""How a run ends. Its last event, what waits in it and who is told are one transaction with its state."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.workflows.engine.rows import columns, refresh
from apps.workflows.engine.steps import dump
from apps.workflows.models import RunStatus, WorkflowRun
from apps.workflows.telling import tell_of_end
from everquant.api.errors import Conflict
from everquant.db import prepared_cursor

MESSAGE_LENGTH = 500
_END = f"""
WITH ended AS (
    UPDATE workflows_workflowrun run SET status = %(status)s, finished_at = %(now)s, lease_expires_at = NULL,
        wake_at = NULL, last_event = last_event + 1,
        active_ms = active_ms + %(active_ms)s, outputs = %(outputs)s::json, error_code = %(error_code)s,
        error_message = %(error_message)s, error_path = %(error_path)s,
        cancel_requested_at = coalesce(%(cancelled_at)s::timestamptz, cancel_requested_at)
    WHERE id = %(id)s AND (%(cancelled_at)s::timestamptz IS NOT NULL OR fence = %(fence)s AND status = 'running')
    RETURNING {columns("run")}
),
approvals AS (
    UPDATE workflows_approval a SET status = 'cancelled', decided_at = %(now)s FROM ended
    WHERE a.run_id = ended.id AND a.status = 'pending'
),
steps AS (
    UPDATE workflows_workflowstep s SET status = 'interrupted', finished_at = %(now)s FROM ended
    WHERE s.run_id = ended.id AND s.status IN ('running', 'waiting')
),
told AS (
    INSERT INTO workflows_runevent (run_id, number, type, data, created_at)
    SELECT id, last_event, 'run.' || status, json_strip_nulls(json_build_object('status', status,
        'cost_usd', cost_usd::text, 'error', CASE WHEN error_code <> '' THEN
            json_build_object('code', error_code, 'message', error_message, 'path', error_path) END)), %(now)s
    FROM ended
)
SELECT {columns("ended")} FROM ended
"""  # noqa: S608 (names of our own columns)


def finish(run: WorkflowRun, status: RunStatus, *, active_ms: int = 0, **changes: Any) -> bool:
    """Store the end of a run that this worker holds. False when it is no longer ours: then nothing is written."""
    with transaction.atomic():
        return _end(run, status, active_ms=active_ms, **changes)


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
        _end(current, RunStatus.CANCELLED, cancelled_at=now)
    found: WorkflowRun = row.get()
    return found


def _end(run: WorkflowRun, status: RunStatus, **changes: Any) -> bool:
    """With `cancelled_at` of a run that the caller has locked and nobody works at, else of one that is ours."""
    said = {"active_ms": 0, "error_code": "", "error_message": "", "error_path": "", "cancelled_at": None, **changes}
    said |= {"id": run.id, "fence": run.fence, "status": status, "now": timezone.now()}
    with prepared_cursor() as cursor:
        cursor.execute(_END, {**said, "outputs": dump(said.get("outputs"))})
        row = cursor.fetchone()
    if row is None:
        return False
    refresh(run, row)
    tell_of_end(run)
    return True
