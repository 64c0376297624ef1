"""Registering, one's own profile, and passwords."""

import re
from typing import Any

import pytest
from django.core import mail
from procrastinate.contrib.django.models import ProcrastinateJob
from rest_framework.test import APIClient

from apps.organizations.models import Organization
from apps.organizations.registry import _callbacks, on_organization_created
from apps.users.models import AuditEntry, Membership, Session, User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db

AUTH = "/api/v1/auth"
NEW_PASSWORD = "an entirely new one"
NEWCOMER = {
    "email": "Nia@New.example",
    "password": PASSWORD,
    "name": "Nia",
    "organization_name": "New & Co",
}


def log_in(client: APIClient, email: str, password: str) -> int:
    return int(client.post(f"{AUTH}/login", {"email": email, "password": password}).status_code)


def test_register_makes_user_organization_and_admin(anonymous):
    seen: list[Organization] = []
    on_organization_created(seen.append)
    try:
        response = anonymous.post(f"{AUTH}/register", NEWCOMER)
    finally:
        _callbacks.remove(seen.append)
    assert response.status_code == 201
    data = response.json()["data"]
    assert (data["user"]["email"], data["organization"]["slug"], data["role"]) == (
        "nia@new.example",
        "new-co",
        "admin",
    )
    me = anonymous.get(f"{AUTH}/me", HTTP_AUTHORIZATION=f"Bearer {data['access_token']}")
    assert me.json()["data"]["organization"]["name"] == "New & Co"
    membership = Membership.objects.get(user__email="nia@new.example")
    assert seen == [membership.organization]
    assert membership.user.password.startswith("argon2$")


def test_register_twice_is_a_conflict_and_writes_nothing(anonymous, admin):
    before = Organization.objects.count()
    response = anonymous.post(f"{AUTH}/register", {**NEWCOMER, "email": "ADA@acme.example"})
    assert response.status_code == 409
    assert "email" in response.json()["error"]["details"]
    assert Organization.objects.count() == before


def test_register_gives_organizations_of_one_name_different_slugs(anonymous):
    slugs = [
        anonymous.post(f"{AUTH}/register", {**NEWCOMER, "email": f"n{n}@new.example"}).json()["data"]["organization"][
            "slug"
        ]
        for n in range(2)
    ]
    assert slugs[0] == "new-co"
    assert re.fullmatch(r"new-co-[0-9a-f]{8}", slugs[1])
    nameless = anonymous.post(f"{AUTH}/register", {**NEWCOMER, "email": "n3@new.example", "organization_name": "日本"})
    assert nameless.json()["data"]["organization"]["slug"] == "organization"


def test_register_can_be_closed(anonymous, settings):
    settings.ALLOW_REGISTRATION = False
    assert anonymous.post(f"{AUTH}/register", NEWCOMER).status_code == 403
    assert not User.objects.exists()


def test_register_with_an_idempotency_key_is_done_once(anonymous):
    answers = [anonymous.post(f"{AUTH}/register", NEWCOMER, HTTP_IDEMPOTENCY_KEY="once") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert User.objects.count() == 1


def test_profile_is_changed_under_its_etag(admin):
    me = admin.client.get(f"{AUTH}/me")
    etag = me.headers["ETag"]
    assert admin.client.get(f"{AUTH}/me", HTTP_IF_NONE_MATCH=etag).status_code == 304
    changed = admin.client.patch(f"{AUTH}/me", {"name": "Ada L."}, HTTP_IF_MATCH=etag)
    assert (changed.status_code, changed.json()["data"]["user"]["name"]) == (200, "Ada L.")
    assert changed.headers["ETag"] == admin.client.get(f"{AUTH}/me").headers["ETag"] != etag
    assert admin.client.patch(f"{AUTH}/me", {"name": "Late"}, HTTP_IF_MATCH=etag).status_code == 412
    assert User.objects.get(id=admin.user.id).name == "Ada L."
    assert admin.client.patch(f"{AUTH}/me", {"email": "other@acme.example"}).status_code == 400


def test_password_change_ends_the_other_sign_ins(admin, anonymous, sign_in, django_capture_on_commit_callbacks):
    other = sign_in(admin.membership)
    assert other.get(f"{AUTH}/me").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        assert admin.client.post(f"{AUTH}/password", body).status_code == 204
    assert other.get(f"{AUTH}/me").status_code == 401
    assert admin.client.get(f"{AUTH}/me").status_code == 200
    assert log_in(anonymous, "ada@acme.example", PASSWORD) == 401
    assert log_in(anonymous, "ada@acme.example", NEW_PASSWORD) == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"current_password": PASSWORD, "new_password": "short"}, "new_password"),
        ({"current_password": PASSWORD, "new_password": "1234567890"}, "new_password"),
        ({"current_password": PASSWORD, "new_password": "password123"}, "new_password"),
        ({"current_password": PASSWORD, "new_password": "ada@acme.example"}, "new_password"),
        ({"current_password": PASSWORD, "new_password": "x" * 129}, "new_password"),
        ({"current_password": PASSWORD}, "new_password"),
    ],
)
def test_weak_or_wrong_passwords_change_nothing(admin, anonymous, body, field):
    response = admin.client.post(f"{AUTH}/password", body)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]
    assert log_in(anonymous, "ada@acme.example", PASSWORD) == 200


def test_wrong_current_password_changes_nothing(admin, anonymous):
    response = admin.client.post(f"{AUTH}/password", {"current_password": "wrong", "new_password": NEW_PASSWORD})
    assert (response.status_code, list(response.json()["error"]["details"])) == (403, ["current_password"])
    assert log_in(anonymous, "ada@acme.example", PASSWORD) == 200


@pytest.mark.parametrize("value", ["", "\xd7", "x" * 300])
def test_conditional_headers_are_checked(admin, value):
    for response in (
        admin.client.get(f"{AUTH}/me", HTTP_IF_NONE_MATCH=value),
        admin.client.patch(f"{AUTH}/me", {"name": "x"}, HTTP_IF_MATCH=value),
    ):
        assert response.status_code == 400
        assert next(iter(response.json()["error"]["details"])) in {"If-Match", "If-None-Match"}
    assert User.objects.get(id=admin.user.id).name == ""


def reset_letter(client: APIClient, run_jobs: Any, email: str) -> dict[str, str]:
    assert client.post(f"{AUTH}/password/reset", {"email": email}).status_code == 204
    assert run_jobs() == ["send_password_reset"]
    text = mail.outbox[-1].body
    return {name: str(re.search(rf'"{name}": "([^"]+)"', text)[1]) for name in ("uid", "token")}


def test_password_reset_by_mail_works_once(admin, anonymous, run_jobs, django_capture_on_commit_callbacks):
    assert admin.client.get(f"{AUTH}/me").status_code == 200
    letter = reset_letter(anonymous, run_jobs, "ada@acme.example")
    assert mail.outbox[-1].to == ["ada@acme.example"]
    weak = anonymous.post(f"{AUTH}/password/reset/confirm", {**letter, "new_password": "password123"})
    assert (weak.status_code, list(weak.json()["error"]["details"])) == (400, ["new_password"])
    with django_capture_on_commit_callbacks(execute=True):
        done = anonymous.post(f"{AUTH}/password/reset/confirm", {**letter, "new_password": NEW_PASSWORD})
    assert done.status_code == 204
    assert admin.client.get(f"{AUTH}/me").status_code == 401
    assert not Session.objects.filter(user=admin.user, ended_at=None).exists()
    assert log_in(anonymous, "ada@acme.example", NEW_PASSWORD) == 200
    again = anonymous.post(f"{AUTH}/password/reset/confirm", {**letter, "new_password": "yet another one"})
    assert (again.status_code, list(again.json()["error"]["details"])) == (401, ["token"])


def test_password_reset_does_not_tell_who_has_an_account(admin, anonymous, run_jobs, django_assert_num_queries):
    anonymous.post(f"{AUTH}/password/reset", {"email": "warm@acme.example"})
    answers = []
    for email in ("ada@acme.example", "nobody@acme.example"):
        with django_assert_num_queries(1):
            answers.append(anonymous.post(f"{AUTH}/password/reset", {"email": email}))
    assert [(a.status_code, a.content) for a in answers] == [(204, b"")] * 2
    assert [job.args for job in ProcrastinateJob.objects.order_by("id")][1:] == [
        {"email": "ada@acme.example"},
        {"email": "nobody@acme.example"},
    ]
    run_jobs()
    assert [letter.to for letter in mail.outbox] == [["ada@acme.example"]]


def test_reset_token_of_another_person_is_refused(admin, outsider, anonymous, run_jobs):
    letter = reset_letter(anonymous, run_jobs, "oz@other.example")
    body = {"uid": str(admin.user.id), "token": letter["token"], "new_password": NEW_PASSWORD}
    assert anonymous.post(f"{AUTH}/password/reset/confirm", body).status_code == 401
    assert log_in(anonymous, "ada@acme.example", PASSWORD) == 200


def test_audit_shows_that_a_password_changed_and_nothing_of_it(admin):
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    admin.client.post(f"{AUTH}/password", body)
    entry = AuditEntry.objects.get(object_pk=str(admin.user.id), action=1)
    assert entry.changes == {"password": ["********", "********"]}


BAD: dict[str, tuple[str, Any, str]] = {
    "login without password": ("login", {"email": "a@b.example"}, "password"),
    "login with a number": ("login", {"email": 5, "password": "x"}, "email"),
    "login with no address": ("login", {"email": "ada", "password": "x"}, "email"),
    "login with a NUL": ("login", {"email": "a\x00@b.example", "password": "x"}, "email"),
    "login with a NUL password": ("login", {"email": "a@b.example", "password": "\x00"}, "password"),
    "login with a list": ("login", [], "body"),
    "login with a text": ("login", "x", "body"),
    "login with an unknown field": ("login", {"email": "a@b.example", "password": "x", "otp": "1"}, "otp"),
    "login with a long password": ("login", {"email": "a@b.example", "password": "x" * 129}, "password"),
    "login with a long address": ("login", {"email": "a" * 250 + "@b.example", "password": "x"}, "email"),
    "login to a number": ("login", {"email": "a@b.example", "password": "x", "organization_id": 5}, "organization_id"),
    "login to null": ("login", {"email": "a@b.example", "password": "x", "organization_id": None}, "organization_id"),
    "refresh without token": ("refresh", {}, "refresh_token"),
    "refresh with null": ("refresh", {"refresh_token": None}, "refresh_token"),
    "refresh with a huge token": ("refresh", {"refresh_token": "a" * 5000}, "refresh_token"),
    "logout with a number": ("logout", {"refresh_token": 5}, "refresh_token"),
    "register with digits": ("register", {**NEWCOMER, "password": "12345678901"}, "password"),
    "register with a common word": ("register", {**NEWCOMER, "password": "qwertyuiop"}, "password"),
    "register without organization": ("register", {**NEWCOMER, "organization_name": "  "}, "organization_name"),
    "register with an object": ("register", {**NEWCOMER, "name": {}}, "name"),
    "register with a role": ("register", {**NEWCOMER, "is_staff": True}, "is_staff"),
    "reset without address": ("password/reset", {}, "email"),
    "confirm with a bad id": (
        "password/reset/confirm",
        {"uid": "x", "token": "t", "new_password": NEW_PASSWORD},
        "uid",
    ),
    "accept without token": ("invitations/accept", {}, "token"),
}


@pytest.mark.parametrize(("path", "body", "field"), BAD.values(), ids=BAD.keys())
def test_bad_input_names_its_field_and_writes_nothing(anonymous, db, path, body, field):
    response = anonymous.post(f"{AUTH}/{path}", body)
    assert response.status_code == 400, response.content
    error = response.json()["error"]
    assert error["code"] == "BAD_REQUEST"
    assert field in error["details"]
    assert not User.objects.exists()
    assert not Organization.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"email": "\\ud800@x.example", "password": "x"}',
        b"[" * 5000,
        b'{"email": NaN}',
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
)
def test_malformed_bodies_are_refused(anonymous, db, body):
    response = anonymous.post(f"{AUTH}/login", body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "BAD_REQUEST"


def test_unknown_query_parameters_are_refused(anonymous, admin):
    assert anonymous.post(f"{AUTH}/login?next=/", {}).json()["error"]["details"] == {"next": "Unknown query parameter."}
    assert admin.client.get(f"{AUTH}/me?page=1").status_code == 400
