"""Approvals over HTTP: answered once, in time, by whom they were asked of, with data that fits."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from apps.users.models import ApiKey
from apps.workflows.models import Approval, WorkflowRun
from tests.conftest import Client, client_for
from tests.workflows.conftest import RUNS, definition, event_types, template

pytestmark = pytest.mark.django_db(transaction=True)
INBOX = "/api/v1/workflow-approvals"
FORM = {
    "type": "object",
    "properties": {"amount": {"type": "number", "minimum": 0}, "note": {"type": "string", "default": "-"}},
    "required": ["amount"],
    "additionalProperties": False,
}
APPROVE = {"decision": "approved", "data": {"amount": 3}}


def asking(node_id="ask", **config):
    return {"id": node_id, "kind": "approval", "config": {"title": "May I?", "form": FORM, **config}}


def flow(*nodes):
    return definition(
        [*nodes, template("yes"), template("no")],
        [(nodes[0]["id"], "approved", "yes"), (nodes[0]["id"], "rejected", "no")],
        outputs={"answer": {"$ref": f"nodes.{nodes[0]['id']}.output"}},
    )


@pytest.fixture
def waiting(run_of):
    def make(*nodes, **config):
        run = run_of(flow(*nodes or [asking(**config)]))
        assert run.status == "waiting"
        return run

    return make


def answer(person, run, body=APPROVE):
    return person.client.post(f"{RUNS}/{run.id}/resume", body)


def inbox(person, query=""):
    response = person.client.get(f"{INBOX}{query}")
    assert response.status_code == 200, response.content
    return [row["run_id"] for row in response.json()["data"]]


def test_an_answer_makes_the_run_go_on(waiting, editor, work):
    run = waiting()
    asked = editor.client.get(INBOX).json()["data"][0]
    assert (asked["title"], asked["status"], asked["form"], asked["path"]) == ("May I?", "pending", FORM, "ask")
    response = answer(editor, run, {**APPROVE, "approval_id": asked["id"], "comment": "Fine"})
    decided = response.json()["data"]
    assert (response.status_code, decided["status"], decided["comment"]) == (200, "approved", "Fine")
    assert (decided["data"], decided["decided_by"]) == ({"note": "-", "amount": 3}, str(editor.user.id))
    assert editor.client.get(f"{INBOX}/{asked['id']}").json()["data"] == decided
    run = work(run)
    assert run.status == "succeeded"
    assert run.outputs["answer"]["decided_by"] == editor.user.email
    assert "approval.decided" in event_types(run)
    assert answer(editor, run).status_code == 409
    assert inbox(editor) == []
    assert inbox(editor, "?status=any") == inbox(editor, "?status=approved") == [str(run.id)]


def test_a_refusal_needs_no_data(waiting, editor, work):
    run = waiting()
    assert answer(editor, run, {"decision": "rejected", "comment": "No"}).status_code == 200
    assert work(run).outputs["answer"]["decision"] == "rejected"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"decision": "approved"}, "data.amount"),
        ({"decision": "approved", "data": {"amount": -1}}, "data.amount"),
        ({"decision": "approved", "data": {"amount": 1, "other": 2}}, "data.other"),
        ({"decision": "rejected", "data": {"amount": "x"}}, "data.amount"),
        ({"decision": "approved", "data": [1]}, "data"),
        ({"decision": "approved", "data": {"note": "x" * 65_536}}, "data"),
        ({"decision": "maybe"}, "decision"),
        ({**APPROVE, "path": "nowhere"}, "path"),
        ({**APPROVE, "approval_id": str(uuid4())}, "approval_id"),
        ({**APPROVE, "approval_id": 1}, "approval_id"),
        ({**APPROVE, "comment": "x" * 2001}, "comment"),
        ({**APPROVE, "by": "me"}, "by"),
    ],
)
def test_answers_that_do_not_fit_are_refused_by_field(waiting, editor, body, field):
    run = waiting()
    response = answer(editor, run, body)
    assert response.status_code == 400, response.content
    assert list(response.json()["error"]["details"]) == [field]
    assert Approval.objects.get().status == "pending"
    assert WorkflowRun.objects.get().status == "waiting"


def test_who_may_answer(waiting, admin, editor, viewer, outsider):
    anyone, role, person = waiting(), waiting(assignees=["role:viewer"]), waiting(assignees=["user:ADA@acme.example"])
    for run, may in ((anyone, {admin, editor}), (role, {viewer}), (person, {admin})):
        for one in (admin, editor, viewer):
            assert (str(run.id) in inbox(one)) is (one in may)
            refused = answer(one, run, {"decision": "approved"})
            assert refused.status_code == (400 if one in may else 403), (run, one)
        assert answer(outsider, run).status_code == 404
    assert len(inbox(viewer, "?mine=false")) == 3
    assert inbox(outsider, "?mine=false&status=any") == []


def test_api_keys_never_answer(waiting, editor):
    run = waiting()
    key = ApiKey(organization=editor.organization, user=editor.user, name="k", scopes=["workflows:execute"])
    key.scopes.append("workflows:read")
    secret = key.give_secret()
    key.save()
    client = Client(HTTP_AUTHORIZATION=f"Bearer {secret}", raise_request_exception=False)
    assert client.post(f"{RUNS}/{run.id}/resume", APPROVE).status_code == 403
    assert client.get(INBOX).json()["data"] == []


def test_after_its_expiry_nobody_answers(waiting, editor):
    run = waiting(expires_s=60)
    Approval.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    response = answer(editor, run)
    assert (response.status_code, response.json()["error"]["details"]) == (409, {"status": "expired"})


def test_a_cancelled_run_asks_no_more(waiting, editor):
    run = waiting()
    assert editor.client.post(f"{RUNS}/{run.id}/cancel").status_code == 200
    assert answer(editor, run).status_code == 409
    assert inbox(editor, "?status=cancelled") == [str(run.id)]


def test_of_several_one_must_be_named(waiting, editor):
    run = waiting(asking("one"), asking("two"))
    assert list(answer(editor, run).json()["error"]["details"]) == ["approval_id"]
    assert answer(editor, run, {**APPROVE, "path": "one"}).status_code == 200
    assert answer(editor, run, APPROVE).json()["data"]["path"] == "two"


def test_of_answers_at_the_same_time_one_counts(waiting, admin, editor):
    run = waiting()
    statuses = []

    def decide(person, decision):
        client = client_for(person.membership)
        response = client.post(f"{RUNS}/{run.id}/resume", {"decision": decision, "data": {"amount": 1}})
        statuses.append(response.status_code)
        connection.close()

    threads = [
        threading.Thread(target=decide, args=(person, decision))
        for person in (admin, editor)
        for decision in ("approved", "rejected")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(statuses) == [200, 409, 409, 409]
    assert event_types(run).count("approval.decided") == 1


def test_filters_of_the_inbox(waiting, editor):
    run, other = waiting(), waiting()
    assert inbox(editor, f"?run_id={run.id}") == inbox(editor, f"?workflow_id={run.workflow_id}") == [str(run.id)]
    assert inbox(editor) == [str(other.id), str(run.id)]
    for query in ("?status=open", "?mine=1", "?run_id=x", "?who=me"):
        assert editor.client.get(f"{INBOX}{query}").status_code == 400
