"""The operators' admin: every page of people answers, shows no secret, and changes what it says."""

import re
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from apps.users.models import ApiKey, AuditEntry, Invitation, Session, User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

PAGES = [
    "organizations/organization",
    "users/user",
    "users/membership",
    "users/invitation",
    "users/apikey",
    "users/session",
    "users/auditentry",
]


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch, db: Any) -> Client:
    """An operator made by the command and signed in by the form."""
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", interactive=False, email="Op@Host.example", verbosity=0)
    browser = Client()
    response = browser.post("/admin/login/", {"username": "op@host.example", "password": PASSWORD})
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/")
    return browser


@pytest.fixture
def rows(admin: Any, editor: Any) -> dict[str, Any]:
    admin.client.post("/api/v1/invitations", {"email": "nia@new.example", "role": "viewer"})
    editor.client.post("/api/v1/api-keys", {"name": "ci", "scopes": ["prompts:read"]})
    return {
        "organizations/organization": admin.organization,
        "users/user": editor.user,
        "users/membership": editor.membership,
        "users/invitation": Invitation.objects.get(),
        "users/apikey": ApiKey.objects.get(),
        "users/session": Session.objects.filter(user=editor.user).get(),
        "users/auditentry": AuditEntry.objects.first(),
    }


def test_nobody_else_gets_in(admin, anonymous):
    browser = Client()
    response = browser.post("/admin/login/", {"username": "ada@acme.example", "password": PASSWORD})
    assert response.status_code == 200
    assert browser.get("/admin/users/user/").status_code == 302


@pytest.mark.parametrize("page", PAGES)
def test_lists_searches_and_forms_answer_without_secrets(browser, rows, page):
    row = rows[page]
    secrets = [rows["users/apikey"].key_hash, rows["users/session"].current_jti, User.objects.first().password]
    for path in (f"/admin/{page}/", f"/admin/{page}/?q=acme", f"/admin/{page}/{row.pk}/change/"):
        response = browser.get(path)
        assert response.status_code == 200, path
        text = response.content.decode()
        assert not [secret for secret in secrets if secret in text]


def test_only_what_is_made_by_hand_can_be_added(browser, rows):
    answers = {page: browser.get(f"/admin/{page}/add/").status_code for page in PAGES}
    assert answers == {
        "organizations/organization": 200,
        "users/user": 200,
        "users/membership": 200,
        "users/invitation": 403,
        "users/apikey": 403,
        "users/session": 403,
        "users/auditentry": 403,
    }


@pytest.mark.parametrize("page", ["users/invitation", "users/session", "users/auditentry"])
def test_history_is_neither_changed_nor_deleted(browser, rows, page):
    row = rows[page]
    assert browser.post(f"/admin/{page}/{row.pk}/change/", {"email": "x@y.example"}).status_code == 403
    assert browser.post(f"/admin/{page}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert type(row).objects.filter(pk=row.pk).exists()


def test_user_is_made_with_a_password(browser, anonymous):
    form = {"email": "Neo@Host.example", "name": "Neo", "password1": PASSWORD, "password2": PASSWORD}
    assert browser.post("/admin/users/user/add/", {**form, "usable_password": "true"}).status_code == 302
    user = User.objects.get(email="neo@host.example")
    assert user.check_password(PASSWORD)
    entry = AuditEntry.objects.get(object_pk=str(user.pk), action=AuditEntry.Action.CREATE)
    assert entry.actor_email == "op@host.example"
    form = browser.get(f"/admin/users/user/{user.pk}/change/")
    assert "../password/" in form.content.decode()
    new = {"password1": "an entirely new one", "password2": "an entirely new one", "usable_password": "true"}
    assert browser.post(f"/admin/users/user/{user.pk}/password/", new).status_code == 302
    user.refresh_from_db()
    assert user.check_password("an entirely new one")


def test_user_is_changed_and_cannot_be_doubled(browser, admin):
    path = f"/admin/users/user/{admin.user.pk}/change/"
    assert browser.post(path, {"email": "ADA@new.example", "name": "Ada", "is_active": "on"}).status_code == 302
    admin.user.refresh_from_db()
    assert (admin.user.email, admin.user.name) == ("ada@new.example", "Ada")
    taken = browser.post(path, {"email": "OP@host.example", "name": "Ada", "is_active": "on"})
    assert taken.status_code == 200
    assert re.search(r"already exists", taken.content.decode())


def act(browser: Client, page: str, action: str, row: Any) -> None:
    body = {"action": action, "_selected_action": [str(row.pk)]}
    assert browser.post(f"/admin/{page}/", body).status_code == 302


def test_actions_end_what_they_name(browser, rows, editor, django_capture_on_commit_callbacks):
    assert editor.client.get("/api/v1/auth/me").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        act(browser, "users/session", "end", rows["users/session"])
    assert editor.client.get("/api/v1/auth/me").status_code == 401
    act(browser, "users/apikey", "revoke", rows["users/apikey"])
    assert not ApiKey.objects.get().is_usable(timezone.now())
    act(browser, "users/invitation", "revoke", rows["users/invitation"])
    assert not Invitation.objects.get().is_open
    entry = AuditEntry.objects.get(object_pk=str(rows["users/apikey"].pk), action=AuditEntry.Action.UPDATE)
    assert entry.actor_email == "op@host.example"


def test_organization_is_deleted_with_all_that_belongs_to_it(browser, rows, admin):
    path = f"/admin/organizations/organization/{admin.organization.pk}/delete/"
    assert browser.post(path, {"post": "yes"}).status_code == 302
    assert not type(admin.organization).objects.filter(pk=admin.organization.pk).exists()
    assert not Session.objects.exists()


def test_operator_does_not_delete_themselves(browser, rows):
    operator = User.objects.get(email="op@host.example")
    assert browser.post(f"/admin/users/user/{operator.pk}/delete/", {"post": "yes"}).status_code == 403
    body = {"action": "delete_selected", "_selected_action": [str(operator.pk)], "post": "yes"}
    browser.post("/admin/users/user/", body)
    assert User.objects.filter(pk=operator.pk).exists()
