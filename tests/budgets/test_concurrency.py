"""A hundred calls for the last cent, and ends and reservations that meet: against the real database, in threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.utils import timezone

from apps.executions import orchestrator
from apps.executions.models import Budget, BudgetSpend, Execution, Reservation, Status
from apps.executions.orchestrator import Command, budgeting, recording
from apps.executions.sweeping import fail_interrupted
from everquant.api.errors import BudgetExceeded
from tests.budgets.conftest import state

pytestmark = pytest.mark.django_db(transaction=True)
CALLS, THREADS = 100, 12


@pytest.fixture
def command(editor, prompt):
    return Command(
        organization_id=editor.organization.id,
        prompt_id=prompt["id"],
        variables={"name": "Ada"},
        parameters={"max_tokens": 10},
        created_by_id=editor.user.id,
    )


def in_threads(work, count=CALLS):
    def one(number):
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(one, range(count)))


def ledger() -> Decimal:
    return sum((cost for cost in Execution.objects.values_list("cost_usd", flat=True) if cost), Decimal(0))


def test_a_hundred_calls_for_the_last_cent(command, make_budget, editor):
    hard = Budget.objects.get(id=make_budget("0.005", alert_at=[0.5, 1])["id"])
    others = [make_budget("9", period="day"), make_budget("9", scope="user", scope_id=str(editor.user.id))]
    seen, refused_by, is_over = [], set(), threading.Event()

    def watch():
        while not is_over.wait(0.005):
            spend = BudgetSpend.objects.get(budget=hard)
            seen.append(spend.spent_usd + spend.reserved_usd)
        connection.close()

    def call(_):
        try:
            return orchestrator.execute(command).has_succeeded
        except BudgetExceeded as error:
            refused_by.add(error.details["budget_id"])
            return False

    watcher = threading.Thread(target=watch)
    watcher.start()
    answered = in_threads(call)
    is_over.set()
    watcher.join(10)
    assert 0 < answered.count(True) < CALLS
    assert refused_by == {str(hard.id)}
    assert seen
    assert max(seen) <= hard.limit_usd
    spent, reserved = state(hard.id)
    assert (spent, reserved) == (ledger(), 0)
    assert [state(budget["id"]) for budget in others] == [(ledger(), 0)] * 2
    assert not Reservation.objects.exists()
    assert Execution.objects.count() == answered.count(True)
    assert hard.alerts.count() == len([share for share in (0.5, 1) if spent >= hard.limit_usd * Decimal(str(share))])


def test_ends_meet_and_none_waits_in_a_circle(command, make_budget, editor, prompt):
    """Calls, sweeps, cancels and new budgets at once: no deadlock, and spent is the sum of the ledger."""
    budgets = [
        make_budget("9", scope="prompt", scope_id=prompt["id"]),
        make_budget("9", scope="user", scope_id=str(editor.user.id), period="day"),
        make_budget("9", period="day"),
    ]

    def work(number):
        if number % 10 == 5:
            fail_interrupted()
        elif number == 37:
            budgets.append(make_budget("9", is_hard=False))
        elif number % 3:
            orchestrator.execute(command)
        else:
            execution = orchestrator.prepare(command).execution
            if number % 2:
                return execution.cancel()
            past = timezone.now() - timedelta(seconds=1)
            Execution.objects.filter(id=execution.id).update(lease_expires_at=past)
        return None

    in_threads(work)
    fail_interrupted()
    assert not Execution.objects.exclude(status__in=[Status.SUCCEEDED, Status.FAILED, Status.CANCELLED]).exists()
    assert len(budgets) == 4
    assert [state(budget["id"]) for budget in budgets] == [(ledger(), 0)] * 4
    assert not Reservation.objects.exists()


def test_nothing_is_reserved_for_what_has_ended(command, make_budget):
    prepared = orchestrator.prepare(command)
    budget = make_budget("1")
    assert prepared.execution.cancel()
    with budgeting.Hold(prepared.execution, prepared.plan).reserved() as reservation:
        recording.send(reservation)
    assert reservation
    assert state(budget["id"]) == (0, 0)
    assert not Reservation.objects.exists()
