"""Operators see what versions still need, and approve as members do."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from apps.evaluations.models import PromotionApproval
from apps.users.models import Membership, User

pytestmark = pytest.mark.django_db
PAGES = "/admin/evaluations/promotionpolicy"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def operator(organization):
    """Also a member, so that approvals count."""
    user = User.objects.create_superuser("op@example.com", "correct horse battery")
    Membership.objects.create(organization=organization, user=user, role="editor")
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def looker():
    user = User.objects.create_user("look@example.com", "correct horse battery", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_promotionpolicy"]))
    client = Client()
    client.force_login(user)
    return client


def page_of(governed):
    return f"{PAGES}/{governed.policy['id']}/change/"


def test_the_page_says_what_each_version_needs(governed, operator):
    governed.guard(min_approvals=1)
    assert "production" in operator.get(f"{PAGES}/").content.decode()
    shown = operator.get(page_of(governed)).content.decode()
    for said in ("was not put through the policy", "0 of 1", "The label points here.", "Your decision"):
        assert said in shown
    assert operator.get("/admin/evaluations/promotionapproval/").status_code == 200


def test_an_operator_who_is_a_member_approves_and_it_counts(governed, operator):
    governed.guard(min_approvals=1)
    governed.put_through(2)
    answer = operator.post(page_of(governed), {"version": 2, "decision": "approve", "comment": EVIL}, follow=True)
    assert "Version 2: approve." in answer.content.decode()
    assert governed.missing(2) == []
    approval = PromotionApproval.objects.get()
    listed = operator.get(f"/admin/evaluations/promotionapproval/{approval.id}/change/").content.decode()
    assert EVIL not in listed


@pytest.mark.parametrize(
    "body",
    [
        {"version": 9, "decision": "approve"},
        {"version": "x", "decision": "approve"},
        {"version": 2, "decision": "perhaps"},
        {"decision": "approve"},
        {"version": 2, "decision": "approve", "comment": "\x00"},
    ],
)
def test_what_makes_no_sense_is_said_on_the_page(governed_prompt, operator, body):
    governed_prompt.guard()
    answer = operator.post(page_of(governed_prompt), body)
    assert answer.status_code == 200
    assert "wf-failure" in answer.content.decode()
    assert not PromotionApproval.objects.exists()


def test_who_is_no_member_approves_nothing(governed_prompt, operator):
    governed_prompt.guard()
    Membership.objects.filter(user__email="op@example.com").delete()
    answer = operator.post(page_of(governed_prompt), {"version": 2, "decision": "approve"})
    assert "Members with prompts:update decide." in answer.content.decode()
    assert not PromotionApproval.objects.exists()


def test_who_may_only_look_decides_nothing(governed_prompt, looker, client):
    governed_prompt.guard()
    assert "Your decision" not in looker.get(page_of(governed_prompt)).content.decode()
    assert looker.post(page_of(governed_prompt), {"version": 2, "decision": "approve"}).status_code == 403
    assert client.get(page_of(governed_prompt)).status_code == 302
    assert looker.get(f"{PAGES}/odd/change/").status_code == 404
