"""API keys: scopes, rotation, and that nobody becomes mightier by one."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from apps.users.models import ApiKey, Membership
from apps.users.permissions import PERMISSIONS, ROLE_PERMISSIONS
from tests.conftest import PASSWORD, Person

pytestmark = pytest.mark.django_db

KEYS, ME, USERS = "/api/v1/api-keys", "/api/v1/auth/me", "/api/v1/users"


def make_key(client: APIClient, *scopes: str, **more: Any) -> Any:
    return client.post(KEYS, {"name": "ci", "scopes": list(scopes), **more})


def client_of(response: Any) -> APIClient:
    assert response.status_code == 201, response.content
    secret = response.json()["data"]["secret"]
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}", raise_request_exception=False)


def key_of(person: Person, *scopes: str, **more: Any) -> APIClient:
    return client_of(make_key(person.client, *scopes, **more))


def test_secret_is_shown_once_and_stored_hashed(editor):
    response = make_key(editor.client, "prompts:read", "prompts:read", "prompts:create")
    data = response.json()["data"]
    assert data["secret"].startswith("eq_")
    assert data["secret"].startswith(data["prefix"])
    assert data["scopes"] == ["prompts:create", "prompts:read"]
    assert (data["user_id"], data["expires_at"]) == (str(editor.user.id), None)
    read = editor.client.get(response.headers["Location"])
    assert read.headers["ETag"] == response.headers["ETag"]
    listed = editor.client.get(KEYS)
    for answer in (read, listed):
        assert data["secret"].encode() not in answer.content
    stored = ApiKey.objects.get(id=data["id"])
    assert data["secret"] not in str(vars(stored))
    assert stored.key_hash == ApiKey.hash(data["secret"])


def test_key_acts_for_its_creator_within_its_scopes(admin):
    by_key = key_of(admin, "users:manage")
    me = by_key.get(ME).json()["data"]
    assert (me["user"]["email"], me["permissions"]) == ("ada@acme.example", ["users:manage"])
    assert me["api_key_id"] is not None
    assert by_key.get(USERS).status_code == 200
    assert by_key.get("/api/v1/audit-logs").status_code == 403
    assert ApiKey.objects.get(user=admin.user).last_used_at is not None


def test_key_is_no_person(admin):
    by_key = key_of(admin, *PERMISSIONS)
    bodies = {
        "password": {"current_password": PASSWORD, "new_password": "an entirely new one"},
        "switch": {"organization_id": str(admin.organization.id)},
        "logout": {},
    }
    for path, body in bodies.items():
        assert by_key.post(f"/api/v1/auth/{path}", body).status_code == 403, path
    assert by_key.patch(ME, {"name": "Robot"}).status_code == 403
    assert by_key.get(ME).status_code == 200


def test_scopes_are_at_most_ones_own(editor, viewer):
    response = make_key(editor.client, "prompts:read", "users:manage")
    assert (response.status_code, list(response.json()["error"]["details"])) == (403, ["scopes"])
    assert make_key(viewer.client, "prompts:read").status_code == 403
    assert not ApiKey.objects.exists()
    assert make_key(editor.client, *ROLE_PERMISSIONS["editor"]).status_code == 201


def test_key_makes_no_mightier_key(admin):
    by_key = key_of(admin, "apikeys:manage", "prompts:read")
    assert make_key(by_key, "users:manage").status_code == 403
    child = client_of(make_key(by_key, "prompts:read"))
    assert child.get(KEYS).status_code == 403
    assert child.get(ME).json()["data"]["permissions"] == ["prompts:read"]


def test_key_made_by_a_key_does_not_outlive_it(admin):
    by_key = key_of(admin, "apikeys:manage", expires_in_s=3600)
    own_end = by_key.get(KEYS).json()["data"][0]["expires_at"]
    for more in ({}, {"expires_in_s": 10**6}):
        assert make_key(by_key, "apikeys:manage", **more).json()["data"]["expires_at"] == own_end
    sooner = make_key(by_key, "apikeys:manage", expires_in_s=60).json()["data"]["expires_at"]
    assert datetime.fromisoformat(sooner) < datetime.fromisoformat(own_end)


def test_rotation_gives_nobody_more(admin):
    strong = make_key(admin.client, *PERMISSIONS).json()["data"]["id"]
    weak = key_of(admin, "apikeys:manage", "users:manage")
    assert weak.post(f"{KEYS}/{strong}/rotate").status_code == 403
    assert ApiKey.objects.get(id=strong).revoked_at is None


def test_key_with_users_manage_makes_nobody_mightier_than_itself(admin, editor, viewer):
    by_key = key_of(admin, "users:manage")
    assert by_key.patch(f"{USERS}/{viewer.user.id}", {"role": "admin"}).status_code == 403
    assert by_key.patch(f"{USERS}/{editor.user.id}", {"role": "viewer"}).status_code == 403
    assert by_key.post("/api/v1/invitations", {"email": "x@new.example", "role": "admin"}).status_code == 403
    assert by_key.post("/api/v1/invitations", {"email": "x@new.example", "role": "viewer"}).status_code == 403
    pending = admin.client.post("/api/v1/invitations", {"email": "y@new.example", "role": "admin"}).json()["data"]
    assert by_key.post(f"/api/v1/invitations/{pending['id']}/resend").status_code == 403
    assert by_key.patch(f"{USERS}/{viewer.user.id}", {"is_active": False}).status_code == 200
    assert by_key.patch(f"{USERS}/{viewer.user.id}", {"is_active": True}).status_code == 403
    assert set(Membership.objects.values_list("role", flat=True)) == {"admin", "editor", "viewer"}


def test_key_with_a_roles_permissions_may_give_that_role(admin):
    by_key = key_of(admin, "users:manage", *ROLE_PERMISSIONS["viewer"])
    invited = by_key.post("/api/v1/invitations", {"email": "x@new.example", "role": "viewer"})
    assert invited.status_code == 201
    assert by_key.post("/api/v1/invitations", {"email": "y@new.example", "role": "editor"}).status_code == 403


def test_demotion_of_the_creator_narrows_the_key(admin, editor, django_capture_on_commit_callbacks):
    by_key = key_of(editor, "apikeys:manage", "prompts:read")
    assert by_key.get(KEYS).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        admin.client.patch(f"{USERS}/{editor.user.id}", {"role": "viewer"})
    assert by_key.get(ME).json()["data"]["permissions"] == ["prompts:read"]
    assert by_key.get(KEYS).status_code == 403


def test_editors_see_their_own_keys_and_admins_all(admin, editor, outsider):
    of_admin = make_key(admin.client, "prompts:read").json()["data"]["id"]
    of_editor = make_key(editor.client, "prompts:read").json()["data"]["id"]
    of_other = make_key(outsider.client, "prompts:read").json()["data"]["id"]

    def ids(client: APIClient) -> set[str]:
        return {key["id"] for key in client.get(KEYS).json()["data"]}

    assert ids(editor.client) == {of_editor}
    assert ids(admin.client) == {of_editor, of_admin}
    assert key_of(admin, "apikeys:manage").get(f"{KEYS}/{of_editor}").status_code == 404
    for client, key in ((editor.client, of_admin), (admin.client, of_other)):
        path = f"{KEYS}/{key}"
        calls = (
            client.get(path),
            client.patch(path, {"name": "x"}),
            client.delete(path),
            client.post(f"{path}/rotate"),
        )
        assert {response.status_code for response in calls} == {404}
    assert admin.client.delete(f"{KEYS}/{of_editor}").status_code == 204
    assert ids(editor.client) == set()


def test_rename_under_the_etag(editor):
    path = make_key(editor.client, "prompts:read").headers["Location"]
    etag = editor.client.get(path).headers["ETag"]
    renamed = editor.client.patch(path, {"name": "deploy"}, HTTP_IF_MATCH=etag)
    assert (renamed.status_code, renamed.json()["data"]["name"]) == (200, "deploy")
    assert editor.client.patch(path, {"name": "late"}, HTTP_IF_MATCH=etag).status_code == 412
    refused = editor.client.patch(path, {"scopes": ["prompts:create"]})
    assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["scopes"])
    assert editor.client.put(path, {"name": "x"}).status_code == 405


def test_rotation_overlaps(editor, django_capture_on_commit_callbacks):
    created = make_key(editor.client, "apikeys:manage", "prompts:read", expires_in_s=86400)
    old, old_id = client_of(created), created.json()["data"]["id"]
    assert old.get(ME).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        rotated = editor.client.post(f"{KEYS}/{old_id}/rotate", {"overlap_s": 600})
    new = client_of(rotated)
    data = rotated.json()["data"]
    assert data["scopes"] == ["apikeys:manage", "prompts:read"]
    assert data["expires_at"] == created.json()["data"]["expires_at"]
    assert rotated.headers["Location"] == f"{KEYS}/{data['id']}"
    assert new.get(ME).status_code == old.get(ME).status_code == 200
    ends_at = datetime.fromisoformat(editor.client.get(f"{KEYS}/{old_id}").json()["data"]["revoked_at"])
    assert timedelta(seconds=590) < ends_at - timezone.now() <= timedelta(seconds=600)
    assert editor.client.post(f"{KEYS}/{old_id}/rotate").status_code == 409
    with django_capture_on_commit_callbacks(execute=True):
        key = ApiKey.objects.get(id=old_id)
        key.revoke(timezone.now())
    assert old.get(ME).status_code == 401
    assert new.get(ME).status_code == 200


def test_rotation_without_overlap_ends_the_old_key_at_once(editor, django_capture_on_commit_callbacks):
    created = make_key(editor.client, "prompts:read")
    old = client_of(created)
    assert old.get(ME).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        editor.client.post(f"{KEYS}/{created.json()['data']['id']}/rotate")
    assert old.get(ME).status_code == 401


def test_rotated_by_an_admin_the_key_acts_for_the_admin(admin, editor):
    created = make_key(editor.client, "prompts:read")
    rotated = admin.client.post(f"{KEYS}/{created.json()['data']['id']}/rotate")
    assert client_of(rotated).get(ME).json()["data"]["user"]["email"] == "ada@acme.example"


def test_expired_key_is_refused(editor):
    created = make_key(editor.client, "prompts:read", expires_in_s=60)
    ApiKey.objects.update(expires_at=timezone.now())
    assert client_of(created).get(ME).status_code == 401


def test_idempotency_key_shows_the_secret_again_and_makes_one_key(editor):
    body = {"name": "ci", "scopes": ["prompts:read"]}
    first, second = (editor.client.post(KEYS, body, HTTP_IDEMPOTENCY_KEY="k1") for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert ApiKey.objects.count() == 1
    assert editor.client.post(KEYS, {**body, "name": "other"}, HTTP_IDEMPOTENCY_KEY="k1").status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["prompts:read"]}, "name"),
        ({"name": " ", "scopes": ["prompts:read"]}, "name"),
        ({"name": "n" * 201, "scopes": ["prompts:read"]}, "name"),
        ({"name": "n"}, "scopes"),
        ({"name": "n", "scopes": []}, "scopes"),
        ({"name": "n", "scopes": "prompts:read"}, "scopes"),
        ({"name": "n", "scopes": ["prompts:fly"]}, "scopes.0"),
        ({"name": "n", "scopes": [None]}, "scopes.0"),
        ({"name": "n", "scopes": [["prompts:read"]]}, "scopes.0"),
        ({"name": "n", "scopes": ["prompts:read"], "expires_in_s": 0}, "expires_in_s"),
        ({"name": "n", "scopes": ["prompts:read"], "expires_in_s": "60"}, "expires_in_s"),
        ({"name": "n", "scopes": ["prompts:read"], "expires_in_s": True}, "expires_in_s"),
        ({"name": "n", "scopes": ["prompts:read"], "expires_in_s": 10**18}, "expires_in_s"),
        ({"name": "n", "scopes": ["prompts:read"], "expires_in_s": 10**30}, "expires_in_s"),
        ({"name": "n", "scopes": ["prompts:read"], "user_id": str(uuid4())}, "user_id"),
    ],
)
def test_bad_input_is_refused(editor, body, field):
    response = editor.client.post(KEYS, body)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("body", [{"overlap_s": -1}, {"overlap_s": 604801}, {"overlap_s": None}, {"x": 1}])
def test_bad_rotation_is_refused(editor, body):
    key_id = make_key(editor.client, "prompts:read").json()["data"]["id"]
    assert editor.client.post(f"{KEYS}/{key_id}/rotate", body).status_code == 400
    assert ApiKey.objects.get().revoked_at is None


def test_query_counts(editor, django_assert_num_queries):
    for _ in range(3):
        make_key(editor.client, "prompts:read")
    by_key = key_of(editor, "apikeys:manage")
    by_key.get(KEYS)
    with django_assert_num_queries(2):
        assert len(by_key.get(KEYS).json()["data"]) == 4
