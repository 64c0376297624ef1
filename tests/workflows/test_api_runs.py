"""Runs over HTTP: begun once, read, watched from any point, waited for, and begun again."""

import threading

import pytest
from django.db import connection

from apps.organizations.models import WebhookDelivery
from apps.workflows import watching
from apps.workflows.engine import queue
from apps.workflows.engine.running import work_at
from apps.workflows.models import RunEvent, RunStatus, WorkflowRun
from everquant.api.bulkhead import WAITING_CALLS
from tests.executions.test_stream import parse, wait_until
from tests.workflows.conftest import RUNS, WORKFLOWS, definition, failing, template

pytestmark = pytest.mark.django_db(transaction=True)
INPUTS = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "times": {"type": "integer", "default": 2}},
    "required": ["name"],
    "additionalProperties": False,
}
HELLO = definition(
    [
        template("hello", "Hello, {{ inputs.name }}!"),
        template("twice", "{{ nodes.hello.output }} x {{ inputs.times }}"),
    ],
    [("hello", "twice")],
    inputs=INPUTS,
    outputs={"text": {"$ref": "nodes.twice.output"}},
)
ADA = {"inputs": {"name": "Ada"}}


def path_of(version) -> str:
    return f"{WORKFLOWS}/{version.workflow_id}"


@pytest.fixture
def hello(make_version):
    return make_version(HELLO)


@pytest.fixture
def execute(editor):
    def post(version, body=ADA, *, status=202, client=None, headers=None):
        response = (client or editor.client).post(f"{path_of(version)}/execute", body, headers=headers)
        assert response.status_code == status, response.content
        return response.json()["data" if status < 300 else "error"]

    return post


def test_a_run_is_queued_worked_at_and_read(execute, hello, editor, work):
    begun = execute(hello, {**ADA, "metadata": {"ticket": 7}})
    assert (begun["status"], begun["source"], begun["metadata"]) == ("queued", "api", {"ticket": 7})
    assert begun["inputs"] == {"times": 2, "name": "Ada"}
    assert begun["created_by"] == str(editor.user.id)
    work(WorkflowRun.objects.get())
    run = editor.client.get(f"{RUNS}/{begun['id']}").json()["data"]
    assert (run["status"], run["outputs"], run["error"]) == ("succeeded", {"text": "Hello, Ada! x 2"}, None)
    steps = editor.client.get(f"{RUNS}/{begun['id']}/steps").json()
    assert [(step["path"], step["status"], step["output"]) for step in steps["data"]] == [
        ("hello", "succeeded", "Hello, Ada!"),
        ("twice", "succeeded", "Hello, Ada! x 2"),
    ]
    assert "twice" in editor.client.get(f"{RUNS}/{begun['id']}/diagram").json()["data"]["mermaid"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "field", "status"),
    [
        ({}, "inputs.name", 400),
        ({"inputs": {"name": 1}}, "inputs.name", 400),
        ({"inputs": {"name": "x", "other": 1}}, "inputs.other", 400),
        ({"inputs": []}, "inputs", 400),
        ({"inputs": {"name": "x" * 1_048_577}}, "inputs", 400),
        ({**ADA, "wait_s": 61}, "wait_s", 400),
        ({**ADA, "version": 9}, "version", 404),
        ({**ADA, "label": "staging"}, "label", 404),
        ({**ADA, "label": "Not A Label"}, "label", 400),
        ({**ADA, "stream": True}, "stream", 400),
        ({**ADA, "metadata": {str(n): n for n in range(51)}}, "metadata", 400),
    ],
)
def test_what_cannot_run_is_refused_by_field(execute, hello, body, field, status):
    assert list(execute(hello, body, status=status)["details"]) == [field]
    assert WorkflowRun.objects.count() == 0


@pytest.mark.django_db
def test_a_deleted_workflow_does_not_run_until_it_is_back(execute, hello, admin):
    assert admin.client.delete(path_of(hello)).status_code == 204
    execute(hello, status=404)
    assert not WorkflowRun.objects.exists()
    assert admin.client.post(f"{path_of(hello)}/restore").status_code == 200
    execute(hello)


def test_which_version_runs(execute, editor, work):
    body = {"slug": "flow", "name": "Flow", "definition": HELLO}
    path = f"{WORKFLOWS}/{editor.client.post(WORKFLOWS, body).json()['data']['id']}"

    def post(**more):
        return editor.client.post(f"{path}/execute", {**ADA, **more})

    assert post().status_code == 409
    editor.client.post(f"{path}/publish", {"labels": ["staging"]})
    editor.client.patch(path, {"definition": {**HELLO, "outputs": {}}})
    editor.client.post(f"{path}/publish", {})
    assert post().json()["data"]["version_number"] == 2
    assert post(label="staging").json()["data"]["version_number"] == 1
    assert post(version=1, label="staging").json()["data"]["version_number"] == 1
    assert post(version=2, label="staging").status_code == 404
    editor.client.put(f"{path}/labels/production", {"version": 1})
    assert post().json()["data"]["version_number"] == 1
    assert post(version=2).json()["data"]["version_number"] == 2
    editor.client.patch(path, {"is_active": False})
    assert post().status_code == 409


@pytest.mark.django_db
def test_a_key_begins_one_run(execute, hello):
    headers = {"Idempotency-Key": "k"}
    first, second = (execute(hello, headers=headers) for _ in range(2))
    assert first["id"] == second["id"]
    execute(hello, {"inputs": {"name": "Bob"}}, headers=headers, status=409)
    assert WorkflowRun.objects.count() == 1


def test_lists_are_filtered_and_paged(execute, hello, make_version, editor, outsider, work):
    for _ in range(3):
        execute(hello)
    other = execute(make_version(definition([failing("bad")])), {})
    work(WorkflowRun.objects.get(id=other["id"]))

    def ids(query="", path=RUNS):
        response = editor.client.get(f"{path}?{query}")
        assert response.status_code == 200, response.content
        return [row["id"] for row in response.json()["data"]]

    assert len(ids()) == 4
    assert ids("status=failed") == ids(f"workflow_id={other['workflow_id']}") == [other["id"]]
    assert len(ids("status=succeeded&source=api")) == 3
    assert ids("created_before=2020-01-01T00:00:00Z") == ids("source=schedule") == []
    assert ids("created_after=2020-01-01T00:00:00%2B22:47") == ids(f"created_by={editor.user.id}") == ids()
    assert ids(path=f"{path_of(hello)}/runs") == [key for key in ids() if key != other["id"]]
    page = editor.client.get(f"{RUNS}?per_page=3").json()
    assert ids(f"cursor={page['meta']['next_cursor']}") == [ids()[3]]
    assert "inputs" not in page["data"][0]
    assert outsider.client.get(RUNS).json()["data"] == []
    assert outsider.client.get(f"{path_of(hello)}/runs").status_code == 404
    assert editor.client.get(f"{RUNS}?status=nonsense").status_code == 400
    assert editor.client.get(f"{RUNS}?workflow_id=1").status_code == 400
    assert editor.client.get(f"{RUNS}?created_before=9999-12-31T23:59:59-23:59").status_code == 400


def test_steps_are_filtered(run_of, editor):
    body = {"nodes": [template("write", "{{ item }}")], "edges": []}
    each = {"id": "each", "kind": "map", "config": {"items": [1, 2, 3], "body": body}}
    run = run_of(definition([each, template("end")], [("each", "end")]))

    def paths(query):
        return sorted(row["path"] for row in editor.client.get(f"{RUNS}/{run.id}/steps?{query}").json()["data"])

    inside = [f"each[{number}].write" for number in range(3)]
    assert paths("path=each") == ["each", *inside]
    assert paths("path=each[1]") == inside[1:2]
    assert paths("kind=template") == [*inside, "end"]
    assert paths("node_id=end&status=succeeded") == ["end"]
    assert paths("status=failed") == []
    assert editor.client.get(f"{RUNS}/{run.id}/steps?per_page=2").json()["meta"]["total"] == 5


@pytest.mark.django_db
def test_a_webhook_tells_of_the_end(execute, hello, admin):
    endpoint = {"name": "ci", "url": "https://hooks.example.invalid/in", "event_types": ["workflow_run.cancelled"]}
    assert admin.client.post("/api/v1/webhooks", endpoint).status_code == 201
    begun = execute(hello, {**ADA, "metadata": {"ticket": 7}})
    admin.client.post(f"{RUNS}/{begun['id']}/cancel")
    told = WebhookDelivery.objects.get().payload["data"]
    assert (told["id"], told["status"], told["metadata"]) == (begun["id"], "cancelled", {"ticket": 7})


@pytest.mark.django_db
def test_cancelling(execute, hello, editor):
    begun = execute(hello)
    cancelled = editor.client.post(f"{RUNS}/{begun['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["data"]["status"]) == (200, "cancelled")
    assert editor.client.post(f"{RUNS}/{begun['id']}/cancel").status_code == 409


def test_a_retry_takes_over_what_ended_well(run_of, editor, work):
    run = run_of(definition([template("first"), failing("bad")], [("first", "bad")]))
    response = editor.client.post(f"{RUNS}/{run.id}/retry")
    again = response.json()["data"]
    assert (response.status_code, again["source"], again["origin_id"]) == (202, "retry", str(run.id))
    assert response.headers["Location"] == f"{RUNS}/{again['id']}"
    work(WorkflowRun.objects.get(id=again["id"]))
    steps = editor.client.get(f"{RUNS}/{again['id']}/steps").json()["data"]
    assert [(step["path"], step["is_reused"]) for step in steps] == [("first", True), ("bad", False)]
    refused = editor.client.post(f"{RUNS}/{run.id}/retry", {"from": "nowhere"})
    assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["from"])
    assert editor.client.post(f"{RUNS}/{run.id}/retry", {"node": "bad"}).status_code == 400


def test_a_fork_has_other_inputs(execute, hello, editor, work):
    begun = execute(hello)
    assert editor.client.post(f"{RUNS}/{begun['id']}/fork", {}).status_code == 409
    work(WorkflowRun.objects.get())
    response = editor.client.post(f"{RUNS}/{begun['id']}/fork", {"node": "twice", "inputs": {"name": "Bob"}})
    forked = response.json()["data"]
    assert (response.status_code, forked["source"], forked["origin_node"]) == (202, "fork", "twice")
    work(WorkflowRun.objects.get(id=forked["id"]))
    read = editor.client.get(f"{RUNS}/{forked['id']}").json()["data"]
    assert (read["status"], read["outputs"]) == ("succeeded", {"text": "Hello, Ada! x 2"})
    for body, field, status in (
        ({"node": "nowhere"}, "node", 400),
        ({"inputs": {}}, "inputs.name", 400),
        ({"version": 9}, "version", 404),
    ):
        refused = editor.client.post(f"{RUNS}/{begun['id']}/fork", body)
        assert (refused.status_code, list(refused.json()["error"]["details"])) == (status, [field])
    assert editor.client.patch(path_of(hello), {"is_active": False}).status_code == 200
    assert editor.client.post(f"{RUNS}/{begun['id']}/fork", {}).status_code == 409


@pytest.fixture
def worker():
    """Works at what is ready in a thread of its own, from its call on, until the test is over."""
    stop, threads = threading.Event(), []

    def serve():
        while not stop.wait(0.02):
            taken = queue.take()
            if taken is not None:
                work_at(taken)
        connection.close()

    def begin():
        threads.append(threading.Thread(target=serve))
        threads[0].start()

    yield begin
    stop.set()
    for thread in threads:
        thread.join(10)


@pytest.fixture
def nobody_reads_on():
    yield
    wait_until(lambda: watching.WATCHES.count == 0 and WAITING_CALLS.taken == 0)


def test_waiting_for_the_end(execute, hello, editor, worker, nobody_reads_on):
    unfinished = execute(hello, {**ADA, "wait_s": 1})
    assert unfinished["status"] == "queued"
    worker()
    headers = {"Idempotency-Key": "k"}
    done = execute(hello, {**ADA, "wait_s": 20}, status=200, headers=headers)
    assert (done["status"], done["outputs"]) == ("succeeded", {"text": "Hello, Ada! x 2"})
    response = editor.client.post(f"{path_of(hello)}/execute", {**ADA, "wait_s": 20}, headers=headers)
    assert response.json()["data"]["id"] == done["id"]
    assert response.headers["Idempotent-Replayed"] == "true"


@pytest.mark.django_db
def test_no_place_to_wait_begins_nothing(execute, hello, settings):
    settings.WEB_WAITING_SLOTS = 0
    execute(hello, {**ADA, "wait_s": 1}, status=503)
    assert WorkflowRun.objects.count() == 0


def test_events_come_once_and_in_order(execute, hello, editor, worker, nobody_reads_on):
    begun = execute(hello)
    responses = [editor.client.get(f"{RUNS}/{begun['id']}/events") for _ in range(3)]
    worker()
    readings = [parse(response.getvalue()) for response in responses]
    assert readings[0] == readings[1] == readings[2]
    numbers, names = [event[0] for event in readings[0]], [event[1] for event in readings[0]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (names[0], names[-1]) == ("run.queued", "run.succeeded")
    assert names.count("node.succeeded") == 2
    assert all(event[2]["run_id"] == begun["id"] for event in readings[0])

    def after(number, **options):
        return parse(editor.client.get(f"{RUNS}/{begun['id']}/events", **options).getvalue())

    assert after(3, headers={"Last-Event-ID": "3"}) == after(3, data={"after": "3"}) == readings[0][3:]
    assert after(0, data={"after": "1"}, headers={"Last-Event-ID": "4"}) == readings[0][4:]
    assert after(0, data={"after": "0"}) == readings[0]
    assert after(0, headers={"Last-Event-ID": "999999"}) == []


def test_long_logs_are_sent_whole(execute, hello, editor, nobody_reads_on):
    begun = execute(hello)
    run = WorkflowRun.objects.get(id=begun["id"])
    many = 2 * watching.MOST_EVENTS + 10
    RunEvent.objects.bulk_create(
        RunEvent(run=run, number=number, type="node.delta", data={}, created_at=run.created_at)
        for number in range(2, many)
    )
    WorkflowRun.objects.filter(id=run.id).update(
        status=RunStatus.SUCCEEDED, finished_at=run.created_at, last_event=many - 1
    )
    events = parse(editor.client.get(f"{RUNS}/{run.id}/events").getvalue())
    assert [event[0] for event in events] == list(range(1, many))


def test_who_may_watch_and_how(execute, hello, editor, outsider, settings):
    begun = execute(hello)
    path = f"{RUNS}/{begun['id']}/events"
    assert outsider.client.get(path).status_code == 404
    for query, headers in (("?after=x", {}), ("?after=-1", {}), ("?from=1", {}), ("", {"Last-Event-ID": "x"})):
        assert editor.client.get(path + query, headers=headers).status_code == 400
    settings.WEB_WAITING_SLOTS = 0
    assert editor.client.get(path).status_code == 503


def test_a_stream_does_not_last_as_long_as_a_run_that_waits(execute, hello, nobody_reads_on):
    watch = watching.open_watch(execute(hello)["id"], 0)
    told = parse(b"".join(watching.events_of(watch, longest_s=0)))
    watching.WATCHES.close(watch)
    assert [event[1] for event in told] == ["run.queued"]
