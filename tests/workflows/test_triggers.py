"""Triggers: over HTTP, signed as the specification says and not by our code; and attacks on them."""

import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from rest_framework.test import APIClient

from apps.users.models import ApiKey, AuditEntry
from apps.users.models.audit import MASK
from apps.workflows.models import RunSource, RunStatus, WorkflowRun, WorkflowTrigger
from tests.conftest import Client
from tests.workflows.starting import make_workflow

pytestmark = pytest.mark.django_db

TRIGGERS = "/api/v1/workflow-triggers"
MAPPING = {"ticket": "{{payload.issue.title}}", "priority": {"$ref": "payload.issue.priority", "default": 2}}
ISSUE = {"action": "opened", "issue": {"title": "It burns", "priority": 1}}
REFUSAL = "There is no such trigger, or the signature does not fit."


@pytest.fixture
def workflow(editor):
    return make_workflow(editor)


@pytest.fixture
def create(editor, workflow):
    def make(of=None, *, person=editor, status=201, **fields):
        body = {"name": "Issues", "inputs": MAPPING, **fields}
        response = person.client.post(f"/api/v1/workflows/{(of or workflow).id}/triggers", body)
        assert response.status_code == status, response.content
        return response.json()["data" if status == 201 else "error"]

    return make


@pytest.fixture
def trigger(create):
    return create()


def sign(secret: str, message_id: str, timestamp: object, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def call(trigger, payload=None, *, secret=None, message_id=None, timestamp=None, body=None, client=None, **headers):
    """A call signed with the trigger's secret; what is given replaces what a good sender would send."""
    body = json.dumps(ISSUE if payload is None else payload).encode() if body is None else body
    message_id = f"msg_{uuid4()}" if message_id is None else message_id
    timestamp = int(time.time()) if timestamp is None else timestamp
    signed = {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret or trigger["secret"], message_id, timestamp, body),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    client = client or Client(raise_request_exception=False)
    path = trigger["url"].partition("/api/v1")[2]
    given = {name: value for name, value in signed.items() if value is not None}
    return client.post(f"/api/v1{path}", body, content_type="application/json", headers=given)


def test_made_read_changed_deleted(trigger, editor, viewer, workflow, settings):
    assert trigger["url"] == f"{settings.PUBLIC_URL}{TRIGGERS}/{trigger['id']}/fire"
    assert trigger["secret"].startswith("whsec_")
    read = viewer.client.get(f"{TRIGGERS}/{trigger['id']}")
    assert read.json()["data"] == {name: value for name, value in trigger.items() if name != "secret"}
    for path in (TRIGGERS, f"/api/v1/workflows/{workflow.id}/triggers"):
        answer = viewer.client.get(path)
        assert [one["id"] for one in answer.json()["data"]] == [trigger["id"]]
        assert b"whsec_" not in answer.content
    changed = editor.client.patch(
        f"{TRIGGERS}/{trigger['id']}", {"inputs": None}, headers={"If-Match": read.headers["ETag"]}
    )
    assert changed.json()["data"]["inputs"] is None
    assert editor.client.put(f"{TRIGGERS}/{trigger['id']}", {"name": "New"}).json()["data"]["name"] == "New"
    assert editor.client.delete(f"{TRIGGERS}/{trigger['id']}").status_code == 204
    assert viewer.client.get(f"{TRIGGERS}/{trigger['id']}").status_code == 404
    assert call(trigger).status_code == 401


def test_the_secret_is_stored_encrypted_and_masked(trigger, editor):
    row = WorkflowTrigger.objects.get()
    assert trigger["secret"].encode() not in bytes(row.encrypted_secret)
    entry = AuditEntry.objects.for_organization(editor.organization.id).get(object_pk=row.id)
    assert entry.changes["encrypted_secret"] == [MASK, MASK]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"inputs": {"ticket": "{{inputs.title}}"}}, "inputs.ticket"),
        ({"inputs": {"ticket": {"$ref": "nodes.a.output"}}}, "inputs.ticket"),
        ({"inputs": {"ticket": "{{payload..title}}"}}, "inputs.ticket"),
        ({"inputs": [1]}, "inputs"),
        ({"label": "staging"}, "label"),
        ({"name": ""}, "name"),
        ({"is_active": 1}, "is_active"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_what_is_wrong_is_named(create, trigger, editor, fields, named):
    assert named in create(status=400, **fields)["details"]
    refused = editor.client.patch(f"{TRIGGERS}/{trigger['id']}", fields)
    assert refused.status_code == 400
    assert named in refused.json()["error"]["details"]


def test_another_organization_finds_nothing(create, trigger, workflow, outsider):
    create(person=outsider, status=404)
    assert outsider.client.get(f"/api/v1/workflows/{workflow.id}/triggers").status_code == 404
    assert outsider.client.get(TRIGGERS).json()["data"] == []
    for method, path in (("get", ""), ("patch", ""), ("delete", ""), ("post", "/rotate-secret")):
        assert getattr(outsider.client, method)(f"{TRIGGERS}/{trigger['id']}{path}").status_code == 404


def test_a_signed_call_starts_a_run(trigger, editor):
    answer = call(trigger, message_id="msg_1")
    assert answer.status_code == 202, answer.content
    assert answer.json()["data"].keys() == {"run_id"}
    run = WorkflowRun.objects.get()
    assert answer.json()["data"]["run_id"] == str(run.id)
    assert (run.source, run.trigger_id, run.created_by_id) == (RunSource.TRIGGER, UUID(trigger["id"]), editor.user.id)
    assert run.inputs == {"ticket": "It burns", "priority": 1}
    assert run.metadata == {"webhook_id": "msg_1"}
    assert ProcrastinateJob.objects.filter(task_name="workflows.run_next").count() == 1
    row = WorkflowTrigger.objects.get()
    assert (row.last_run_id, row.last_error) == (run.id, "")


@pytest.mark.django_db(transaction=True)
def test_the_run_runs(trigger, work):
    run_id = call(trigger).json()["data"]["run_id"]
    run = work(WorkflowRun.objects.get(id=run_id))
    assert (run.status, run.outputs) == (RunStatus.SUCCEEDED, {"said": "It burns"})


def test_the_body_itself_may_be_the_inputs(create):
    plain = create(inputs=None)
    assert call(plain, {"ticket": "T"}).status_code == 202
    assert WorkflowRun.objects.get().inputs == {"ticket": "T", "priority": 3}
    refused = call(plain, {"ticket": 1, "b": 2})
    assert refused.json()["error"]["details"].keys() == {"inputs.ticket", "inputs.b"}
    assert call(plain, [1]).json()["error"]["details"].keys() == {"payload"}
    assert WorkflowRun.objects.count() == 1


@pytest.mark.parametrize(
    ("payload", "named"),
    [({}, "inputs.ticket"), ({"issue": {"title": 5}}, "inputs.ticket"), ([], "inputs.ticket")],
)
def test_payloads_that_do_not_fit(trigger, payload, named):
    answer = call(trigger, payload)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["details"]
    assert not WorkflowRun.objects.exists()
    assert named in WorkflowTrigger.objects.get().last_error


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a": "\\u0000"}', b'{"a": "\\ud800"}', b"[" * 100 + b"]" * 100, b"\xff"]
)
def test_signed_nonsense_is_a_bad_request(trigger, body):
    assert call(trigger, body=body).status_code == 400
    assert not WorkflowRun.objects.exists()


def test_the_same_message_again_is_the_same_run(trigger, workflow):
    first = call(trigger, message_id="msg_1")
    workflow.is_active = False
    workflow.save()
    again = call(trigger, message_id="msg_1", timestamp=int(time.time()) - 60)
    assert (again.status_code, again.json()) == (202, first.json())
    assert WorkflowRun.objects.count() == 1
    assert ProcrastinateJob.objects.count() == 1
    other = call(trigger, {"issue": {"title": "Another"}}, message_id="msg_1")
    assert other.status_code == 409
    assert "webhook-id" in other.json()["error"]["details"]
    assert WorkflowRun.objects.count() == 1


def test_a_message_that_failed_may_be_sent_again(trigger, workflow):
    workflow.is_active = False
    workflow.save()
    assert call(trigger, message_id="msg_1").status_code == 409
    assert "switched off" in WorkflowTrigger.objects.get().last_error
    workflow.is_active = True
    workflow.save()
    assert call(trigger, message_id="msg_1").status_code == 202
    assert WorkflowTrigger.objects.get().last_error == ""


def test_the_same_message_to_two_triggers_is_two_runs(create):
    one, other = create(name="One"), create(name="Other")
    assert call(one, message_id="msg_1").status_code == call(other, message_id="msg_1").status_code == 202
    assert WorkflowRun.objects.count() == 2


OTHER_SECRET = "whsec_" + base64.b64encode(b"x" * 32).decode()
FORGERIES = {
    "another secret": {"secret": OTHER_SECRET},
    "no signature": {"webhook_signature": None},
    "empty signature": {"webhook_signature": ""},
    "no id": {"webhook_id": None},
    "no timestamp": {"webhook_timestamp": None},
    "another id": {"webhook_id": "msg_other"},
    "another version": {"webhook_signature": "v1a,AAAA"},
    "not ASCII": {"webhook_signature": "v1,é"},
    "many signatures": {"webhook_signature": " ".join(["v1,AAAA"] * 400)},
    "old": {"timestamp": int(time.time()) - 3600},
    "of the future": {"timestamp": int(time.time()) + 3600},
    "negative": {"timestamp": -5},
    "a fraction": {"timestamp": f"{int(time.time())}.5"},
    "with spaces": {"timestamp": f" {int(time.time())}"},
    "a huge timestamp": {"timestamp": "9" * 5000},
    "a long id": {"message_id": "m" * 256},
    "an id with spaces": {"message_id": "m m"},
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_forged_and_replayed_calls_are_refused(trigger, forgery):
    answer = call(trigger, **forgery)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, REFUSAL)
    assert not WorkflowRun.objects.exists()
    assert WorkflowTrigger.objects.get().last_error == "", "whoever cannot sign writes nothing"


def test_a_signature_of_another_body(trigger):
    good = json.dumps(ISSUE).encode()
    now = int(time.time())
    stolen = sign(trigger["secret"], "msg_1", now, good)
    answer = call(trigger, body=good + b" ", message_id="msg_1", timestamp=now, webhook_signature=stolen)
    assert answer.status_code == 401


def test_one_of_several_signatures_is_enough(trigger):
    body, now = json.dumps(ISSUE).encode(), int(time.time())
    wrong = sign(OTHER_SECRET, "msg_1", now, body)
    right = sign(trigger["secret"], "msg_1", now, body)
    answer = call(trigger, message_id="msg_1", timestamp=now, webhook_signature=f"v1a,AAAA {wrong} {right}")
    assert answer.status_code == 202


def test_unknown_inactive_deleted_and_wrongly_signed_read_the_same(trigger, create, editor, workflow, organization):
    unknown = {"url": f"{TRIGGERS}/{uuid4()}/fire", "secret": trigger["secret"]}
    off = create(name="Off", is_active=False)
    answers = [call(unknown), call(off), call(trigger, secret=OTHER_SECRET)]
    workflow.soft_delete()
    answers.append(call(trigger))
    said = [(answer.status_code, answer.json(), sorted(answer.headers)) for answer in answers]
    assert said == said[:1] * 4
    workflow.undelete()
    organization.is_active = False
    organization.save()
    assert call(trigger).status_code == 401


def test_another_organizations_trigger_is_not_opened_by_ones_own_secret(trigger, create, outsider):
    own = make_workflow(outsider, "own")
    theirs = create(own, person=outsider)
    assert call(trigger, secret=theirs["secret"]).status_code == 401
    assert call(theirs, client=outsider.client).status_code == 202, "whoever else is signed in does not matter"
    assert WorkflowRun.objects.get().organization_id == outsider.organization.id


def test_a_huge_body_is_not_read(trigger):
    assert call(trigger, {"issue": {"title": "x" * (256 * 1024)}}).status_code == 413
    assert call(trigger, {"issue": {"title": "x" * (255 * 1024)}}).status_code == 202


def test_a_mapping_cannot_blow_up_a_payload(create):
    bomb = create(inputs={"ticket": "{{payload.a}}" * 100})
    answer = call(bomb, {"a": "x" * 200_000})
    assert answer.status_code == 400
    assert "inputs.ticket" in answer.json()["error"]["details"]


def test_only_json_is_taken(trigger):
    body, now = json.dumps(ISSUE).encode(), int(time.time())
    headers = {"webhook-id": "m", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = sign(trigger["secret"], "m", now, body)
    path = f"{TRIGGERS}/{trigger['id']}/fire"
    assert APIClient().post(path, body, content_type="text/plain", headers=headers).status_code == 415
    good = "application/vnd.github+json; charset=utf-8"
    assert APIClient().post(path, body, content_type=good, headers=headers).status_code == 202


def test_rotation_takes_both_secrets_for_a_day(trigger, editor):
    new = editor.client.post(f"{TRIGGERS}/{trigger['id']}/rotate-secret", {}).json()["data"]
    assert new["secret"] != trigger["secret"]
    assert new["previous_secret_expires_at"]
    assert call(trigger).status_code == call(new).status_code == 202
    WorkflowTrigger.objects.update(previous_secret_expires_at=timezone.now() - timedelta(seconds=1))
    assert call(trigger).status_code == 401
    assert call(new).status_code == 202


def test_secrets_are_encrypted_again_with_a_new_key(trigger, settings, capsys):
    old_keys = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = ["k" * 42 + "g=", *old_keys]
    call_command("rotate_encryption_keys")
    assert "1 webhooks and triggers" in capsys.readouterr().out
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    assert call(trigger).status_code == 202
    settings.ENCRYPTION_KEYS = old_keys
    assert call(trigger).status_code == 401, "a secret that cannot be opened signs nothing"


def test_who_may_not_run_workflows_any_more_starts_none(trigger, editor):
    editor.membership.is_active = False
    editor.membership.save()
    answer = call(trigger)
    assert answer.status_code == 409
    assert "make it anew" in WorkflowTrigger.objects.get().last_error
    assert not WorkflowRun.objects.exists()


def test_calls_are_limited_by_trigger_and_guesses_by_address(trigger, create, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "trigger": "2/h", "anonymous": "3/h"}
    other = create(name="Other")
    assert [call(trigger, secret=OTHER_SECRET).status_code for _ in range(4)] == [401, 401, 401, 429]
    assert [call(trigger).status_code for _ in range(3)] == [202, 202, 429], "guesses do not use up the trigger's"
    answer = call(other)
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (202, "1")


def test_calls_pass_while_redis_is_away(trigger, redis_away):
    assert call(trigger).status_code == 202
    assert call(trigger, secret=OTHER_SECRET).status_code == 401


@pytest.mark.parametrize("kind", ["schedules", "triggers"])
def test_a_key_that_may_not_run_workflows_makes_nothing_that_runs_them(editor, kind):
    key = ApiKey(organization=editor.organization, user=editor.user, name="k", scopes=["workflows:update"])
    secret = key.give_secret()
    key.save()
    client = Client(HTTP_AUTHORIZATION=f"Bearer {secret}")
    address = f"/api/v1/workflows/{make_workflow(editor).id}/{kind}"
    body = {"name": "Sly"} | ({"cron": "* * * * *", "inputs": {"ticket": "T"}} if kind == "schedules" else {})
    assert client.post(address, body).status_code == 403
    made = editor.client.post(address, body).json()["data"]
    own = f"/api/v1/workflow-{kind}/{made['id']}"
    assert client.patch(own, {"name": "Slyer"}, HTTP_IF_MATCH="*").status_code == 403
    if kind == "triggers":
        assert client.post(f"{own}/rotate-secret", {}, HTTP_IF_MATCH="*").status_code == 403


def test_a_small_call_does_not_make_inputs_larger_than_an_execute_takes(create):
    made = create(inputs={"ticket": "{{payload.text}}" * 10})
    refused = call(made, {"text": "x" * 120_000})
    assert refused.status_code == 400
    assert "1048576 bytes" in refused.json()["error"]["details"]["inputs"]
