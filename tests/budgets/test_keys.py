"""A key is claimed, its cost held and its execution stored in one statement: all of it or nothing, and once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from apps.executions.models import Budget, Execution, Reservation
from everquant.api.models import KEPT_FOR, IdempotencyKey
from tests.budgets.conftest import state
from tests.executions.conftest import PROMPTS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def post(editor, prompt):
    def send(status, key="k-1", name="Ada"):
        body = {"variables": {"name": name}, "parameters": {"max_tokens": 10}}
        url = f"{PROMPTS}/{prompt['id']}/execute"
        response = editor.client.post(url, body, headers={"Idempotency-Key": key})
        assert response.status_code == status, response.content
        return response.json()

    return send


def test_what_a_budget_refuses_keeps_no_key_and_holds_nothing(post, make_budget, upstream):
    budget = Budget.objects.get(id=make_budget("0.00001")["id"])
    assert post(402)["error"]["code"] == "BUDGET_EXCEEDED"
    kept = IdempotencyKey.objects.exists(), Execution.objects.exists(), Reservation.objects.exists()
    assert (kept, state(budget.id), upstream.request_count) == ((False, False, False), (0, 0), 0)
    budget.limit_usd = 5
    budget.save()
    post(200)


def test_an_exhausted_budget_refuses_no_repetition_and_counts_it_once(post, make_budget, upstream):
    budget = Budget.objects.get(id=make_budget("5")["id"])
    first = post(200)
    spent, _ = state(budget.id)
    budget.limit_usd = spent
    budget.save()
    assert spent > 0
    assert post(200)["data"] == first["data"]
    post(409, name="Grace")
    assert post(402, key="k-2")["error"]["code"] == "BUDGET_EXCEEDED"
    assert (state(budget.id), upstream.request_count, Execution.objects.count()) == ((spent, 0), 1, 1)


def test_a_key_that_has_had_its_day_is_free(post, make_budget, upstream):
    make_budget("5")
    first = post(200)["data"]["id"]
    IdempotencyKey.objects.update(created_at=F("created_at") - KEPT_FOR - timedelta(seconds=1))
    again = post(200)["data"]["id"]
    assert again != first
    assert str(IdempotencyKey.objects.get(created_at__gt=timezone.now() - KEPT_FOR).id) == again
    assert upstream.request_count == 2


def test_the_same_key_at_once_within_a_budget_is_one_call(post, make_budget, upstream):
    budget = make_budget("5")

    def once(_):
        try:
            return post(200)["data"]["id"]
        finally:
            connection.close()

    with ThreadPoolExecutor(12) as pool:
        ids = set(pool.map(once, range(24)))
    assert (len(ids), upstream.request_count, Execution.objects.count()) == (1, 1, 1)
    assert (state(budget["id"])[1], Reservation.objects.count()) == (0, 0)
