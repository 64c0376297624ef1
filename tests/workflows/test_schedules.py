"""Schedules: over HTTP, and what becomes of their times. Tests give the time; nobody waits for it."""

from datetime import UTC, datetime, timedelta

import pytest
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.users.models import AuditEntry
from apps.workflows.models import RunSource, RunStatus, WorkflowRun, WorkflowSchedule
from apps.workflows.schedules.starting import start_due_schedules
from apps.workflows.starting import MAX_PER_WORKFLOW
from tests.workflows.starting import DEFINITION, make_workflow, publish

pytestmark = pytest.mark.django_db

SCHEDULES = "/api/v1/workflow-schedules"
BODY = {"name": "Nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "inputs": {"ticket": "T"}}


@pytest.fixture
def workflow(editor):
    return make_workflow(editor)


@pytest.fixture
def create(editor, workflow):
    def make(of=None, *, person=editor, status=201, **fields):
        response = person.client.post(f"/api/v1/workflows/{(of or workflow).id}/schedules", {**BODY, **fields})
        assert response.status_code == status, response.content
        return response.json()["data" if status == 201 else "error"]

    return make


@pytest.fixture
def schedule(create):
    """One that was due at this time."""

    def make(due: str, **fields) -> WorkflowSchedule:
        made = WorkflowSchedule.objects.get(id=create(**fields)["id"])
        WorkflowSchedule.objects.filter(id=made.id).update(next_run_at=at(due))
        made.refresh_from_db()
        return made

    return make


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def end(run: WorkflowRun) -> None:
    WorkflowRun.objects.filter(id=run.id).update(status=RunStatus.SUCCEEDED, finished_at=run.queued_at)


def scheduled() -> list[str]:
    """The times that became runs, oldest run first."""
    return [run.metadata["scheduled_at"][:16] for run in WorkflowRun.objects.order_by("id")]


def test_made_read_changed_deleted(create, editor, viewer, workflow):
    made = create()
    assert made["workflow_id"] == str(workflow.id)
    assert made["created_by"] == str(editor.user.id)
    assert (made["overlap"], made["missed"], made["label"], made["is_active"]) == ("skip", "run_once", "", True)
    assert made["last_run_at"] is None
    assert len(made["next_times"]) == 5
    assert made["next_times"][0] == made["next_run_at"]
    read = viewer.client.get(f"{SCHEDULES}/{made['id']}")
    assert read.json()["data"] == made
    assert [one["id"] for one in viewer.client.get(SCHEDULES).json()["data"]] == [made["id"]]
    assert [one["id"] for one in viewer.client.get(f"/api/v1/workflows/{workflow.id}/schedules").json()["data"]] == [
        made["id"]
    ]
    stale = editor.client.patch(f"{SCHEDULES}/{made['id']}", {"name": "New"}, headers={"If-Match": '"other"'})
    assert stale.status_code == 412
    off = editor.client.patch(
        f"{SCHEDULES}/{made['id']}", {"is_active": False}, headers={"If-Match": read.headers["ETag"]}
    ).json()["data"]
    assert (off["next_run_at"], off["next_times"]) == (None, [])
    assert editor.client.patch(f"{SCHEDULES}/{made['id']}", {"is_active": True}).json()["data"]["next_run_at"]
    put = editor.client.put(
        f"{SCHEDULES}/{made['id']}", {"name": "Hourly", "cron": "0 * * * *", "inputs": {"ticket": "U"}}
    )
    assert put.json()["data"]["timezone"] == "UTC"
    assert put.json()["data"]["next_run_at"] != made["next_run_at"]
    assert editor.client.delete(f"{SCHEDULES}/{made['id']}").status_code == 204
    assert viewer.client.get(f"{SCHEDULES}/{made['id']}").status_code == 404
    actions = AuditEntry.objects.for_organization(editor.organization.id).filter(object_pk=made["id"])
    assert set(actions.values_list("action", flat=True)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": 5}, "cron"),
        ({"cron": "é"}, "cron"),
        ({"timezone": "Europe"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"inputs": []}, "inputs"),
        ({"inputs": {}}, "inputs.ticket"),
        ({"inputs": {"ticket": 1}}, "inputs.ticket"),
        ({"inputs": {"ticket": "T", "other": 1}}, "inputs.other"),
        ({"label": "staging"}, "label"),
        ({"label": "No Label"}, "label"),
        ({"overlap": "allow"}, "overlap"),
        ({"missed": "run_all"}, "missed"),
        ({"missed": {"a": 1}}, "missed"),
        ({"is_active": "yes"}, "is_active"),
        ({"next_run_at": "2026-01-01T00:00:00Z"}, "next_run_at"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
    ],
)
def test_what_is_wrong_is_named(create, editor, fields, named):
    assert named in create(status=400, **fields)["details"]
    assert not WorkflowSchedule.objects.exists()
    made = create()
    refused = editor.client.patch(f"{SCHEDULES}/{made['id']}", fields)
    assert refused.status_code == 400
    assert named in refused.json()["error"]["details"]


def test_another_organization_finds_nothing(create, workflow, outsider):
    made = create()
    create(person=outsider, status=404)
    assert outsider.client.get(f"/api/v1/workflows/{workflow.id}/schedules").status_code == 404
    assert outsider.client.get(f"{SCHEDULES}?workflow_id={workflow.id}").json()["data"] == []
    for method in ("get", "patch", "delete"):
        assert getattr(outsider.client, method)(f"{SCHEDULES}/{made['id']}").status_code == 404


def test_a_workflow_has_so_many_at_most(create, workflow, editor):
    row = {"organization": editor.organization, "workflow": workflow, "is_active": False, "cron": "* * * * *"}
    WorkflowSchedule.objects.bulk_create([WorkflowSchedule(name=f"{n}", **row) for n in range(MAX_PER_WORKFLOW)])
    assert "at most" in create(status=409)["message"]


def test_a_time_that_has_come_becomes_one_run(schedule, editor):
    made = schedule("2026-03-28T01:30")
    assert start_due_schedules(at("2026-03-28T01:29:59")) == 0
    assert start_due_schedules(at("2026-03-28T01:30:20")) == 1
    assert start_due_schedules(at("2026-03-28T01:31:20")) == 0
    run = WorkflowRun.objects.get()
    assert (run.source, run.status, run.schedule_id) == (RunSource.SCHEDULE, RunStatus.QUEUED, made.id)
    assert run.created_by_id == editor.user.id
    assert run.inputs == {"ticket": "T", "priority": 3}
    assert ProcrastinateJob.objects.filter(task_name="workflows.run_next").count() == 1
    made.refresh_from_db()
    # the next night has no 02:30 in Berlin
    assert made.next_run_at == at("2026-03-29T01:00")
    assert (made.last_run_at, made.last_run_id) == (at("2026-03-28T01:30:20"), run.id)
    assert not AuditEntry.objects.filter(object_pk=made.id, action=AuditEntry.Action.UPDATE).exists()


def test_the_worker_looks_every_minute(schedule):
    task = app.tasks["apps.workflows.schedules.tasks.start_schedules"]
    assert ("* * * * *", task) in [(one.cron, one.task) for one in app.periodic_registry.periodic_tasks.values()]
    schedule("2026-03-28T01:30")
    task(timestamp=0)
    assert WorkflowRun.objects.count() == 1


def test_a_night_with_two_o_clock_twice_is_one_night(schedule):
    schedule("2026-10-25T00:30")
    for minute in range(0, 180, 15):
        now = at("2026-10-25T00:00") + timedelta(minutes=minute)
        start_due_schedules(now)
        WorkflowRun.objects.live().update(status=RunStatus.SUCCEEDED, finished_at=now)
    assert scheduled() == ["2026-10-25T00:30"]
    assert WorkflowSchedule.objects.get().next_run_at == at("2026-10-26T01:30")


@pytest.mark.parametrize(
    ("missed", "late", "expected"),
    [
        ("skip", "10:04", ["2026-05-01T10:00"]),
        ("skip", "10:06", []),
        ("skip", "13:20", []),
        ("run_once", "13:20", ["2026-05-01T13:00"]),
        ("run_all", "13:20", ["2026-05-01T10:00", "2026-05-01T11:00", "2026-05-01T12:00", "2026-05-01T13:00"]),
    ],
)
def test_missed_times(schedule, missed, late, expected):
    overlap = "queue" if missed == "run_all" else "skip"
    made = schedule("2026-05-01T10:00", cron="0 * * * *", timezone="UTC", missed=missed, overlap=overlap)
    now = at(f"2026-05-01T{late}")
    while start_due_schedules(now):
        end(WorkflowRun.objects.live().get())
    assert scheduled() == expected
    made.refresh_from_db()
    assert made.next_run_at > now
    assert (made.last_skipped_at is None) == bool(expected)


def test_at_most_a_hundred_missed_times_are_made_up_for(schedule):
    made = schedule("2026-05-01T10:00", cron="* * * * *", timezone="UTC", missed="run_all", overlap="queue")
    start_due_schedules(at("2026-05-02T10:00"))
    made.refresh_from_db()
    assert len(made.queued_times) == 99
    assert scheduled() == ["2026-05-02T08:21"]


def test_overlap_skip(schedule):
    made = schedule("2026-05-01T10:00", cron="* * * * *", timezone="UTC")
    assert start_due_schedules(at("2026-05-01T10:00")) == 1
    assert start_due_schedules(at("2026-05-01T10:01")) == 0
    made.refresh_from_db()
    assert made.last_skipped_at == at("2026-05-01T10:01")
    end(WorkflowRun.objects.get())
    assert start_due_schedules(at("2026-05-01T10:02")) == 1
    assert scheduled() == ["2026-05-01T10:00", "2026-05-01T10:02"]


def test_overlap_queue(schedule, editor):
    made = schedule("2026-05-01T10:00", cron="* * * * *", timezone="UTC", overlap="queue")
    for minute in range(4):
        start_due_schedules(at(f"2026-05-01T10:0{minute}"))
    assert scheduled() == ["2026-05-01T10:00"]
    for _ in range(2):
        end(WorkflowRun.objects.live().get())
        assert start_due_schedules(at("2026-05-01T10:03:30")) == 1
    assert scheduled() == ["2026-05-01T10:00", "2026-05-01T10:01", "2026-05-01T10:02"]
    made.refresh_from_db()
    assert made.queued_times == [at("2026-05-01T10:03")]
    editor.client.patch(f"{SCHEDULES}/{made.id}", {"overlap": "skip"})
    made.refresh_from_db()
    assert made.queued_times == []


def test_overlap_cancel_previous(schedule):
    schedule("2026-05-01T10:00", cron="* * * * *", timezone="UTC", overlap="cancel_previous")
    for minute in range(3):
        assert start_due_schedules(at(f"2026-05-01T10:0{minute}")) == 1
    statuses = list(WorkflowRun.objects.order_by("id").values_list("status", flat=True))
    assert statuses == [RunStatus.CANCELLED, RunStatus.CANCELLED, RunStatus.QUEUED]


def test_what_cannot_start_is_noted_and_does_not_stop_the_others(schedule, workflow, editor):
    bad = schedule("2026-05-01T10:00", cron="* * * * *", timezone="UTC", name="Bad")
    good = schedule("2026-05-01T10:00", cron="* * * * *", timezone="UTC", name="Good", inputs={"ticket": "x" * 20})
    longer = {**DEFINITION["inputs"], "properties": {"ticket": {"type": "string", "minLength": 10}}}
    publish(workflow, inputs=longer)
    assert start_due_schedules(at("2026-05-01T10:00")) == 1
    run = WorkflowRun.objects.get()
    assert (run.schedule_id, run.version_number) == (good.id, 2)
    bad.refresh_from_db()
    assert "inputs.ticket" in bad.last_error
    assert bad.next_run_at == at("2026-05-01T10:01")
    [entry] = AuditEntry.objects.filter(object_pk=bad.id, action=AuditEntry.Action.UPDATE)
    assert set(entry.changes) == {"last_error"}
    assert entry.organization_id == editor.organization.id
    end(run)
    assert start_due_schedules(at("2026-05-01T10:01")) == 1
    assert AuditEntry.objects.filter(object_pk=bad.id, action=AuditEntry.Action.UPDATE).count() == 1, "said once"
    publish(workflow)
    assert start_due_schedules(at("2026-05-01T10:02")) == 1
    bad.refresh_from_db()
    assert bad.last_error == ""


def test_nothing_published_yet(create, editor):
    unpublished = make_workflow(editor, "later", is_published=False)
    made = create(unpublished, inputs={"anything": 1})
    WorkflowSchedule.objects.update(next_run_at=at("2026-05-01T00:30"))
    assert start_due_schedules(at("2026-05-01T00:30")) == 0
    assert "publish" in editor.client.get(f"{SCHEDULES}/{made['id']}").json()["data"]["last_error"]


@pytest.mark.parametrize("change", ["membership", "role", "user", "organization", "workflow"])
def test_who_may_not_run_workflows_any_more_starts_none(schedule, editor, workflow, change):
    made = schedule("2026-05-01T00:30")
    if change == "role":
        editor.membership.role = "viewer"
        editor.membership.save()
    else:
        gone = {"workflow": workflow, "user": editor.user, "organization": editor.organization}
        target = gone.get(change, editor.membership)
        target.is_active = False
        target.save()
    assert start_due_schedules(at("2026-05-01T00:30")) == 0
    assert not WorkflowRun.objects.exists()
    made.refresh_from_db()
    assert made.last_error
    assert made.next_run_at > at("2026-05-01T00:30")


def test_a_deleted_workflow_starts_nothing(schedule, workflow, editor):
    made = schedule("2026-05-01T00:30")
    workflow.soft_delete()
    assert start_due_schedules(at("2026-05-01T00:30")) == 0
    assert editor.client.get(f"{SCHEDULES}/{made.id}").status_code == 404
    assert editor.client.get(SCHEDULES).json()["data"] == []


def test_a_schedule_of_someone_who_was_deleted_says_so(schedule, editor):
    made = schedule("2026-05-01T00:30")
    WorkflowSchedule.objects.filter(id=made.id).update(created_by=None)
    assert start_due_schedules(at("2026-05-01T00:30")) == 0
    made.refresh_from_db()
    assert "make it anew" in made.last_error


def test_switched_off_means_that_its_times_are_not_made_up_for(schedule, editor):
    made = schedule("2026-05-01T00:30")
    editor.client.patch(f"{SCHEDULES}/{made.id}", {"is_active": False})
    assert start_due_schedules(at("2027-05-01T10:00")) == 0
    editor.client.patch(f"{SCHEDULES}/{made.id}", {"is_active": True})
    assert start_due_schedules(datetime.now(UTC)) == 0
