"""The audit log: who changed what, by which means, from where."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from rest_framework.test import APIClient

from apps.organizations.models import Organization
from apps.users.models import ApiKey, AuditEntry, Membership, User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

LOGS, USERS = "/api/v1/audit-logs", "/api/v1/users"


def entry_of(row: Any, action: int) -> AuditEntry:
    return AuditEntry.objects.get(object_pk=str(row.pk), action=action)


def test_change_by_a_person_names_them(admin, viewer):
    admin.client.patch(
        f"{USERS}/{viewer.user.id}", {"role": "editor"}, HTTP_X_REQUEST_ID="req-1", REMOTE_ADDR="203.0.113.9"
    )
    entry = entry_of(viewer.membership, AuditEntry.Action.UPDATE)
    assert entry.changes == {"role": ["viewer", "editor"]}
    assert (entry.actor_id, entry.actor_email, entry.api_key_id) == (admin.user.id, "ada@acme.example", None)
    assert (entry.organization_id, entry.cid, entry.remote_addr) == (admin.organization.id, "req-1", "203.0.113.9")


def test_change_by_a_key_names_both(admin, viewer):
    key = admin.client.post("/api/v1/api-keys", {"name": "k", "scopes": ["users:manage"]}).json()["data"]
    by_key = APIClient(HTTP_AUTHORIZATION=f"Bearer {key['secret']}")
    assert by_key.delete(f"{USERS}/{viewer.user.id}").status_code == 204
    entry = entry_of(viewer.membership, AuditEntry.Action.DELETE)
    assert (entry.actor_id, entry.api_key_id) == (admin.user.id, UUID(key["id"]))
    assert entry.organization_id == admin.organization.id


def test_change_in_the_admin_names_the_operator(viewer):
    operator = User.objects.create_superuser("op@host.example", PASSWORD)
    browser = Client()
    browser.force_login(operator)
    path = f"/admin/users/membership/{viewer.membership.id}/change/"
    body = {
        "user": viewer.user.id,
        "organization": viewer.organization.id,
        "role": "editor",
        "is_active": "on",
    }
    assert browser.post(path, body, HTTP_X_REQUEST_ID="adm-1").status_code == 302
    entry = entry_of(viewer.membership, AuditEntry.Action.UPDATE)
    assert (entry.actor_id, entry.actor_email, entry.cid) == (operator.id, "op@host.example", "adm-1")
    assert (entry.organization_id, entry.remote_addr) == (viewer.organization.id, "127.0.0.1")
    assert browser.post(f"/admin/users/membership/{viewer.membership.id}/delete/", {"post": "yes"}).status_code == 302
    assert entry_of(viewer.membership, AuditEntry.Action.DELETE).actor_id == operator.id


def test_operators_cookie_is_no_actor_of_the_api(viewer):
    operator = User.objects.create_superuser("op@host.example", PASSWORD)
    browser = Client()
    browser.force_login(operator)
    browser.post(
        "/api/v1/auth/register",
        {"email": "nia@new.example", "password": PASSWORD, "organization_name": "New"},
        content_type="application/json",
    )
    made = Organization.objects.get(name="New")
    entry = entry_of(made, AuditEntry.Action.CREATE)
    assert (entry.actor_id, entry.organization_id) == (None, made.id)


def test_change_outside_of_a_request_has_no_actor(viewer):
    viewer.membership.role = "admin"
    viewer.membership.save()
    entry = entry_of(viewer.membership, AuditEntry.Action.UPDATE)
    assert (entry.actor_id, entry.cid, entry.organization_id) == (None, None, viewer.organization.id)


def test_refused_and_undone_changes_leave_no_entry(admin):
    before = AuditEntry.objects.count()
    assert admin.client.patch(f"{USERS}/{admin.user.id}", {"role": "viewer"}).status_code == 409
    assert admin.client.patch(f"{USERS}/{admin.user.id}", {"role": "admin"}).status_code == 200
    assert AuditEntry.objects.count() == before


def test_no_entry_holds_a_secret(admin, anonymous):
    key = admin.client.post("/api/v1/api-keys", {"name": "k", "scopes": ["users:manage"]}).json()["data"]
    admin.client.post("/api/v1/auth/password", {"current_password": PASSWORD, "new_password": "an entirely new one"})
    secrets = [key["secret"], ApiKey.objects.get().key_hash, User.objects.get(id=admin.user.id).password, "argon2"]
    for entry in AuditEntry.objects.all():
        text = f"{entry.changes} {entry.serialized_data} {entry.object_repr} {entry.additional_data}"
        assert not any(secret in text for secret in secrets)


def test_log_is_the_organizations_own_newest_first(admin, outsider, viewer):
    for role in ("editor", "viewer"):
        admin.client.patch(f"{USERS}/{viewer.user.id}", {"role": role})
    data = admin.client.get(LOGS).json()["data"]
    assert [entry["changes"] for entry in data[:2]] == [{"role": ["editor", "viewer"]}, {"role": ["viewer", "editor"]}]
    first = data[0]
    assert (first["action"], first["object_type"], first["object_id"]) == (
        "update",
        "users.membership",
        str(viewer.membership.id),
    )
    assert (first["actor_id"], first["actor_email"]) == (str(admin.user.id), "ada@acme.example")
    assert {entry["organization_id"] for entry in data} == {str(admin.organization.id)}
    assert admin.client.get(f"{LOGS}/{first['id']}").json()["data"] == first
    assert outsider.client.get(f"{LOGS}/{first['id']}").status_code == 404
    assert admin.client.delete(f"{LOGS}/{first['id']}").status_code == 405
    assert AuditEntry.objects.filter(id=first["id"]).exists()


@pytest.fixture
def colleague(admin):
    """Somebody whose coming is in the log, which that of the cast is not."""
    user = User.objects.create_user("new@acme.example")
    return Membership.objects.create(organization=admin.organization, user=user, role="viewer")


def test_an_organizations_making_is_in_its_own_log(db):
    organization = Organization.objects.create(name="New", slug="new")
    assert AuditEntry.objects.for_organization(organization.id).get().object_pk == str(organization.pk)


def test_log_is_filtered(admin, editor, viewer, colleague):
    admin.client.patch(f"{USERS}/{viewer.user.id}", {"role": "editor"}, HTTP_X_REQUEST_ID="r-7")
    made = editor.client.post("/api/v1/api-keys", {"name": "k", "scopes": ["prompts:read"]}).json()["data"]

    def found(query: str) -> list[str]:
        response = admin.client.get(f"{LOGS}?{query}")
        assert response.status_code == 200, response.content
        return [entry["object_type"] for entry in response.json()["data"]]

    assert found(f"actor_id={editor.user.id}") == ["users.apikey"]
    assert found("action=update") == ["users.membership"]
    assert found("object_type=users.apikey") == ["users.apikey"]
    assert found(f"object_id={made['id']}") == ["users.apikey"]
    assert found("request_id=r-7") == ["users.membership"]
    assert found(f"api_key_id={uuid4()}") == []
    assert found("created_before=2020-01-01T00:00:00Z") == []
    assert len(found("created_after=2020-01-01T00:00:00Z&action=create")) == 2  # the colleague and the key


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("action=burn", "action"),
        ("actor_id=7", "actor_id"),
        ("object_type=users.session", "object_type"),
        ("created_after=yesterday", "created_after"),
        ("request_id=" + "x" * 65, "request_id"),
        ("actor=x", "actor"),
        ("cursor=x", "cursor"),
        ("ordering=timestamp", "ordering"),
    ],
)
def test_log_refuses_what_it_does_not_know(admin, query, field):
    response = admin.client.get(f"{LOGS}?{query}")
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]


def test_log_pages_by_cursor(admin, viewer):
    for role in ("editor", "viewer", "admin", "viewer"):
        assert admin.client.patch(f"{USERS}/{viewer.user.id}", {"role": role}).status_code == 200
    whole = [entry["id"] for entry in admin.client.get(LOGS).json()["data"]]
    seen, cursor = [], ""
    while cursor is not None:
        page = admin.client.get(f"{LOGS}?per_page=2" + (f"&cursor={cursor}" if cursor else "")).json()
        seen += [entry["id"] for entry in page["data"]]
        cursor = page["meta"]["next_cursor"]
    assert seen == whole
    assert len(whole) >= 4


def test_log_costs_two_queries(admin, colleague, django_assert_num_queries):
    admin.client.get(LOGS)
    with django_assert_num_queries(2):
        admin.client.get(LOGS)
    entry = AuditEntry.objects.for_organization(admin.organization.id).first()
    with django_assert_num_queries(1):
        admin.client.get(f"{LOGS}/{entry.id}")


def test_only_admins_read_the_log(editor, viewer, anonymous):
    assert editor.client.get(LOGS).status_code == 403
    assert viewer.client.get(LOGS).status_code == 403
    assert anonymous.get(LOGS).status_code == 401


def test_history_outlives_what_it_tells_of(admin):
    organization_id = admin.organization.id
    assert Membership.objects.filter(organization_id=organization_id).exists()
    admin.organization.delete()
    gone = AuditEntry.objects.for_organization(organization_id).filter(action=AuditEntry.Action.DELETE)
    assert {entry.object_repr for entry in gone} >= {"Acme"}
