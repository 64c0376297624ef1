"""Any order of reserving, ending, correcting and changing budgets, beside a plain model of what must come of it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from apps.executions.budgets.services import create_budget, update_budget
from apps.executions.models import TERMINAL, Budget, BudgetSpend, Execution, Reservation, Status
from apps.executions.orchestrator import budgeting, recording
from apps.organizations.models import Organization
from everquant.api.errors import BudgetExceeded
from everquant.db import uuid7

AMOUNTS = st.decimals("0", "3", places=3)
LIMITS = st.decimals("0.5", "8", places=3)
DAYS = st.integers(0, 2)
PROMPTS = (uuid4(), uuid4())


@dataclass
class Call:
    """What the plain model knows of an execution; `held` is per budget."""

    row: Execution
    held: dict
    cost: Decimal | None = None
    is_over: bool = False


class Spending(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.organization = Organization.objects.create(name="O", slug=f"o-{uuid4()}")
        self.calls: list[Call] = []
        self.budgets: dict = {}
        self.add_budget("organization", None, "day", Decimal(5), True)

    def add_budget(self, scope, scope_id, period, limit, is_hard):
        budget = create_budget(
            organization_id=self.organization.id,
            name="B",
            scope=scope,
            scope_id=scope_id,
            period=period,
            limit_usd=limit,
            is_hard=is_hard,
        )
        # as if it had been there for long, so that calls of several days count
        Budget.objects.filter(id=budget.id).update(created_at=timezone.now() - timedelta(days=70))
        self.budgets[budget.id] = budget

    def applies(self, budget, row) -> bool:
        return budget.scope == "organization" or budget.scope_id == row.prompt_id

    def spent(self, budget, period_start) -> Decimal:
        return sum(
            (
                call.cost
                for call in self.calls
                if call.is_over
                and call.cost
                and self.applies(budget, call.row)
                and budget.period_start(call.row.created_at) == period_start
            ),
            Decimal(0),
        )

    def reserved(self, budget, period_start) -> Decimal:
        held = (call.held.get((budget.id, period_start), Decimal(0)) for call in self.calls if not call.is_over)
        return sum(held, Decimal(0))

    @precondition(lambda self: not self.calls and len(self.budgets) < 4)
    @rule(
        prompt=st.sampled_from([None, *PROMPTS]),
        period=st.sampled_from(["day", "month"]),
        limit=LIMITS,
        is_hard=st.booleans(),
    )
    def another_budget(self, prompt, period, limit, is_hard):
        scope = "prompt" if prompt else "organization"
        if any((b.scope_id, b.period, b.is_hard) == (prompt, period, is_hard) for b in self.budgets.values()):
            return
        budget = Budget(organization=self.organization, name="B", scope=scope, scope_id=prompt, period=period)
        budget.limit_usd, budget.is_hard = limit, is_hard
        budget.save()
        Budget.objects.filter(id=budget.id).update(created_at=timezone.now() - timedelta(days=70))
        self.budgets[budget.id] = budget

    @rule(budget=st.integers(0, 3), limit=LIMITS, is_active=st.booleans())
    def change_budget(self, budget, limit, is_active):
        chosen = list(self.budgets.values())[budget % len(self.budgets)]
        update_budget(budget=chosen, limit_usd=limit, is_active=is_active)

    @rule(amount=AMOUNTS, day=DAYS, prompt=st.sampled_from(PROMPTS), is_running=st.booleans())
    def reserve(self, amount, day, prompt, is_running):
        made_at = datetime.now(UTC) - timedelta(days=20 * day)
        running = {"status": Status.RUNNING, "started_at": made_at, "lease_expires_at": made_at}
        row = Execution(id=uuid7(), organization_id=self.organization.id, prompt_id=prompt, created_at=made_at)
        for name, value in running.items() if is_running else ():
            setattr(row, name, value)
        applying = [b for b in self.budgets.values() if b.is_active and self.applies(b, row)]
        held = {(b.id, b.period_start(made_at)): amount for b in applying}
        is_refused = any(
            b.is_hard and self.spent(b, start) + self.reserved(b, start) + amount > b.limit_usd
            for b in applying
            for start in [b.period_start(made_at)]
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
                with budgeting.reserving(row, amount, None, is_new=is_running) as reservation:
                    recording.send(reservation)
        except BudgetExceeded:
            assert is_refused
            return
        assert not is_refused
        self.calls.append(Call(row, held))

    @precondition(lambda self: any(not call.is_over for call in self.calls))
    @rule(data=st.data(), cost=st.none() | AMOUNTS, status=st.sampled_from(TERMINAL))
    def end(self, data, cost, status):
        call = data.draw(st.sampled_from([call for call in self.calls if not call.is_over]))
        code = "X" if status == Status.FAILED else ""
        price = None if cost is None else {}
        Execution.objects.filter(id=call.row.id).update(
            status=status, error_code=code, finished_at=timezone.now(), cost_usd=cost, price=price
        )
        call.cost, call.is_over = cost, True

    @precondition(lambda self: any(call.is_over for call in self.calls))
    @rule(data=st.data(), cost=AMOUNTS)
    def correct(self, data, cost):
        call = data.draw(st.sampled_from([call for call in self.calls if call.is_over]))
        Execution.objects.filter(id=call.row.id).update(cost_usd=cost, price={})
        call.cost = cost

    @rule()
    def end_all_at_once(self):
        unfinished = Execution.objects.for_organization(self.organization.id).exclude(status__in=TERMINAL)
        unfinished.update(status=Status.FAILED, error_code="INTERRUPTED", finished_at=timezone.now())
        for call in self.calls:
            call.is_over = True

    @invariant()
    def books_agree(self):
        for spend in BudgetSpend.objects.filter(budget__in=self.budgets):
            budget = self.budgets[spend.budget_id]
            expected = (self.spent(budget, spend.period_start), self.reserved(budget, spend.period_start))
            assert (spend.spent_usd, spend.reserved_usd) == expected
        for budget in self.budgets.values():
            for call in self.calls:
                if call.is_over and call.cost and self.applies(budget, call.row):
                    start = budget.period_start(call.row.created_at)
                    assert budget.spends.filter(period_start=start).exists()
        held = sum(len(call.held) for call in self.calls if not call.is_over)
        assert Reservation.objects.filter(budget__in=self.budgets).count() == held


@pytest.mark.django_db
def test_the_books_agree_after_any_history():
    run_state_machine_as_test(
        Spending,
        settings=settings(
            max_examples=12,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
