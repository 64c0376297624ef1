"""Runs that are to be worked at: the rows are the queue, and jobs empty it.

Whoever makes a run ready calls a worker in the same transaction. Which run is next is decided when a worker is free:
of the organizations below their limit the one with the fewest running runs goes first, and of its runs the oldest
whose workflow is below its own. A run whose worker died counts as ready when its lease is over.

An end of a run makes place for one more at most, and the worker that comes to it looks for that one next.
"""

import threading
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.models import F
from django.utils import timezone
from procrastinate.contrib.django import app

from apps.executions.orchestrator.leases import lease_end
from apps.workflows.engine import events
from apps.workflows.engine.rows import columns, insertion, read, values
from apps.workflows.models import RunSource, RunStatus, Workflow, WorkflowRun, WorkflowVersion
from everquant.db import prepared_cursor, release_connection

TASK = "workflows.run_next"
WAKE_TASK = "workflows.wake_due"
QUEUE = "workflows"

# With its first event and with the job, which `call_workers` would defer in a transaction and a round trip more.
_START = (
    f"WITH run AS ({insertion()}), told AS (INSERT INTO workflows_runevent (run_id, number, type, data, created_at) "  # noqa: S608 (names of our own)
    "VALUES (%s, 1, 'run.queued', '{}', %s)) SELECT procrastinate_defer_jobs_v1("
    f"ARRAY[ROW('{QUEUE}', '{TASK}', 0, NULL, NULL, '{{}}', NULL)::procrastinate_job_to_defer_v1])"
)
# Counting and taking are one for all workers, so that the limits hold exactly (see the migration that makes it).
_TAKE = f"SELECT {columns('run')} FROM workflows_take_runs(%s, %s, %s, %s) run"  # noqa: S608 (names of our own columns)


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
    """A queued run with its first event and a job that comes for it, in one statement, which is a transaction if there
    is none around it. Inputs are as the caller has checked them.
    """
    now = timezone.now()
    run = WorkflowRun(
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
        queued_at=now,
        created_at=now,
        updated_at=now,
    )
    with prepared_cursor() as cursor:
        cursor.execute(_START, [*values(run), run.id, now])
    run._state.adding, run._state.db = False, DEFAULT_DB_ALIAS
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


class _Round:
    """Threads that want a run at the same time; `found` is what one of them took for all, None before."""

    def __init__(self) -> None:
        self.members = 0
        self.found: list[WorkflowRun] | None = None


class _Takers:
    """The threads of this process that want a run: one of them takes for all.

    Each for itself would hold a connection while it waits for its turn among all workers, which calls are in need of.
    """

    def __init__(self) -> None:
        self._joining, self._taking = threading.Lock(), threading.Lock()
        self._next = _Round()

    def take(self) -> WorkflowRun | None:
        with self._joining:
            own = self._next
            own.members += 1
        release_connection()
        with self._taking:
            if own.found is None:
                own.found = self._take_for(own)
            return own.found.pop(0) if own.found else None

    def _take_for(self, own: _Round) -> list[WorkflowRun]:
        with self._joining:
            self._next = _Round()
            wanted = own.members
        try:
            return _take(wanted)
        except BaseException:
            # The others of its round find nothing taken, and do it without this one.
            with self._joining:
                own.members -= 1
            raise


_TAKERS = _Takers()


def take() -> WorkflowRun | None:
    """The next run, running from now on under a new fence; committed. None when none is ready or all limits are met."""
    return _TAKERS.take()


def _take(wanted: int) -> list[WorkflowRun]:
    limit = settings.WORKFLOW_RUNS_PER_ORGANIZATION
    with prepared_cursor() as cursor:
        cursor.execute(_TAKE, [timezone.now(), lease_end(), limit, wanted])
        return [read(row) for row in cursor.fetchall()]


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
