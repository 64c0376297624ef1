"""The retention policy over HTTP, and what answers once payloads are purged."""

from datetime import timedelta

import pytest
from django.contrib.admin import site

from apps.analytics.models import RetentionPolicy
from apps.analytics.retention.admin import RetentionPolicyAdmin
from apps.analytics.retention.purging import Purge
from apps.executions.models import Execution, ExecutionPayload
from apps.users.models import AuditEntry
from tests.analytics.billed import days_ago, store
from tests.executions.conftest import execute, make_model, make_prompt, model, prompt

__all__ = ["execute", "make_model", "make_prompt", "model", "prompt"]

pytestmark = pytest.mark.django_db
RETENTION, EXECUTIONS = "/api/v1/retention", "/api/v1/executions"
KEEPS_ALL = {
    "payload_days": None, "execution_days": None, "legal_hold": False, "legal_hold_reason": "",
    "payloads_purged_before": None, "purged_before": None,
}  # fmt: skip


def test_without_a_policy_everything_is_kept(admin, organization):
    data = admin.client.get(RETENTION).json()["data"]
    assert data == {"organization_id": str(organization.id), **KEEPS_ALL}
    assert not RetentionPolicy.objects.exists()


def test_a_policy_is_set_read_and_audited(admin, organization):
    wish = {"payload_days": 30, "execution_days": None, "legal_hold": True, "legal_hold_reason": "Case 7"}
    answer = admin.client.put(RETENTION, wish)
    assert answer.status_code == 200
    assert admin.client.get(RETENTION).json()["data"] == {**KEEPS_ALL, "organization_id": str(organization.id), **wish}
    entry = AuditEntry.objects.filter(content_type__model="retentionpolicy", action=AuditEntry.Action.UPDATE).get()
    assert entry.changes["legal_hold"] == [False, True]
    assert entry.organization_id == organization.id


def test_a_hold_ends_only_by_saying_so(admin):
    days = {"payload_days": 30, "execution_days": None}
    admin.client.put(RETENTION, {**days, "legal_hold": True, "legal_hold_reason": "Case 7"})
    kept = admin.client.put(RETENTION, {**days, "payload_days": 60}).json()["data"]
    assert (kept["payload_days"], kept["legal_hold"], kept["legal_hold_reason"]) == (60, True, "Case 7")
    renamed = admin.client.put(RETENTION, {**days, "legal_hold_reason": "Case 8"}).json()["data"]
    assert (renamed["legal_hold"], renamed["legal_hold_reason"]) == (True, "Case 8")
    lifted = admin.client.put(RETENTION, {**days, "legal_hold": False}).json()["data"]
    assert (lifted["legal_hold"], lifted["legal_hold_reason"]) == (False, "")


def test_if_match_guards_it(admin):
    etag = admin.client.get(RETENTION).headers["ETag"]
    wish = {"payload_days": 30, "execution_days": 60}
    assert admin.client.put(RETENTION, wish, headers={"If-Match": etag}).status_code == 200
    assert admin.client.put(RETENTION, wish, headers={"If-Match": etag}).status_code == 412


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"execution_days": 30}, "payload_days"),
        ({"payload_days": 30}, "execution_days"),
        ({"payload_days": 0, "execution_days": None}, "payload_days"),
        ({"payload_days": "30", "execution_days": None}, "payload_days"),
        ({"payload_days": True, "execution_days": None}, "payload_days"),
        ({"payload_days": 1e400, "execution_days": None}, None),
        ({"payload_days": 10**30, "execution_days": None}, "payload_days"),
        ({"payload_days": None, "execution_days": 7}, "execution_days"),
        ({"payload_days": 60, "execution_days": 30}, "execution_days"),
        ({"payload_days": None, "execution_days": None, "legal_hold": "yes"}, "legal_hold"),
        ({"payload_days": None, "execution_days": None, "legal_hold_reason": "x" * 501}, "legal_hold_reason"),
        ({"payload_days": None, "execution_days": None, "legal_hold_reason": "\x00"}, "legal_hold_reason"),
        ({"payload_days": None, "execution_days": None, "purged_before": "2020-01-01"}, "purged_before"),
        ({"payload_days": None, "execution_days": None, "organization_id": "x"}, "organization_id"),
    ],
)
def test_bad_wishes_are_named_and_change_nothing(admin, wish, field):
    if field is None:
        answer = admin.client.put(
            RETENTION, '{"payload_days": 1e400, "execution_days": null}', content_type="application/json"
        )
    else:
        answer = admin.client.put(RETENTION, wish)
    assert answer.status_code == 400, answer.content
    assert field is None or field in answer.json()["error"]["details"]
    assert not RetentionPolicy.objects.exists()


def test_each_organization_has_its_own(admin, outsider):
    admin.client.put(RETENTION, {"payload_days": 30, "execution_days": None})
    assert outsider.client.get(RETENTION).json()["data"]["payload_days"] is None
    outsider.client.put(RETENTION, {"payload_days": 5, "execution_days": None})
    assert admin.client.get(RETENTION).json()["data"]["payload_days"] == 30


@pytest.mark.parametrize("who", ["editor", "viewer"])
def test_only_who_manages_the_organization_may(request, who):
    person = request.getfixturevalue(who)
    assert person.client.get(RETENTION).status_code == 403
    assert person.client.put(RETENTION, {"payload_days": 1, "execution_days": None}).status_code == 403


@pytest.fixture
def purged(organization):
    """Executions with and without a payload: one that has failed, one that has succeeded, and a recent one."""
    RetentionPolicy.objects.create(organization=organization, payload_days=20)
    batch = {"status": "failed", "error_code": "TIMEOUT"}
    rows = {
        "failed": store(organization, days_ago(40), **batch),
        "succeeded": store(organization, days_ago(40)),
        "recent": store(organization, days_ago(2)),
    }
    list(Purge(pause_s=0).run())
    assert list(ExecutionPayload.objects.values_list("execution_id", flat=True)) == [rows["recent"].id]
    return rows


def test_a_purged_execution_is_read_without_what_was_said(viewer, purged):
    data = viewer.client.get(f"{EXECUTIONS}/{purged['succeeded'].id}").json()["data"]
    assert data["is_payload_purged"] is True
    assert (data["messages"], data["output"], data["attempts"], data["variables"]) == ([], None, [], {})
    assert (data["status"], data["input_tokens"], data["attempt_count"]) == ("succeeded", 1000, 1)
    recent = viewer.client.get(f"{EXECUTIONS}/{purged['recent'].id}").json()["data"]
    assert (recent["is_payload_purged"], recent["output"], len(recent["attempts"])) == (False, "Hello", 1)
    assert len(viewer.client.get(EXECUTIONS).json()["data"]) == 3


def test_a_purged_execution_is_not_retried(editor, purged):
    answer = editor.client.post(f"{EXECUTIONS}/{purged['failed'].id}/retry")
    assert answer.status_code == 409, answer.content
    assert Execution.objects.count() == 3


def test_events_of_a_purged_execution_are_its_start_and_its_end(viewer, purged):
    answer = viewer.client.get(f"{EXECUTIONS}/{purged['succeeded'].id}/events")
    text = b"".join(answer.streaming_content).decode()
    assert "execution.started" in text and "execution.completed" in text  # noqa: PT018 (one stream)
    assert "execution.delta" not in text
    assert text.count('"is_payload_purged":true') == 2


def test_only_what_is_kept_becomes_an_item(editor, purged):
    made = editor.client.post("/api/v1/datasets", {"name": "D"}).json()["data"]["id"]
    answer = editor.client.post(f"/api/v1/datasets/{made}/items/from-executions", {"filter": {}, "limit": 10})
    assert answer.status_code in {200, 201}, answer.content
    items = editor.client.get(f"/api/v1/datasets/{made}/items").json()["data"]
    assert [item["source_execution_id"] for item in items] == [str(purged["recent"].id)]


def test_scores_of_purged_payloads_stay(viewer, purged):
    answer = viewer.client.get(f"{EXECUTIONS}/{purged['succeeded'].id}/scores")
    assert [score["name"] for score in answer.json()["data"]] == ["good"]


def test_the_admin_shows_a_purged_execution(purged, client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("op@everquant.example", "a long password 123"))
    answer = client.get(f"/admin/executions/execution/{purged['succeeded'].id}/change/")
    assert answer.status_code == 200


def test_a_replayed_key_whose_answer_is_purged_is_a_conflict(editor, organization, execute, prompt, upstream):
    key = {"Idempotency-Key": "once"}
    made = execute(prompt, headers=key)
    assert execute(prompt, headers=key)["id"] == made["id"]
    ExecutionPayload.objects.filter(execution_id=made["id"]).delete()
    answer = editor.client.post(f"/api/v1/prompts/{prompt['id']}/execute", {"variables": {"name": "Ada"}}, headers=key)
    assert answer.status_code == 409, answer.content


def test_a_payload_is_kept_for_whole_days(organization):
    RetentionPolicy.objects.create(organization=organization, payload_days=20)
    kept = store(organization, days_ago(20), hour=0)
    store(organization, days_ago(21), hour=23.99)
    list(Purge(pause_s=0).run())
    assert [row.execution_id for row in ExecutionPayload.objects.all()] == [kept.id]
    assert RetentionPolicy.objects.get().payloads_purged_before == days_ago(20) - timedelta(days=0)


def test_operators_set_and_hold_policies_in_the_admin(organization, client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("op@everquant.example", "a long password 123"))
    path = "/admin/analytics/retentionpolicy/"
    wish = {"organization": str(organization.id), "payload_days": "60", "execution_days": "30", "legal_hold_reason": ""}
    refused = client.post(f"{path}add/", wish)
    assert refused.status_code == 200
    assert not RetentionPolicy.objects.exists()
    assert client.post(f"{path}add/", {**wish, "execution_days": "90", "legal_hold": "on"}).status_code == 302
    policy = RetentionPolicy.objects.get()
    assert (policy.payload_days, policy.execution_days, policy.legal_hold) == (60, 90, True)
    assert client.get(f"{path}{policy.id}/change/").status_code == 200
    assert client.get(path).status_code == 200


def test_operators_do_not_undo_what_a_purge_has_noted_meanwhile(organization):
    policy = RetentionPolicy.objects.create(organization=organization, execution_days=30)
    page = RetentionPolicyAdmin(RetentionPolicy, site)
    read = RetentionPolicy.objects.get()
    RetentionPolicy.objects.update(purged_before=days_ago(40))
    form = page.get_form(None, read)(
        {"execution_days": "30", "legal_hold": "on", "legal_hold_reason": ""}, instance=read
    )
    assert form.is_valid()
    page.save_model(None, form.save(commit=False), form, change=True)
    policy.refresh_from_db()
    assert (policy.legal_hold, policy.purged_before) == (True, days_ago(40))
