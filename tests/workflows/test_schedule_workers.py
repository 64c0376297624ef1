"""Several workers look at the same schedules at the same moment, over connections of their own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from apps.workflows.models import WorkflowRun, WorkflowSchedule
from apps.workflows.schedules.services import create_schedule
from apps.workflows.schedules.starting import start_due, start_due_schedules
from tests.workflows.starting import make_workflow

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 5, 1, 10, tzinfo=UTC)
SCHEDULES, WORKERS = 12, 4


@pytest.fixture
def due(editor):
    workflow = make_workflow(editor)
    given = {"cron": "* * * * *", "timezone": "UTC", "inputs": {"ticket": "T"}}
    for number in range(SCHEDULES):
        create_schedule(workflow=workflow, created_by_id=editor.user.id, name=f"{number}", **given)
    WorkflowSchedule.objects.update(next_run_at=NOW)
    return list(WorkflowSchedule.objects.order_by("id").values_list("id", flat=True))


def elsewhere(work, workers=1):
    """What each of so many threads gives, with a connection of its own."""

    def one(_):
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(one, range(workers)))


def test_each_time_becomes_exactly_one_run(due):
    together = threading.Barrier(WORKERS)

    def look():
        together.wait(30)
        return start_due_schedules(NOW)

    assert sum(elsewhere(look, WORKERS)) == SCHEDULES
    assert sorted(WorkflowRun.objects.values_list("schedule_id", flat=True)) == due
    assert set(WorkflowSchedule.objects.values_list("next_run_at", flat=True)) == {NOW + timedelta(minutes=1)}


class WorkerKilled(Exception):
    pass


def test_a_worker_that_ends_in_the_middle_leaves_the_time_to_another(due):
    @transaction.atomic
    def begin_and_end():
        assert start_due(due[0], NOW) is not None
        assert elsewhere(lambda: start_due(due[0], NOW)) == [None], "it waits for nobody, and starts nothing twice"
        raise WorkerKilled

    with pytest.raises(WorkerKilled):
        begin_and_end()
    assert not WorkflowRun.objects.exists()
    assert elsewhere(lambda: start_due(due[0], NOW) is not None) == [True]
    assert start_due(due[0], NOW) is None
    assert WorkflowRun.objects.count() == 1


def test_one_that_fails_unexpectedly_stays_due_and_stops_nobody(due):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.schedule_id = TG_ARGV[0]::uuid THEN RAISE 'disk is full'; END IF; RETURN NEW; END $$;"
            f"CREATE TRIGGER refuse_one BEFORE INSERT ON workflows_workflowrun"
            f" FOR EACH ROW EXECUTE FUNCTION refuse_one('{due[0]}')"
        )
        try:
            assert start_due_schedules(NOW) == SCHEDULES - 1
        finally:
            cursor.execute("DROP FUNCTION refuse_one() CASCADE")
    assert start_due_schedules(NOW) == 1
