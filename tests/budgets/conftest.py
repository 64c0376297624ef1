from decimal import Decimal

import pytest
from django.utils import timezone

from apps.executions.models import Budget, BudgetSpend
from tests.executions.conftest import execute, make_model, make_prompt, model, prompt

__all__ = ["execute", "make_model", "make_prompt", "model", "prompt"]

BUDGETS = "/api/v1/billing/budgets"


@pytest.fixture
def make_budget(admin):
    """A budget over HTTP."""

    def make(limit_usd="1", *, person=admin, status=201, **fields):
        body = {"name": "All", "scope": "organization", "period": "month", "limit_usd": limit_usd, **fields}
        answer = person.client.post(BUDGETS, body)
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status == 201 else "error"]

    return make


def state(budget_id) -> tuple[Decimal, Decimal]:
    """What is spent and what is reserved in the current period."""
    budget = Budget.objects.get(id=budget_id)
    spend = BudgetSpend.objects.filter(budget=budget, period_start=budget.period_start(timezone.now())).first()
    return (spend.spent_usd, spend.reserved_usd) if spend else (Decimal(0), Decimal(0))
