"""Runs that are to be worked at: the rows are the queue, and jobs empty it.

Whoever makes a run ready calls a worker in the same transaction. Which run is next is decided when a worker is free:
of the organizations below their limit the one with the fewest running runs goes first, and of its runs the oldest
whose workflow is below its own. A run whose worker died counts as ready when its lease is over.

An end of a run makes place for one more at most, and the worker that comes to it looks for that one next.
"""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from procrastinate.contrib.django import app

from apps.executions.orchestrator.leases import lease_end
from apps.workflows.engine import events
from apps.workflows.engine.rows import columns, read
from apps.workflows.models import RunSource, RunStatus, Workflow, WorkflowRun, WorkflowVersion
from everquant.db import prepared_cursor

TASK = "workflows.run_next"
WAKE_TASK = "workflows.wake_due"
QUEUE = "workflows"

_QUEUED = (
    "INSERT INTO workflows_runevent (run_id, number, type, data, created_at) VALUES (%s, 1, 'run.queued', '{}', now())"
)
# Counting and taking are one for all workers, so that the limits hold exactly.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('workflows.queue'))"
# Asked first, as it waits for nobody.
_IS_READY = """
SELECT EXISTS (SELECT FROM workflows_workflowrun WHERE status = 'queued')
OR EXISTS (SELECT FROM workflows_workflowrun WHERE status = 'running' AND lease_expires_at < %s)
"""
# One whose worker died goes first; what was cancelled since it was found is found, and not taken.
_TAKE = f"""
WITH RECURSIVE abandoned AS (
    SELECT id FROM workflows_workflowrun WHERE status = 'running' AND lease_expires_at < %(now)s
    ORDER BY lease_expires_at LIMIT 1 FOR UPDATE SKIP LOCKED
),
ready AS (
    (SELECT organization_id FROM workflows_workflowrun WHERE status = 'queued' ORDER BY organization_id LIMIT 1)
    UNION ALL
    SELECT (SELECT organization_id FROM workflows_workflowrun
            WHERE status = 'queued' AND organization_id > ready.organization_id ORDER BY organization_id LIMIT 1)
    FROM ready WHERE ready.organization_id IS NOT NULL
),
busy AS (
    SELECT organization_id, workflow_id, count(*) AS runs FROM workflows_workflowrun
    WHERE status = 'running' AND lease_expires_at >= %(now)s GROUP BY organization_id, workflow_id
),
turn AS (
    SELECT ready.organization_id, coalesce((SELECT sum(runs) FROM busy WHERE busy.organization_id
        = ready.organization_id), 0) AS runs FROM ready WHERE ready.organization_id IS NOT NULL
),
next AS (
    SELECT oldest.id FROM turn, LATERAL (
        SELECT run.id, run.queued_at
        FROM workflows_workflowrun run JOIN workflows_workflow w ON w.id = run.workflow_id
        LEFT JOIN busy ON busy.workflow_id = w.id
        WHERE run.organization_id = turn.organization_id AND run.status = 'queued'
        AND (w.max_concurrent_runs IS NULL OR coalesce(busy.runs, 0) < w.max_concurrent_runs)
        ORDER BY run.queued_at, run.id LIMIT 1
    ) oldest
    WHERE turn.runs < %(limit)s ORDER BY turn.runs, oldest.queued_at, oldest.id LIMIT 1
),
found AS (
    SELECT id FROM abandoned UNION ALL SELECT id FROM next WHERE NOT EXISTS (SELECT FROM abandoned)
),
taken AS (
    UPDATE workflows_workflowrun run SET status = 'running', fence = fence + 1, lease_expires_at = %(lease)s,
        started_at = coalesce(started_at, %(now)s), wake_at = NULL, last_event = last_event + (fence = 0)::integer
    WHERE id = (SELECT id FROM found) AND status IN ('queued', 'running') RETURNING {columns("run")}
),
told AS (
    INSERT INTO workflows_runevent (run_id, number, type, data, created_at)
    SELECT id, last_event, 'run.started', '{{}}', now() FROM taken WHERE fence = 1
)
SELECT {columns("taken")} FROM found LEFT JOIN taken ON true
"""  # noqa: S608 (names of our own columns)


def start_run(
    *,
    workflow: Workflow,
    version: WorkflowVersion,
    inputs: dict[str, Any],
    source: RunSource = RunSource.API,
    created_by_id: UUID | None = None,
    api_key_id: UUID | None = None,
    metadata: dict[str, Any] | None = None,
    schedule_id: UUID | None = None,
    trigger_id: UUID | None = None,
    origin: WorkflowRun | None = None,
    origin_node: str = "",
) -> WorkflowRun:
    """A queued run with its first event and a job that comes for it; inputs are as the caller has checked them."""
    with transaction.atomic(savepoint=False):
        run: WorkflowRun = WorkflowRun.objects.create(
            organization_id=workflow.organization_id,
            workflow=workflow,
            version=version,
            version_number=version.version_number,
            inputs=inputs,
            source=source,
            created_by_id=created_by_id,
            api_key_id=api_key_id,
            metadata=metadata or {},
            schedule_id=schedule_id,
            trigger_id=trigger_id,
            origin=origin,
            origin_node=origin_node,
            last_event=1,
        )
        with prepared_cursor() as cursor:
            cursor.execute(_QUEUED, [run.id])
        call_workers()
    return run


def call_workers(runs: int = 1) -> None:
    """Have jobs come for so many ready runs; in the transaction that makes them ready."""
    app.configure_task(TASK, queue=QUEUE).batch_defer(*[{} for _ in range(runs)])


def wake(run_id: UUID) -> bool:
    """Have a waiting run go on, in the transaction of what it waited for. False when it has ended.

    One that a worker has at this moment is looked at again when the worker is through with it.
    """
    run = WorkflowRun.objects.select_for_update(of=("self",)).only("status").get(id=run_id)
    if run.is_finished:
        return False
    if run.status == RunStatus.WAITING:
        WorkflowRun.objects.filter(id=run_id).update(status=RunStatus.QUEUED, queued_at=timezone.now(), wake_at=None)
        events.append(run_id, [("run.resumed", {})])
        call_workers()
    else:
        WorkflowRun.objects.filter(id=run_id).update(wake_at=timezone.now())
    return True


def take() -> WorkflowRun | None:
    """The next run, running from now on under a new fence; committed. None when none is ready or all limits are met."""
    while _is_ready():
        with transaction.atomic():
            row = _take()
        # One that was cancelled since it was found is left to its end.
        if row is None or row[0] is not None:
            return None if row is None else read(row)
    return None


def _is_ready() -> bool:
    with prepared_cursor() as cursor:
        cursor.execute(_IS_READY, [timezone.now()])
        return bool(cursor.fetchone()[0])


def _take() -> Any:
    now = timezone.now()
    with prepared_cursor() as cursor:
        cursor.execute(_LOCK)
        limit = settings.WORKFLOW_RUNS_PER_ORGANIZATION
        cursor.execute(_TAKE, {"now": now, "lease": lease_end(), "limit": limit})
        return cursor.fetchone()


def hand_back(run: WorkflowRun, *, active_ms: int) -> bool:
    """A run that this worker has no time for any more is ready for another. False when it is no longer ours."""
    with transaction.atomic():
        changed = _ours(run).update(
            status=RunStatus.QUEUED, lease_expires_at=None, active_ms=F("active_ms") + active_ms
        )
        if changed:
            call_workers()
    return bool(changed)


def let_wait(run: WorkflowRun, *, wake_at: Any, active_ms: int) -> bool:
    """It waits until `wake_at` (None: until woken); it is ready again at once if it was woken or is to be cancelled.

    False when it is no longer ours.
    """
    with transaction.atomic():
        current = _ours(run).select_for_update().first()
        if current is None:
            return False
        if current.wake_at is not None or current.cancel_requested_at is not None:
            return hand_back(run, active_ms=active_ms)
        _ours(run).update(
            status=RunStatus.WAITING, wake_at=wake_at, lease_expires_at=None, active_ms=F("active_ms") + active_ms
        )
        events.append(run.id, [("run.waiting", {"wake_at": wake_at})])
        if wake_at is not None:
            app.configure_task(WAKE_TASK, queue=QUEUE, schedule_at=wake_at).defer()
    return True


def _ours(run: WorkflowRun) -> Any:
    return WorkflowRun.objects.filter(id=run.id, fence=run.fence, status=RunStatus.RUNNING)


def wake_due(now: Any = None) -> int:
    """Have runs go on whose time has come; gives how many."""
    due = WorkflowRun.objects.filter(status=RunStatus.WAITING, wake_at__lte=now or timezone.now())
    count = 0
    for run_id in list(due.order_by("wake_at").values_list("id", flat=True)[:1000]):
        with transaction.atomic():
            count += wake(run_id)
    return count


def call_missing_workers() -> int:
    """Jobs for ready runs that have none; gives how many.

    A worker that ended without a word leaves its runs to the next one here, LEASE_S after its last sign of life. Jobs
    that were begun do not count: for a minute or two its own look as if they were still worked at.
    """
    ready = WorkflowRun.objects.filter(status=RunStatus.QUEUED).count() + WorkflowRun.objects.abandoned().count()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s AND status = 'todo'", [TASK])
        missing = min(ready, settings.QUEUE_RUNNERS) - int(cursor.fetchone()[0])
    if missing > 0:
        call_workers(missing)
    return max(0, missing)
