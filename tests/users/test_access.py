"""Demotion, removal and deactivation work at once, with Redis and without."""

from contextlib import contextmanager
from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.users.access import principal_of_session
from apps.users.models import Session
from apps.users.services import create_api_key
from tests.conftest import Person

pytestmark = pytest.mark.django_db

USERS, ME = "/api/v1/users", "/api/v1/auth/me"


@pytest.fixture(params=["redis", "no redis"])
def commits(request, django_capture_on_commit_callbacks):
    """A block whose commit hooks run: what a change in another transaction does."""
    if request.param == "no redis":
        request.getfixturevalue("redis_away")

    @contextmanager
    def committing() -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            yield

    return committing


@pytest.fixture
def second_admin(organization, sign_in) -> Person:
    from tests.conftest import make_person

    return make_person(organization, "abe@acme.example", "admin", sign_in)


def key_client(person: Person, scopes: list[str]) -> APIClient:
    session = Session.objects.filter(user=person.user).first()
    actor = principal_of_session(person.user.id, person.organization.id, session.id)
    _, secret = create_api_key(actor=actor, name="k", scopes=scopes)
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {secret}", raise_request_exception=False)


def test_demotion_works_at_once(admin, second_admin, commits):
    by_key = key_client(second_admin, ["users:manage", "apikeys:manage"])
    assert second_admin.client.get(USERS).status_code == 200
    assert by_key.get(USERS).status_code == 200
    with commits():
        changed = admin.client.patch(f"{USERS}/{second_admin.user.id}", {"role": "editor"})
    assert (changed.status_code, changed.json()["data"]["role"]) == (200, "editor")
    assert second_admin.client.get(USERS).status_code == 403
    assert by_key.get(USERS).status_code == 403
    assert by_key.get("/api/v1/api-keys").status_code == 200
    assert second_admin.client.get(ME).json()["data"]["role"] == "editor"


def test_removal_works_at_once(admin, editor, commits):
    by_key = key_client(editor, ["prompts:read", "apikeys:manage"])
    assert editor.client.get(ME).status_code == 200
    assert by_key.get(ME).status_code == 200
    with commits():
        assert admin.client.delete(f"{USERS}/{editor.user.id}").status_code == 204
    assert editor.client.get(ME).status_code == 401
    assert by_key.get(ME).status_code == 401


def test_deactivation_works_at_once_and_activation_asks_for_a_new_sign_in(admin, editor, commits, sign_in):
    assert editor.client.get(ME).status_code == 200
    with commits():
        admin.client.patch(f"{USERS}/{editor.user.id}", {"is_active": False})
    assert editor.client.get(ME).status_code == 401
    with commits():
        admin.client.patch(f"{USERS}/{editor.user.id}", {"is_active": True})
    assert editor.client.get(ME).status_code == 401
    editor.membership.refresh_from_db()
    assert sign_in(editor.membership).get(ME).status_code == 200


@pytest.mark.parametrize("what", ["user", "organization"])
def test_deactivated_user_or_organization_is_out(admin, commits, what):
    assert admin.client.get(ME).status_code == 200
    with commits():
        row = getattr(admin, what)
        row.is_active = False
        row.save()
    assert admin.client.get(ME).status_code == 401


def test_revoked_and_expired_keys_are_out(editor, commits):
    by_key = key_client(editor, ["apikeys:manage"])
    key_id = by_key.get("/api/v1/api-keys").json()["data"][0]["id"]
    with commits():
        assert editor.client.delete(f"/api/v1/api-keys/{key_id}").status_code == 204
    assert by_key.get(ME).status_code == 401
