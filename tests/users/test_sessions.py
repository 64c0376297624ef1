"""Signing in, refreshing and signing out."""

import threading
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from rest_framework.test import APIClient

from apps.organizations.models import Organization
from apps.users.models import Membership, Session, User
from apps.users.tasks import purge_expired
from tests.conftest import PASSWORD

LOGIN, REFRESH, LOGOUT, ME = (f"/api/v1/auth/{name}" for name in ("login", "refresh", "logout", "me"))

pytestmark = pytest.mark.django_db


def log_in(client: APIClient, email: str = "ada@acme.example", password: str = PASSWORD, **more: Any) -> Any:
    return client.post(LOGIN, {"email": email, "password": password, **more})


def bearer(token: str) -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {token}", raise_request_exception=False)


def test_login_answers_tokens_user_and_organization(anonymous, admin):
    response = log_in(anonymous, "  ada@acme.example".strip().upper())
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    data = response.json()["data"]
    assert (data["token_type"], data["expires_in"], data["role"]) == ("Bearer", 900, "admin")
    assert data["user"] == {"id": str(admin.user.id), "email": "ada@acme.example", "name": ""}
    assert data["organization"] == {"id": str(admin.organization.id), "name": "Acme", "slug": "acme"}
    me = bearer(data["access_token"]).get(ME).json()["data"]
    assert me["user"]["email"] == "ada@acme.example"
    assert "users:manage" in me["permissions"]
    admin.user.refresh_from_db()
    assert admin.user.last_login is not None


def test_wrong_password_and_unknown_account_are_answered_alike(anonymous, admin):
    User.objects.create_user("nopassword@acme.example")
    User.objects.create_user("gone@acme.example", PASSWORD, is_active=False)
    answers = [
        log_in(anonymous, password="wrong password"),
        log_in(anonymous, "nobody@acme.example"),
        log_in(anonymous, "nopassword@acme.example"),
        log_in(anonymous, "gone@acme.example"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert Session.objects.filter(user__email="gone@acme.example").count() == 0


def test_unknown_account_costs_a_hash_too(anonymous, admin, settings):
    settings.PASSWORD_HASHERS = ["tests.hashers.CountingHasher"]
    from tests.hashers import CountingHasher

    User.objects.get(id=admin.user.id).set_password(PASSWORD)
    counts = []
    for email in ("ada@acme.example", "nobody@acme.example"):
        CountingHasher.hashed = 0
        log_in(anonymous, email, "wrong password")
        counts.append(CountingHasher.hashed)
    assert counts[0] == counts[1] == 1


def test_login_chooses_the_organization(anonymous, admin, outsider):
    Membership.objects.create(organization=outsider.organization, user=admin.user, role="viewer")
    assert log_in(anonymous).json()["data"]["organization"]["slug"] == "acme"
    chosen = log_in(anonymous, organization_id=str(outsider.organization.id)).json()["data"]
    assert (chosen["organization"]["slug"], chosen["role"]) == ("other", "viewer")
    assert log_in(anonymous, organization_id=str(uuid4())).status_code == 403
    Organization.objects.filter(slug="acme").update(is_active=False)
    assert log_in(anonymous).json()["data"]["organization"]["slug"] == "other"


def test_login_without_membership_is_forbidden(anonymous, admin):
    admin.membership.delete()
    assert log_in(anonymous).status_code == 403
    assert log_in(anonymous, password="wrong password").status_code == 401


def test_login_is_limited_by_account(anonymous, admin, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "login_account": "3/h", "login_ip": "100/h"}
    assert [log_in(anonymous, password="wrong").status_code for _ in range(4)] == [401, 401, 401, 429]
    refused = log_in(anonymous)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "RATE_LIMITED"
    assert int(refused.headers["Retry-After"]) > 0
    assert log_in(anonymous, "eve@acme.example").status_code == 401


def test_login_is_limited_by_address(anonymous, admin, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "login_account": "100/h", "login_ip": "3/h"}
    codes = [log_in(anonymous, f"n{number}@acme.example").status_code for number in range(4)]
    assert codes == [401, 401, 401, 429]
    elsewhere = APIClient(REMOTE_ADDR="203.0.113.9")
    assert log_in(elsewhere).status_code == 200


def test_login_is_limited_without_redis_too(anonymous, admin, settings, redis_away):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "login_account": "3/h", "login_ip": "100/h"}
    assert [log_in(anonymous, password="wrong").status_code for _ in range(4)] == [401, 401, 401, 429]
    assert log_in(anonymous).status_code == 429


def test_refresh_rotates(anonymous, admin):
    first = log_in(anonymous).json()["data"]
    second = anonymous.post(REFRESH, {"refresh_token": first["refresh_token"]})
    assert second.status_code == 200
    data = second.json()["data"]
    assert data["refresh_token"] != first["refresh_token"]
    assert bearer(data["access_token"]).get(ME).status_code == 200
    assert anonymous.post(REFRESH, {"refresh_token": data["refresh_token"]}).status_code == 200
    assert Session.objects.filter(user=admin.user, ended_at=None).count() == 2  # the fixture's and this one


def test_reused_refresh_token_ends_the_family(anonymous, admin, django_capture_on_commit_callbacks):
    first = log_in(anonymous).json()["data"]
    second = anonymous.post(REFRESH, {"refresh_token": first["refresh_token"]}).json()["data"]
    assert bearer(second["access_token"]).get(ME).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        # an Idempotency-Key must not take the end of the family back
        again = anonymous.post(REFRESH, {"refresh_token": first["refresh_token"]}, HTTP_IDEMPOTENCY_KEY="k")
    assert again.status_code == 401
    assert anonymous.post(REFRESH, {"refresh_token": second["refresh_token"]}).status_code == 401
    assert bearer(second["access_token"]).get(ME).status_code == 401
    assert admin.client.get(ME).status_code == 200  # another sign-in of the same person
    assert Session.objects.get(ended_because__contains="twice").user == admin.user


@pytest.mark.django_db(transaction=True)
def test_of_two_refreshes_at_once_one_wins(anonymous, admin):
    token = log_in(anonymous).json()["data"]["refresh_token"]
    barrier, codes = threading.Barrier(2), []

    def refresh() -> None:
        barrier.wait(timeout=10)
        try:
            codes.append(APIClient(raise_request_exception=False).post(REFRESH, {"refresh_token": token}).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=refresh) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(codes) == [200, 401]


def test_refresh_needs_the_membership(anonymous, admin, editor):
    token = log_in(anonymous, "eve@acme.example").json()["data"]["refresh_token"]
    editor.membership.is_active = False
    editor.membership.save()
    assert anonymous.post(REFRESH, {"refresh_token": token}).status_code == 401
    assert Session.objects.filter(user=editor.user, ended_at=None).exists()  # a mere refusal rotates nothing
    editor.membership.is_active = True
    editor.membership.save()
    assert anonymous.post(REFRESH, {"refresh_token": token}).status_code == 200


def test_logout_ends_the_sign_in_at_once(anonymous, admin, django_capture_on_commit_callbacks):
    data = log_in(anonymous).json()["data"]
    client = bearer(data["access_token"])
    assert client.get(ME).status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        assert client.post(LOGOUT).status_code == 204
    assert client.get(ME).status_code == 401
    assert anonymous.post(REFRESH, {"refresh_token": data["refresh_token"]}).status_code == 401
    assert admin.client.get(ME).status_code == 200


def test_logout_with_a_refresh_token_alone(anonymous, admin, django_capture_on_commit_callbacks):
    data = log_in(anonymous).json()["data"]
    with django_capture_on_commit_callbacks(execute=True):
        assert anonymous.post(LOGOUT, {"refresh_token": data["refresh_token"]}).status_code == 204
    assert anonymous.post(LOGOUT, {"refresh_token": data["refresh_token"]}).status_code == 204
    assert bearer(data["access_token"]).get(ME).status_code == 401
    assert anonymous.post(LOGOUT).status_code == 401
    assert anonymous.post(LOGOUT, {"refresh_token": "x"}).status_code == 401


def test_switch_signs_in_to_another_organization(admin, outsider):
    there = str(outsider.organization.id)
    assert admin.client.post("/api/v1/auth/switch", {"organization_id": there}).status_code == 404
    Membership.objects.create(organization=outsider.organization, user=admin.user, role="viewer")
    response = admin.client.post("/api/v1/auth/switch", {"organization_id": there})
    assert response.status_code == 200
    me = bearer(response.json()["data"]["access_token"]).get(ME).json()["data"]
    assert (me["organization"]["slug"], me["role"]) == ("other", "viewer")
    assert {(o["slug"], o["role"]) for o in me["organizations"]} == {("acme", "admin"), ("other", "viewer")}
    assert admin.client.get(ME).json()["data"]["organization"]["slug"] == "acme"


def test_expired_sign_ins_are_purged(admin, editor):
    Session.objects.filter(user=editor.user).update(expires_at="2020-01-01T00:00:00Z")
    purge_expired(timestamp=0)
    assert [s.user for s in Session.objects.all()] == [admin.user]


@pytest.mark.parametrize("redis_is_away", [False, True])
def test_authenticated_request_costs_no_query_while_redis_is_there(
    request, admin, django_assert_num_queries, redis_is_away
):
    if redis_is_away:
        request.getfixturevalue("redis_away")
    roles = "/api/v1/roles"
    assert admin.client.get(roles).status_code == 200
    with django_assert_num_queries(2 if redis_is_away else 0):
        assert admin.client.get(roles).status_code == 200


def test_query_counts(anonymous, admin, django_assert_num_queries):
    data = log_in(anonymous).json()["data"]
    admin.client.get(ME)
    with django_assert_num_queries(2):
        admin.client.get(ME)
    with django_assert_num_queries(3):
        anonymous.post(REFRESH, {"refresh_token": data["refresh_token"]})
    with django_assert_num_queries(6):  # user, membership, session in a savepoint, last login
        log_in(anonymous)
