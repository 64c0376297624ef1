"""Many at once for the last of a budget."""

from collections import Counter
from decimal import Decimal

from tests.faults.registry import fault
from tests.faults.stack import Stack
from tests.upstream import Behaviour

CALLS = 100


@fault("100 calls at once for the last of a budget")
def last_cent(stack: Stack) -> str:
    """A call holds at most a hundred output tokens and its input; the limit has room for a few."""
    prompt = stack.make_prompt()
    stack.upstream.answer_always(Behaviour(delay_s=0.3))
    budget = stack.data(
        "POST",
        "/billing/budgets",
        {"name": "last", "scope": "prompt", "scope_id": prompt["id"], "period": "day", "limit_usd": "0.001500"},
    )
    answers = stack.many(CALLS, lambda index: stack.execute(prompt, **({"mode": "async"} if index % 2 else {})))
    statuses = Counter(answer.status_code for answer in answers)
    stack.settle()
    assert set(statuses) <= {200, 202, 402}, statuses
    assert statuses[402] > CALLS / 2, statuses
    refused = next(answer for answer in answers if answer.status_code == 402).json()["error"]
    assert (refused["code"], refused["details"]["budget_name"]) == ("BUDGET_EXCEEDED", "last"), refused
    now = stack.data("GET", f"/billing/budgets/{budget['id']}")
    spent = Decimal(stack.scalar("SELECT spent_usd FROM executions_budgetspend WHERE budget_id = %s", budget["id"]))
    assert 0 < spent <= Decimal(now["limit_usd"]), spent
    through = statuses[200] + statuses[202]
    return f"{through} let through, {statuses[402]} refused, {spent.normalize():f} USD spent of {now['limit_usd']}"
