"""Jobs that come for ready runs."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.workflows.engine import ending, queue
from apps.workflows.engine.running import run_ready, work_at
from apps.workflows.models import RunStatus, WorkflowRun
from tests.project.processes import wait_until
from tests.workflows.conftest import blocked_session, definition, template

pytestmark = pytest.mark.django_db(transaction=True)
HELLO = definition([template("hello")])


def begin_jobs() -> None:
    """As a worker does."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE status = 'todo'")


def test_a_run_whose_worker_was_killed_gets_a_job_while_the_dead_ones_still_look_begun(make_version, start):
    start(make_version(HELLO))
    begin_jobs()
    run = queue.take()
    assert queue.call_missing_workers() == 0, "its worker may live"
    WorkflowRun.objects.filter(id=run.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert queue.call_missing_workers() == 1
    assert queue.call_missing_workers() == 0, "one that nobody has begun is enough"


def test_a_run_comes_with_the_job_that_others_are_called_by(make_version, start):
    start(make_version(HELLO))
    queue.call_workers()
    jobs = list(ProcrastinateJob.objects.values("queue_name", "task_name", "priority", "args", "status", "lock",
                                                "queueing_lock", "scheduled_at", "attempts"))  # fmt: skip
    assert len(jobs) == 2
    assert jobs[0] == jobs[1]


def test_a_run_that_cannot_be_stored_leaves_no_job(make_version, start):
    version = make_version(HELLO)
    version.organization_id = version.workflow.organization_id = uuid4()
    with pytest.raises(IntegrityError):
        start(version)
    assert not ProcrastinateJob.objects.filter(task_name=queue.TASK).exists()


def test_queued_runs_without_jobs_get_some_and_no_more_than_run_at_once(make_version, start, settings):
    settings.QUEUE_RUNNERS = 3
    version = make_version(HELLO)
    for _ in range(5):
        start(version)
    assert queue.call_missing_workers() == 0
    begin_jobs()
    assert queue.call_missing_workers() == 3


def test_a_run_that_is_cancelled_just_before_it_begins_to_wait_does_not_wait(make_version, start, work):
    run = start(make_version(HELLO))
    taken = queue.take()
    assert ending.request_cancel(run=run).status == RunStatus.RUNNING
    assert queue.let_wait(taken, wake_at=None, active_ms=0)
    assert work(run).status == RunStatus.CANCELLED


def test_a_run_that_is_cancelled_while_it_is_taken_stays_cancelled_and_the_next_one_is_taken(make_version, start):
    """The worker has found it, and waits for whoever cancels it."""
    version = make_version(HELLO)
    cancelled, following = start(version), start(version)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            ending.request_cancel(run=cancelled)
            taking = pool.submit(_take)
            blocked_session()
        assert taking.result(10) == following.id
    cancelled.refresh_from_db()
    assert cancelled.status == RunStatus.CANCELLED


def test_who_has_ended_a_run_takes_what_its_limit_held_back_and_calls_nobody_for_it(make_version, start):
    version = make_version(HELLO, max_concurrent_runs=1)
    runs = [start(version) for _ in range(3)]
    begin_jobs()
    held = queue.take()
    assert (held.id, queue.take()) == (runs[0].id, None)
    work_at(held)
    assert run_ready() == 2
    assert set(WorkflowRun.objects.values_list("status", "last_event")) == {("succeeded", 4)}
    assert not ProcrastinateJob.objects.filter(task_name=queue.TASK, status="todo").exists()


@pytest.mark.parametrize("limit", [2, 100])
def test_who_wants_a_run_at_the_same_time_gets_one_of_its_own_below_the_limit(make_version, start, settings, limit):
    settings.WORKFLOW_RUNS_PER_ORGANIZATION = limit
    version = make_version(HELLO)
    runs = [start(version) for _ in range(5)]
    with _taking_together(8) as found:
        pass
    taken = [future.result(10) for future in found]
    most = min(limit, 5)
    assert sorted(filter(None, taken)) == sorted(run.id for run in runs[:most])
    assert set(WorkflowRun.objects.values_list("status", "fence")) == {("running", 1), *[("queued", 0)] * (most < 5)}


def test_who_waits_for_the_one_that_takes_has_no_connection(make_version, start):
    run, takers, held = start(make_version(HELLO)), queue._Takers(), []

    def take():
        connection.ensure_connection()
        taken = takers.take()
        held.append(connection.connection)
        connection.close()
        return taken

    with ThreadPoolExecutor(1) as thread:
        with takers._taking:
            waiting = thread.submit(take)
            wait_until(lambda: takers._next.members == 1, "it wants a run")
        assert waiting.result(30).id == run.id
    assert held == [None]


def test_what_one_takes_for_all_is_somebodys_when_takers_are_cut_off(make_version, start):
    """The second one takes for those that have come while the first one waited."""
    version = make_version(HELLO)
    for _ in range(8):
        start(version)
    with _taking_together(4) as found, connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [blocked_session()])
    cut_off = [future for future in found if isinstance(future.exception(10), OperationalError)]
    taken = {future.result() for future in found if future not in cut_off}
    assert (len(cut_off), len(taken)) == (2, 2)
    assert set(WorkflowRun.objects.filter(status="running").values_list("id", flat=True)) == taken


@contextmanager
def _taking_together(threads):
    """Threads that want a run, the first of which waits for its turn until the end of the block."""
    with ThreadPoolExecutor(threads) as pool, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('workflows.queue'))")
        found = [pool.submit(_take)]
        blocked_session()
        found += [pool.submit(_take) for _ in range(threads - 1)]
        yield found


def _take():
    try:
        run = queue.take()
        return run.id if run is not None else None
    finally:
        connection.close()
