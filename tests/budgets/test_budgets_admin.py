"""Operators see and make budgets; what one is for stays."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from apps.executions.models import Budget
from apps.users.models import User
from tests.budgets.conftest import state

pytestmark = pytest.mark.django_db
ADD = "admin:executions_budget_add"
CHANGE = "admin:executions_budget_change"
FORM = {"name": "Team", "scope": "organization", "period": "month", "limit_usd": "5", "is_hard": "on", "alert_at": "1"}


@pytest.fixture
def operator(db):
    client = Client()
    client.force_login(User.objects.create_superuser("op@acme.example", "correct horse battery"))
    return client


def test_list_and_page_show_what_is_spent(operator, execute, prompt, make_budget):
    budget = make_budget("0.001", name="Team", is_hard=False, alert_at=[0.1])
    execute(prompt)
    assert "0.000119375" in operator.get(reverse("admin:executions_budget_changelist")).content.decode()
    page = operator.get(reverse(CHANGE, args=[budget["id"]])).content.decode()
    assert "0.000119375" in page
    assert "10%" in page


def test_a_budget_made_here_knows_the_ledger(operator, execute, prompt, organization):
    execute(prompt)
    answer = operator.post(reverse(ADD), {**FORM, "organization": str(organization.id), "is_active": "on"})
    assert answer.status_code == 302, answer.content
    assert state(Budget.objects.get().id) == (Decimal("0.000119375"), 0)


@pytest.mark.parametrize(
    "wrong", [{"limit_usd": "0"}, {"scope": "user"}, {"scope_id": "0199b0a4-0000-7000-8000-000000000000"}], ids=str
)
def test_refused(operator, organization, wrong):
    answer = operator.post(reverse(ADD), {**FORM, "organization": str(organization.id), **wrong})
    assert answer.status_code == 200
    assert not Budget.objects.exists()


def test_what_it_is_for_cannot_be_changed(operator, make_budget, viewer):
    budget = make_budget()
    body = {**FORM, "limit_usd": "7", "scope": "user", "scope_id": str(viewer.user.id), "period": "day"}
    assert operator.post(reverse(CHANGE, args=[budget["id"]]), body).status_code == 302
    stored = Budget.objects.get()
    assert (stored.limit_usd, stored.scope, stored.scope_id, stored.period) == (7, "organization", None, "month")
