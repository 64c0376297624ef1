"""Jobs that come for ready runs."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from apps.workflows.engine import queue
from apps.workflows.models import WorkflowRun
from tests.workflows.conftest import definition, template

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
