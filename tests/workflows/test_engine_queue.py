"""Jobs that come for ready runs."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.workflows.engine import ending, queue
from apps.workflows.engine.running import run_ready, work_at
from apps.workflows.models import RunStatus, WorkflowRun
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


def _take():
    try:
        return queue.take().id
    finally:
        connection.close()
