"""Batches: all rows or none, from JSON or a file; progress, cost, cancel, and the failed ones again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import orjson
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.executions.models import Batch, BatchCount, Execution, ExecutionPayload, Status
from apps.executions.orchestrator import background
from apps.executions.sweeping import finish_batches
from apps.organizations.models import WebhookDelivery, WebhookEndpoint
from everquant.workers import set_capacity
from tests.executions.conftest import EXECUTIONS
from tests.executions.test_stream import wait_until
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db(transaction=True)
BATCHES = f"{EXECUTIONS}/batches"


def rows(*names):
    return [{"variables": {"name": name}} for name in names]


@pytest.fixture
def post(editor):
    def send(prompt, *, status=201, headers=None, **body):
        body = {"prompt_id": prompt["id"], **body}
        answer = editor.client.post(f"{EXECUTIONS}/batch", body, headers=headers)
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status == 201 else "error"]

    return send


@pytest.fixture
def upload(editor):
    def send(prompt, content, name="rows.csv", *, status=201, **fields):
        body = {"prompt_id": prompt["id"], "file": SimpleUploadedFile(name, content), **fields}
        answer = editor.client.post(f"{EXECUTIONS}/batch", body, format="multipart")
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status == 201 else "error"]

    return send


@pytest.fixture
def read(editor):
    return lambda batch: editor.client.get(f"{BATCHES}/{batch['id']}").json()["data"]


@pytest.fixture
def room_for_runners():
    set_capacity(8)
    yield
    set_capacity(1)


def test_rows_are_stored_at_once_and_made_by_workers(post, read, editor, prompt, upstream, run_jobs):
    given = [
        {"variables": {"name": "Ada"}, "metadata": {"n": 1}, "unit_id": "u-1"},
        {"variables": {"name": "Bob"}},
        {"variables": {"name": "Cleo"}},
    ]
    batch = post(prompt, rows=given, name="Greetings")
    assert (batch["row_count"], batch["counts"]["queued"], batch["name"]) == (3, 3, "Greetings")
    assert (batch["finished_at"], batch["estimated_end_at"], upstream.request_count) == (None, None, 0)

    run_jobs()
    done = read(batch)
    assert done["counts"] == {"queued": 0, "running": 0, "succeeded": 3, "failed": 0, "cancelled": 0}
    assert done["finished_at"] is not None
    listed = editor.client.get(f"{EXECUTIONS}?batch_id={batch['id']}").json()["data"]
    assert Decimal(done["cost_usd"]) == sum(Decimal(row["cost_usd"]) for row in listed) > 0
    found = {row["batch_row"]: row for row in listed}
    assert (found[0]["metadata"], found[0]["unit_id"], found[0]["source"]) == ({"n": 1}, "u-1", "batch")
    whole = editor.client.get(f"{EXECUTIONS}/{found[2]['id']}").json()["data"]
    assert (whole["output"], whole["variables"]) == ("You said: Hello, Cleo!", {"name": "Cleo"})
    assert [item["id"] for item in editor.client.get(f"{BATCHES}?is_finished=true").json()["data"]] == [batch["id"]]


def test_every_row_that_is_wrong_is_named_and_nothing_is_stored(post, prompt, run_jobs):
    wrong = [*rows("Ada"), {"variables": {}}, {"variables": {"name": "Bob", "age": 1}}]
    details = post(prompt, rows=wrong, status=400)["details"]
    assert set(details) == {"rows.1.name", "rows.2.age"}
    assert not Execution.objects.exists()
    assert not Batch.objects.exists()
    assert run_jobs() == []


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ([], "rows"),
        ("Ada", "rows"),
        ([{"variables": {"name": "x"}, "extra": 1}], "rows.0.extra"),
        ([7], "rows.0"),
        ([{"variables": []}], "rows.0.variables"),
        ([{"variables": {"name": "x"}, "unit_id": 5}], "rows.0.unit_id"),
        ([{"variables": {"name": "x"}, "metadata": "x"}], "rows.0.metadata"),
        ([{"variables": {"name": "a\x00b"}}], "rows.0.variables.name"),
        ([{}] * 10_001, "rows"),
    ],
    ids=["empty", "text", "extra", "number", "list", "unit", "metadata", "nul", "many"],
)
def test_shapes_that_are_refused(post, prompt, given, path):
    assert list(post(prompt, rows=given, status=400)["details"]) == [path]
    assert not Batch.objects.exists()


def test_at_most_a_hundred_problems_are_told(post, prompt):
    assert len(post(prompt, rows=[{}] * 300, status=400)["details"]) == 100


def test_an_idempotency_key_makes_one_batch(post, prompt):
    first = post(prompt, rows=rows("Ada"), headers={"Idempotency-Key": "b-1"})
    assert post(prompt, rows=rows("Ada"), headers={"Idempotency-Key": "b-1"})["id"] == first["id"]
    post(prompt, rows=rows("Bob"), headers={"Idempotency-Key": "b-1"}, status=409)
    assert Execution.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", 'name\n"Ada, Countess"\nBöb\n'.encode()),
        ("ROWS.CSV", b'\xef\xbb\xbfname\r\n"Ada, Countess"\r\nB\xc3\xb6b\r\n'),
        ("rows.jsonl", '{"variables":{"name":"Ada, Countess"}}\n\n{"variables":{"name":"Böb"}}'.encode()),
    ],
    ids=["csv", "excel", "jsonl"],
)
def test_rows_come_from_a_file(upload, prompt, name, content):
    batch = upload(prompt, content, name, parameters='{"temperature": 0.5}', version="1")
    assert batch["row_count"] == 2
    stored = ExecutionPayload.objects.order_by("execution__batch_row")
    assert [payload.variables["name"] for payload in stored] == ["Ada, Countess", "Böb"]
    assert stored[0].parameters == {"temperature": 0.5}


@pytest.mark.parametrize(
    ("name", "content", "path"),
    [
        ("rows.txt", b"name\nAda\n", "file"),
        ("rows.csv", b"", "file"),
        ("rows.csv", b"name,name\na,b\n", "file"),
        ("rows.csv", b"name\n\xff\xfe\n", "file"),
        ("rows.csv", b"name\nAda,Bob\n", "rows.0"),
        ("rows.csv", b"name\n", "rows"),
        ("rows.csv", b'name\n"Ada\n', "file"),
        ("rows.csv", b"nom\nAda\n", "rows.0.nom"),
        ("rows.csv", b"name\na\x00b\n", None),
        ("rows.jsonl", b'{"variables": {"name": "Ada"}}\n{oops\n', "rows.1"),
        ("rows.jsonl", b'"Ada"\n', "rows.0"),
        ("rows.jsonl", b'{"variables": {"name": "a\\u0000b"}}\n', "rows.0.variables.name"),
    ],
)
def test_files_that_are_refused(upload, prompt, name, content, path):
    details = upload(prompt, content, name, status=400)["details"]
    assert path is None or path in details
    assert not Batch.objects.exists()


def test_only_what_has_failed_is_asked_again(post, read, editor, make_model, make_prompt, upstream, run_jobs):
    make_model(is_default=True)
    upstream.script([Behaviour(), Behaviour(status=400), Behaviour(), Behaviour(status=400)])
    batch = post(make_prompt(), rows=rows("a", "b", "c", "d"))
    assert editor.client.post(f"{BATCHES}/{batch['id']}/retry").status_code == 409
    background.run_queued(Batch.objects.get().organization_id)
    assert read(batch)["counts"]["failed"] == 2

    answer = editor.client.post(f"{BATCHES}/{batch['id']}/retry")
    assert answer.status_code == 201, answer.content
    again = answer.json()["data"]
    assert answer.headers["Location"] == f"{BATCHES}/{again['id']}"
    assert (again["retry_of_id"], again["row_count"]) == (batch["id"], 2)
    run_jobs()
    assert read(again)["counts"]["succeeded"] == 2
    failed = Execution.objects.filter(batch_id=batch["id"], status=Status.FAILED)
    retried = Execution.objects.filter(batch_id=again["id"]).order_by("batch_row")
    assert {row.retry_of_id for row in retried} == {row.id for row in failed}
    assert [row.payload.variables["name"] for row in retried] == [
        row.payload.variables["name"] for row in failed.order_by("batch_row")
    ]
    assert editor.client.post(f"{BATCHES}/{again['id']}/retry").status_code == 409


def test_cancelling_ends_what_is_queued_and_what_runs(
    post, read, editor, make_model, make_prompt, organization, upstream
):
    make_model("fault-delay-60000", is_default=True)
    batch = post(make_prompt(), rows=rows("a", "b", "c"))
    runner = threading.Thread(target=background.run_queued, args=(organization.id,))
    runner.start()
    upstream.wait_for(lambda server: server.request_count == 1)
    answer = editor.client.post(f"{BATCHES}/{batch['id']}/cancel")
    assert answer.status_code == 200, answer.content
    assert answer.json()["data"]["counts"] == {"queued": 0, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 2}
    runner.join(10)
    wait_until(lambda: read(batch)["finished_at"] is not None)
    assert read(batch)["counts"]["cancelled"] == 3
    assert editor.client.post(f"{BATCHES}/{batch['id']}/cancel").status_code == 409
    assert upstream.request_count == 1


def test_counts_are_right_when_many_end_at_once(post, read, prompt, organization, room_for_runners):
    batch = post(prompt, rows=rows(*map(str, range(60))))
    with ThreadPoolExecutor(6) as pool:
        runners = [pool.submit(background.run_queued, organization.id) for _ in range(6)]
        assert sum(runner.result(30) for runner in runners) == 60
    done = read(batch)
    assert done["counts"] == {"queued": 0, "running": 0, "succeeded": 60, "failed": 0, "cancelled": 0}
    assert done["finished_at"] is not None
    assert BatchCount.objects.filter(batch_id=batch["id"]).count() > 1
    ledger = sum(cost for (cost,) in Execution.objects.values_list("cost_usd"))
    assert Decimal(done["cost_usd"]) == ledger


def test_the_end_is_told_of_once(post, prompt, organization, run_jobs):
    WebhookEndpoint.objects.create(
        organization=organization, name="ci", url="https://hooks.example.invalid", event_types=["batch.completed"]
    )
    batch = post(prompt, rows=rows("a", "b"))
    background.run_queued(organization.id)
    assert finish_batches() == 0
    delivery = WebhookDelivery.objects.get()
    assert (delivery.event_type, delivery.payload["data"]["id"]) == ("batch.completed", batch["id"])
    assert delivery.payload["data"]["counts"]["succeeded"] == 2


def test_the_sweeper_finds_a_batch_that_ended_unseen(post, read, prompt):
    batch = post(prompt, rows=rows("a"))
    Execution.objects.get().cancel()
    assert read(batch)["finished_at"] is None
    assert finish_batches() == 1
    assert read(batch)["finished_at"] is not None


def test_another_organizations_prompt_is_unknown(outsider, prompt):
    answer = outsider.client.post(f"{EXECUTIONS}/batch", {"prompt_id": prompt["id"], "rows": rows("a")})
    assert answer.status_code == 404


def test_the_prompt_may_be_named_by_its_slug(editor, prompt, upload, run_jobs):
    body = {"slug": prompt["slug"], "rows": rows("Ada")}
    answer = editor.client.post(f"{EXECUTIONS}/batch", body)
    assert answer.status_code == 201, answer.content
    assert answer.json()["data"]["prompt_id"] == prompt["id"]
    assert upload({"id": ""}, b"name\nAda\n", slug=prompt["slug"])["prompt_id"] == prompt["id"]
    run_jobs()
    assert {row.status for row in Execution.objects.all()} == {Status.SUCCEEDED}


@pytest.mark.parametrize(
    ("fields", "status", "path"),
    [
        ({}, 400, "prompt_id"),
        ({"prompt_id": "its", "slug": "its"}, 400, "prompt_id"),
        ({"prompt_id": None, "slug": "its"}, 400, "prompt_id"),
        ({"slug": "Not A Slug"}, 400, "slug"),
        ({"slug": 7}, 400, "slug"),
        ({"slug": "nobodys"}, 404, None),
        ({"slug": "its", "cache_ttl_s": 0}, 400, "cache_ttl_s"),
    ],
    ids=["neither", "both", "null", "no slug", "number", "unknown", "ttl"],
)
def test_the_prompt_is_named_once(editor, prompt, fields, status, path):
    its = {"prompt_id": prompt["id"], "slug": prompt["slug"]}
    body = {name: its[name] if value == "its" else value for name, value in fields.items()}
    answer = editor.client.post(f"{EXECUTIONS}/batch", {**body, "rows": rows("Ada")})
    assert answer.status_code == status, answer.content
    assert path is None or list(answer.json()["error"]["details"]) == [path]
    assert not Batch.objects.exists()


def test_a_slug_of_another_organization_is_unknown(outsider, prompt):
    answer = outsider.client.post(f"{EXECUTIONS}/batch", {"slug": prompt["slug"], "rows": rows("a")})
    assert answer.status_code == 404


@pytest.mark.parametrize("is_file", [False, True], ids=["json", "file"])
def test_equal_rows_are_answered_from_the_cache(is_file, post, upload, read, editor, prompt, upstream, run_jobs):
    post(prompt, rows=rows("Ada"), cache_ttl_s=60)
    run_jobs()
    if is_file:
        second = upload(prompt, b"name\nAda\nBob\n", cache_ttl_s="60")
    else:
        second = post(prompt, rows=rows("Ada", "Bob"), cache_ttl_s=60)
    run_jobs()
    listed = editor.client.get(f"{EXECUTIONS}?batch_id={second['id']}").json()["data"]
    assert {row["batch_row"]: row["is_cached"] for row in listed} == {0: True, 1: False}
    assert read(second)["counts"]["succeeded"] == 2
    assert upstream.request_count == 2


def test_a_retry_keeps_the_age_of_answers(post, editor, prompt, upstream, organization):
    upstream.script([Behaviour(status=400)])
    batch = post(prompt, rows=rows("Ada"), cache_ttl_s=60)
    background.run_queued(organization.id)
    again = editor.client.post(f"{BATCHES}/{batch['id']}/retry").json()["data"]
    assert ExecutionPayload.objects.get(execution__batch_id=again["id"]).cache_ttl_s == 60


def test_a_body_may_be_larger_than_others(editor, prompt, settings):
    settings.MAX_BODY_BYTES = 1000
    body = orjson.dumps({"prompt_id": prompt["id"], "rows": rows(*["a" * 50] * 50)})
    assert editor.client.post(f"{EXECUTIONS}/batch", body, content_type="application/json").status_code == 201
    settings.LARGER_BODIES = {f"{EXECUTIONS}/batch": 1000}
    assert editor.client.post(f"{EXECUTIONS}/batch", body, content_type="application/json").status_code == 413
