"""Members of an organization, and invitations."""

import re
import threading
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from rest_framework.test import APIClient

from apps.users.models import ApiKey, Invitation, Membership, User
from apps.users.tasks import purge_expired
from tests.conftest import PASSWORD, Person, SignIn, make_person

pytestmark = pytest.mark.django_db

USERS, INVITATIONS, ACCEPT = "/api/v1/users", "/api/v1/invitations", "/api/v1/auth/invitations/accept"


@pytest.fixture
def second_admin(organization: Any, sign_in: SignIn) -> Person:
    return make_person(organization, "abe@acme.example", "admin", sign_in)


def test_list_shows_the_members_of_the_organization_only(admin, editor, viewer, outsider):
    body = admin.client.get(USERS).json()
    assert [member["email"] for member in body["data"]] == [
        "ada@acme.example",
        "eve@acme.example",
        "vic@acme.example",
    ]
    assert body["meta"] == {"page": 1, "per_page": 20, "total": 3, "total_pages": 1}
    assert body["data"][1]["id"] == str(editor.user.id)
    assert (body["data"][1]["role"], body["data"][1]["is_active"]) == ("editor", True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("role=viewer", ["vic"]),
        ("is_active=false", []),
        ("is_active=true&role=admin", ["ada"]),
        ("search=EVE", ["eve"]),
        ("search=acme vic", ["vic"]),
        ("ordering=-email", ["vic", "eve", "ada"]),
        ("per_page=1&page=2", ["eve"]),
        ("page=9999", []),
    ],
)
def test_list_filters_and_orders(admin, editor, viewer, query, found):
    members = admin.client.get(f"{USERS}?{query}").json()["data"]
    assert [member["email"].split("@")[0] for member in members] == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("role=king", "role"),
        ("is_active=maybe", "is_active"),
        ("ordering=password", "ordering"),
        ("user__password=x", "user__password"),
        ("page=0", "page"),
        ("page=99999999999999999999", "page"),
        ("per_page=1000", "per_page"),
        ("search=%00", "search"),
    ],
)
def test_list_refuses_what_it_does_not_know(admin, query, field):
    response = admin.client.get(f"{USERS}?{query}")
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]


def test_list_costs_two_queries_however_many_there_are(admin, editor, viewer, django_assert_num_queries):
    admin.client.get(USERS)
    with django_assert_num_queries(2):
        assert len(admin.client.get(USERS).json()["data"]) == 3
    with django_assert_num_queries(1):
        admin.client.get(f"{USERS}/{editor.user.id}")


def test_member_of_another_organization_is_not_found(admin, outsider):
    path = f"{USERS}/{outsider.user.id}"
    assert admin.client.get(path).status_code == 404
    assert admin.client.patch(path, {"role": "viewer"}).status_code == 404
    assert admin.client.delete(path).status_code == 404
    assert admin.client.get(f"{USERS}/{uuid4()}").status_code == 404
    assert admin.client.get(f"{USERS}/not-an-id").status_code == 404
    outsider.membership.refresh_from_db()
    assert outsider.membership.role == "admin"


def test_role_is_changed_under_its_etag(admin, viewer):
    path = f"{USERS}/{viewer.user.id}"
    etag = admin.client.get(path).headers["ETag"]
    changed = admin.client.patch(path, {"role": "editor"}, HTTP_IF_MATCH=etag)
    assert (changed.status_code, changed.json()["data"]["role"]) == (200, "editor")
    assert changed.headers["ETag"] == admin.client.get(path).headers["ETag"]
    late = admin.client.patch(path, {"role": "admin"}, HTTP_IF_MATCH=etag)
    assert (late.status_code, late.json()["error"]["code"]) == (412, "PRECONDITION_FAILED")
    assert admin.client.delete(path, HTTP_IF_MATCH=etag).status_code == 412
    viewer.membership.refresh_from_db()
    assert viewer.membership.role == "editor"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "king"}, "role"),
        ({"role": None}, "role"),
        ({"role": ["admin"]}, "role"),
        ({"is_active": "yes"}, "is_active"),
        ({"is_active": 1}, "is_active"),
        ({"email": "x@y.example"}, "email"),
        ({"organization_id": str(uuid4())}, "organization_id"),
    ],
)
def test_bad_changes_are_refused(admin, viewer, body, field):
    response = admin.client.patch(f"{USERS}/{viewer.user.id}", body)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]


@pytest.mark.parametrize("change", [{"role": "viewer"}, {"is_active": False}, None])
def test_last_admin_stays(admin, editor, change):
    path = f"{USERS}/{admin.user.id}"
    response = admin.client.delete(path) if change is None else admin.client.patch(path, change)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "CONFLICT")
    admin.membership.refresh_from_db()
    assert (admin.membership.role, admin.membership.is_active) == ("admin", True)


def test_admin_may_go_when_there_is_another(admin, second_admin):
    assert admin.client.delete(f"{USERS}/{admin.user.id}").status_code == 204
    assert second_admin.client.patch(f"{USERS}/{second_admin.user.id}", {"role": "editor"}).status_code == 409


@pytest.mark.django_db(transaction=True)
def test_two_admins_cannot_remove_each_other_at_once(admin, second_admin):
    barrier, codes = threading.Barrier(2), []

    def remove(person: Person, other: Person) -> None:
        barrier.wait(timeout=10)
        try:
            codes.append(person.client.patch(f"{USERS}/{other.user.id}", {"role": "viewer"}).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=remove, args=pair) for pair in ((admin, second_admin), (second_admin, admin))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert Membership.objects.filter(role="admin").count() == 1
    assert codes.count(200) == 1


def test_removed_member_loses_sign_ins_and_keys_here_only(admin, editor, outsider, sign_in):
    there = Membership.objects.create(organization=outsider.organization, user=editor.user, role="editor")
    elsewhere = sign_in(there)
    key = editor.client.post("/api/v1/api-keys", {"name": "k", "scopes": ["prompts:read"]}).json()["data"]
    assert admin.client.delete(f"{USERS}/{editor.user.id}").status_code == 204
    assert not Membership.objects.filter(user=editor.user, organization=admin.organization).exists()
    assert ApiKey.objects.get(id=key["id"]).revoked_at is not None
    assert elsewhere.get("/api/v1/auth/me").status_code == 200
    assert User.objects.filter(id=editor.user.id).exists()


def invite(person: Person, email: str = "nia@new.example", role: str = "editor") -> Any:
    return person.client.post(INVITATIONS, {"email": email, "role": role})


def test_invitation_is_made_mailed_and_accepted_by_a_new_person(admin, anonymous, run_jobs):
    response = invite(admin, "Nia@New.example")
    assert response.status_code == 201
    data = response.json()["data"]
    assert (data["email"], data["role"], data["is_open"]) == ("nia@new.example", "editor", True)
    assert data["accept_url"].endswith(ACCEPT)
    read = admin.client.get(response.headers["Location"])
    assert read.headers["ETag"] == response.headers["ETag"]
    assert "token" not in read.json()["data"]
    assert data["token"] not in str(ProcrastinateJob.objects.get().args)

    assert run_jobs() == ["send_invitation"]
    letter = mail.outbox[0]
    assert letter.to == ["nia@new.example"]
    token = re.search(r'"token": "([^"]+)"', letter.body)[1]
    accepted = anonymous.post(ACCEPT, {"token": token, "name": "Nia", "password": PASSWORD})
    assert accepted.status_code == 201
    data = accepted.json()["data"]
    assert (data["user"]["name"], data["organization"]["slug"], data["role"]) == ("Nia", "acme", "editor")
    assert Membership.objects.get(user__email="nia@new.example").role == "editor"

    again = anonymous.post(ACCEPT, {"token": token, "name": "Nia", "password": PASSWORD})
    assert (again.status_code, list(again.json()["error"]["details"])) == (401, ["token"])
    assert admin.client.delete(response.headers["Location"]).status_code == 409


def test_invitation_of_somebody_with_an_account_needs_their_word(admin, outsider, anonymous):
    token = invite(admin, "oz@other.example", "viewer").json()["data"]["token"]
    assert anonymous.post(ACCEPT, {"token": token}).status_code == 401
    assert anonymous.post(ACCEPT, {"token": token, "password": "not the password"}).status_code == 401
    assert admin.client.post(ACCEPT, {"token": token}).status_code == 401
    key = outsider.client.post("/api/v1/api-keys", {"name": "k", "scopes": ["prompts:read"]}).json()["data"]
    by_key = APIClient(HTTP_AUTHORIZATION=f"Bearer {key['secret']}")
    assert by_key.post(ACCEPT, {"token": token}).status_code == 401
    assert not Membership.objects.filter(user=outsider.user, organization=admin.organization).exists()
    accepted = outsider.client.post(ACCEPT, {"token": token})
    assert accepted.status_code == 201
    assert accepted.json()["data"]["organization"]["slug"] == "acme"


def test_account_password_accepts_too(admin, outsider, anonymous):
    token = invite(admin, "oz@other.example").json()["data"]["token"]
    assert anonymous.post(ACCEPT, {"token": token, "password": PASSWORD}).status_code == 201


def test_new_person_needs_a_good_password(admin, anonymous):
    token = invite(admin).json()["data"]["token"]
    for body in ({}, {"password": "password123"}):
        response = anonymous.post(ACCEPT, {"token": token, **body})
        assert (response.status_code, list(response.json()["error"]["details"])) == (400, ["password"])
    assert not User.objects.filter(email="nia@new.example").exists()
    assert anonymous.post(ACCEPT, {"token": token, "password": PASSWORD}).status_code == 201


def test_revoked_expired_and_forged_invitations_are_refused(admin, anonymous):
    revoked = invite(admin, "r@new.example")
    assert admin.client.delete(revoked.headers["Location"]).status_code == 204
    assert admin.client.get(revoked.headers["Location"]).status_code == 404
    expired = invite(admin, "e@new.example").json()["data"]
    Invitation.objects.filter(id=expired["id"]).update(expires_at=timezone.now())
    good = invite(admin, "g@new.example").json()["data"]["token"]
    for token in (revoked.json()["data"]["token"], expired["token"], good[:-1] + "x", good.split(":")[0]):
        response = anonymous.post(ACCEPT, {"token": token, "password": PASSWORD})
        assert (response.status_code, list(response.json()["error"]["details"])) == (401, ["token"])
    assert invite(admin, "e@new.example").status_code == 201  # the expired one is no obstacle


def test_members_and_invited_people_are_not_invited_again(admin, editor):
    assert invite(admin, "eve@acme.example").status_code == 409
    assert invite(admin).status_code == 201
    assert invite(admin).status_code == 409
    assert ProcrastinateJob.objects.count() == 1


def test_resend_writes_again(admin, run_jobs):
    data = invite(admin).json()["data"]
    run_jobs()
    Invitation.objects.filter(id=data["id"]).update(expires_at=timezone.now())
    response = admin.client.post(f"{INVITATIONS}/{data['id']}/resend")
    assert response.status_code == 200
    assert response.json()["data"]["is_open"] is True
    assert run_jobs() == ["send_invitation"]
    assert len(mail.outbox) == 2


def test_letter_of_a_revoked_invitation_is_not_sent(admin, run_jobs):
    response = invite(admin)
    admin.client.delete(response.headers["Location"])
    assert run_jobs() == ["send_invitation"]
    assert mail.outbox == []


def test_line_breaks_in_a_name_do_not_reach_the_headers(admin, run_jobs):
    admin.organization.name = "Acme\r\nBcc: all@acme.example"
    admin.organization.save()
    invite(admin)
    run_jobs()
    assert mail.outbox[0].subject == "Invitation to Acme Bcc: all@acme.example"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "nia", "role": "editor"}, "email"),
        ({"email": "nia@new.example"}, "role"),
        ({"email": "nia@new.example", "role": "owner"}, "role"),
        ({"email": None, "role": "editor"}, "email"),
        ({"email": "nia@new.example", "role": "editor", "token": "x"}, "token"),
        ({"email": "nia@new.example\n", "role": "editor"}, "email"),
    ],
)
def test_bad_invitations_are_refused(admin, body, field):
    response = admin.client.post(INVITATIONS, body)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]
    assert not Invitation.objects.exists()


def test_invitations_of_another_organization_are_not_found(admin, outsider):
    theirs = invite(outsider).json()["data"]["id"]
    assert admin.client.get(INVITATIONS).json()["data"] == []
    for call in (admin.client.get, admin.client.delete):
        assert call(f"{INVITATIONS}/{theirs}").status_code == 404
    assert admin.client.post(f"{INVITATIONS}/{theirs}/resend").status_code == 404


def test_long_ended_invitations_are_purged(admin):
    old, new = invite(admin, "o@new.example").json()["data"], invite(admin).json()["data"]
    Invitation.objects.filter(id=old["id"]).update(expires_at="2020-01-01T00:00:00Z")
    purge_expired(timestamp=0)
    assert [str(i.id) for i in Invitation.objects.all()] == [new["id"]]


@pytest.mark.parametrize("path", [USERS, INVITATIONS])
def test_only_those_who_manage_users_see_them(editor, viewer, anonymous, path):
    assert editor.client.get(path).status_code == 403
    assert viewer.client.get(path).status_code == 403
    assert anonymous.get(path).status_code == 401
