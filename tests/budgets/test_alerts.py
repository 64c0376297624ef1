"""A share of a budget that is reached is told of once a period."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.utils import timezone

from apps.executions.budgets import tasks
from apps.executions.budgets.alerts import announce_alerts
from apps.executions.models import Budget, BudgetAlert, Execution
from apps.organizations.models import WebhookDelivery, WebhookEndpoint
from tests.budgets.conftest import BUDGETS

pytestmark = pytest.mark.django_db
COST = Decimal("0.000119375")


@pytest.fixture(autouse=True)
def _mails_are_kept(settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"


def test_each_share_is_told_of_once(execute, prompt, make_budget, run_jobs, admin, editor):
    make_budget("0.0003", is_hard=False, alert_at=[0.3, 0.75, 1], name="Team\u2028budget")
    for _ in range(4):
        execute(prompt)
        announce_alerts()
    assert set(run_jobs()) == {"send_budget_alert"}
    assert list(BudgetAlert.objects.values_list("share", flat=True).order_by("share")) == [0.3, 0.75, 1.0]
    assert [letter.to for letter in mail.outbox] == [[admin.user.email]] * 3
    assert sorted(letter.subject for letter in mail.outbox) == [
        "Budget Team budget: 100% spent",
        "Budget Team budget: 30% spent",
        "Budget Team budget: 75% spent",
    ]
    assert "0.000300 USD" in mail.outbox[0].body
    execute(prompt)
    assert announce_alerts() == 0


def test_one_call_may_cross_several(execute, prompt, make_budget):
    make_budget("0.0001", is_hard=False, alert_at=[0.5, 1])
    execute(prompt)
    assert announce_alerts() == 2
    assert {alert.spent_usd for alert in BudgetAlert.objects.all()} == {COST}


def test_webhooks_are_told(execute, prompt, make_budget, organization):
    endpoint = WebhookEndpoint(
        organization=organization, name="h", url="https://example.com/hook", event_types=["budget.alert"]
    )
    endpoint.set_secret("whsec_x")
    endpoint.save()
    budget = make_budget("0.0001", is_hard=False, alert_at=[1])
    execute(prompt)
    announce_alerts()
    delivery = WebhookDelivery.objects.get(endpoint=endpoint)
    assert delivery.payload["data"]["budget_id"] == budget["id"]
    assert delivery.payload["data"]["share"] == 1.0


def test_a_period_of_its_own_each(execute, prompt, make_budget):
    budget = Budget.objects.get(id=make_budget("0.0001", is_hard=False, period="day", alert_at=[1])["id"])
    execute(prompt)
    yesterday = budget.period_start(timezone.now() - timedelta(days=1))
    BudgetAlert.objects.update(period_start=yesterday)
    execute(prompt)
    assert BudgetAlert.objects.count() == 2


def test_below_the_share_nothing_is_told(execute, prompt, make_budget, admin):
    budget = make_budget("1", alert_at=[0.01])
    execute(prompt)
    assert announce_alerts() == 0
    admin.client.patch(f"{BUDGETS}/{budget['id']}", {"limit_usd": "0.001", "is_hard": False})
    execute(prompt)
    assert announce_alerts() == 1


def test_repricing_of_the_past_alerts_nobody(execute, prompt, make_budget):
    budget = Budget.objects.get(id=make_budget("0.01", is_hard=False, period="day", alert_at=[1])["id"])
    execute(prompt)
    Budget.objects.filter(id=budget.id).update(created_at=timezone.now() - timedelta(days=9))
    Execution.objects.update(created_at=timezone.now() - timedelta(days=3))
    Execution.objects.update(cost_usd=Decimal(1))
    assert not BudgetAlert.objects.exists()


def test_the_periodic_job_tells(execute, prompt, make_budget, run_jobs):
    make_budget("0.0001", is_hard=False, alert_at=[1])
    execute(prompt)
    tasks.announce_budget_alerts(0)
    assert run_jobs() == ["send_budget_alert"]
    assert len(mail.outbox) == 1
