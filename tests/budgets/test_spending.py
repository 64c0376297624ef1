"""Reserved before, settled after, on every way that an execution can end."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from apps.executions import orchestrator
from apps.executions.models import Budget, BudgetSpend, Execution, Reservation, Status
from apps.executions.orchestrator import Command, budgeting, recording
from apps.executions.sweeping import fail_interrupted
from apps.users.models import ApiKey
from everquant.api.errors import BudgetExceeded
from tests.budgets.conftest import BUDGETS, state
from tests.conftest import Client
from tests.executions.conftest import PROMPTS, stand_in
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
# Of the upstream's usual answer, see tests/executions/test_execute.py.
COST = Decimal("0.000119375")


@pytest.fixture
def prepare(editor, prompt):
    """An execution that is stored and not called yet."""

    def make(**fields):
        command = Command(
            organization_id=editor.organization.id,
            prompt_id=prompt["id"],
            variables={"name": "Ada"},
            created_by_id=editor.user.id,
            **fields,
        )
        return orchestrator.prepare(command)

    return make


def test_the_cost_is_spent_and_nothing_stays_reserved(execute, prompt, make_budget, admin):
    budget = make_budget("1")
    assert Decimal(execute(prompt)["cost_usd"]) == COST
    execute(prompt)
    assert state(budget["id"]) == (2 * COST, 0)
    assert not Reservation.objects.exists()
    current = admin.client.get(f"{BUDGETS}/{budget['id']}").json()["data"]["current"]
    assert (Decimal(current["spent_usd"]), Decimal(current["remaining_usd"])) == (2 * COST, 1 - 2 * COST)


def test_while_it_runs_the_most_that_it_may_cost_is_reserved(prepare, make_budget):
    budget = make_budget("1")
    prepared = prepare(parameters={"max_tokens": 1000})
    spent, reserved = state(budget["id"])
    # 43 bytes of JSON, 16 for the message, 64 for the call; 1.25 and 10 USD a million
    tokens = len('[{"role":"user","content":"Hello, Ada!"}]') + 16 + 64
    assert (spent, reserved) == (0, (tokens * Decimal("1.25") + 1000 * 10) / 10**6)
    assert Reservation.objects.get().execution_id == prepared.execution.id
    orchestrator.run(prepared)
    assert state(budget["id"]) == (COST, 0)


@pytest.mark.parametrize("mine", ["organization", "user", "api_key", "prompt"])
def test_only_the_budgets_that_apply_count(mine, execute, prompt, make_prompt, make_budget, editor, viewer):
    keys = [
        ApiKey(organization=editor.organization, user=editor.user, name=n, scopes=["prompts:execute"]) for n in "ab"
    ]
    secrets = [key.give_secret() for key in keys]
    for key in keys:
        key.save()
    own = {"user": editor.user.id, "api_key": keys[0].id, "prompt": prompt["id"]}
    others = {"user": viewer.user.id, "api_key": keys[1].id, "prompt": make_prompt()["id"]}
    scope_id = {"scope_id": str(own[mine])} if mine in own else {}
    counted = make_budget("1", scope=mine, **scope_id)
    left = [make_budget("1", scope=scope, scope_id=str(other)) for scope, other in others.items()]
    client = Client(HTTP_AUTHORIZATION=f"Bearer {secrets[0]}", raise_request_exception=False)
    execute(prompt, client=client)
    assert state(counted["id"]) == (COST, 0)
    assert [state(budget["id"]) for budget in left] == [(0, 0)] * 3


def test_an_exhausted_budget_is_refused_before_the_call_and_named(execute, prompt, make_budget, upstream):
    make_budget("5", name="Large")
    small = make_budget("0.00001", name="Small", period="day")
    error = execute(prompt, status=402)
    assert error["code"] == "BUDGET_EXCEEDED"
    details = error["details"]
    assert (details["budget_id"], details["budget_name"]) == (small["id"], "Small")
    assert (details["scope"], details["period"], details["limit_usd"]) == ("organization", "day", "0.00001")
    assert (details["spent_usd"], details["reserved_usd"]) == ("0", "0")
    assert Decimal(details["amount_usd"]) > Decimal("0.04")
    assert not upstream.requests
    assert not Execution.objects.exists()
    assert not Reservation.objects.exists()
    assert {state(budget.id) for budget in Budget.objects.all()} == {(0, 0)}


def test_what_exactly_fits_is_not_refused(prepare, make_budget, admin):
    budget = make_budget("1")
    first = prepare(parameters={"max_tokens": 100})
    amount = state(budget["id"])[1]
    orchestrator.run(first)
    path = f"{BUDGETS}/{budget['id']}"
    for limit, is_refused in ((COST + amount - Decimal("0.000001"), True), (COST + amount, False)):
        rounded = f"{limit.quantize(Decimal('0.000001'), rounding='ROUND_UP' if not is_refused else 'ROUND_DOWN')}"
        assert admin.client.patch(path, {"limit_usd": rounded}).status_code == 200
        if is_refused:
            with pytest.raises(BudgetExceeded):
                prepare(parameters={"max_tokens": 100})
        else:
            orchestrator.run(prepare(parameters={"max_tokens": 100}))
    assert state(budget["id"]) == (2 * COST, 0)


def test_alert_only_and_inactive_budgets_refuse_nothing(execute, prompt, make_budget, admin):
    soft = make_budget("0.000001", is_hard=False)
    off = make_budget("0.000001", period="day", is_active=False)
    execute(prompt)
    assert state(soft["id"]) == state(off["id"]) == (COST, 0)
    assert admin.client.patch(f"{BUDGETS}/{off['id']}", {"is_active": True}).status_code == 200
    execute(prompt, status=402)


def test_an_unknown_price_is_refused_by_a_hard_budget_only(execute, make_prompt, make_model, make_budget, admin):
    no_price = {"input_price_usd": None, "cached_input_price_usd": None, "output_price_usd": None}
    model = make_model("unheard-of", is_default=True, **no_price)
    prompt = make_prompt()
    budget = make_budget("5", is_hard=False)
    assert execute(prompt)["cost_usd"] is None
    assert state(budget["id"]) == (0, 0)
    admin.client.patch(f"{BUDGETS}/{budget['id']}", {"is_hard": True})
    error = execute(prompt, status=402)
    assert error["details"]["model_id"] == str(model.id)
    assert "price" in error["message"]


def test_a_fallback_counts_with_its_own_price(execute, make_prompt, make_model, make_budget, upstream):
    cheap = make_model("fault-500", is_default=True, output_price_usd="1")
    dear = make_model("gpt-dear", output_price_usd="100", max_output_tokens=1000)
    stand_in(cheap, dear)
    prompt = make_prompt()
    make_budget("0.05")
    assert execute(prompt, status=402)["code"] == "BUDGET_EXCEEDED"
    budget = make_budget("0.2", is_hard=False)
    Budget.objects.filter(is_hard=True).delete()
    answer = execute(prompt)
    assert answer["model_id"] == str(dear.id)
    assert state(budget["id"]) == (Decimal(answer["cost_usd"]), 0)
    assert Decimal(answer["cost_usd"]) > COST


@pytest.mark.parametrize("model_name", ["fault-400", "fault-500", "fault-429-retry-after-0.01", "fault-invalid-json"])
def test_a_failed_call_settles_at_what_was_used(model_name, execute, make_prompt, make_model, make_budget):
    make_model(model_name, is_default=True)
    budget = make_budget("1")
    prompt = make_prompt()
    client_error = {"fault-429-retry-after-0.01": 429}.get(model_name, 502)
    execute(prompt, status=client_error)
    execution = Execution.objects.get()
    assert execution.status == Status.FAILED
    assert state(budget["id"]) == (execution.cost_usd or 0, 0)
    assert not Reservation.objects.exists()


@pytest.mark.parametrize("end", ["fail", "cancel", "sweep"])
def test_what_ends_without_an_answer_releases(end, prepare, make_budget):
    budget = make_budget("1")
    execution = prepare().execution
    assert state(budget["id"])[1] > 0
    if end == "fail":
        assert execution.fail(code="INTERNAL", message="x")
    elif end == "cancel":
        assert execution.cancel()
    else:
        Execution.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        assert fail_interrupted() == 1
    assert state(budget["id"]) == (0, 0)
    assert not Reservation.objects.exists()


def test_an_end_that_comes_too_late_settles_nothing(prepare, make_budget):
    budget = make_budget("1")
    prepared = prepare()
    Execution.objects.get(id=prepared.execution.id).cancel()
    orchestrator.run(prepared)
    assert Execution.objects.get().status == Status.CANCELLED
    assert state(budget["id"]) == (0, 0)


def test_reserving_again_for_the_same_execution_changes_nothing(prepare, make_budget):
    budget = make_budget("1")
    prepared = prepare()
    before = state(budget["id"])
    with budgeting.Hold(prepared.execution, prepared.plan).reserved() as reservation:
        recording.send(reservation)
    assert reservation
    assert state(budget["id"]) == before


def test_it_counts_in_the_period_in_which_it_was_made(prepare, make_budget):
    budget = Budget.objects.get(id=make_budget("1", period="day")["id"])
    Budget.objects.filter(id=budget.id).update(created_at=timezone.now() - timedelta(days=3))
    prepared = prepare()
    yesterday = timezone.now() - timedelta(days=1)
    Execution.objects.update(created_at=yesterday)
    Reservation.objects.update(period_start=budget.period_start(yesterday))
    BudgetSpend.objects.update(period_start=budget.period_start(yesterday))
    orchestrator.run(prepared)
    spend = BudgetSpend.objects.get()
    assert (spend.period_start, spend.spent_usd, spend.reserved_usd) == (budget.period_start(yesterday), COST, 0)


def test_a_new_budget_has_spent_what_its_period_has_cost(execute, prompt, make_budget, prepare, editor, viewer):
    execute(prompt)
    running = prepare()
    budgets = [make_budget("1"), make_budget("1", scope="prompt", scope_id=prompt["id"])]
    others = make_budget("1", scope="user", scope_id=str(viewer.user.id))
    assert [state(budget["id"]) for budget in (*budgets, others)] == [(COST, 0), (COST, 0), (0, 0)]
    orchestrator.run(running)
    assert [state(budget["id"])[0] for budget in budgets] == [2 * COST, 2 * COST]


def test_a_corrected_cost_corrects_what_is_spent(execute, prompt, make_budget):
    budget = make_budget("1")
    execute(prompt)
    Execution.objects.update(cost_usd=Decimal("0.00005"))
    assert state(budget["id"]) == (Decimal("0.00005"), 0)
    Execution.objects.update(cost_usd=None, price=None)
    assert state(budget["id"]) == (0, 0)


def test_a_budget_deleted_while_a_call_runs_is_in_nobodys_way(prepare, make_budget, admin):
    kept, deleted = make_budget("1"), make_budget("1", period="day")
    prepared = prepare()
    assert admin.client.delete(f"{BUDGETS}/{deleted['id']}").status_code == 204
    assert orchestrator.run(prepared).has_succeeded
    assert state(kept["id"]) == (COST, 0)
    assert not Reservation.objects.exists()


def test_no_budget_no_statement(execute, prompt, django_assert_num_queries):
    execute(prompt)
    with django_assert_num_queries(2):
        execute(prompt)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("behaviour", "status"), [({}, Status.SUCCEEDED), ({"cut": True}, Status.FAILED)], ids=["whole", "cut"]
)
def test_a_stream_is_settled(behaviour, status, editor, make_budget, prompt, upstream):
    upstream.answer_always(Behaviour(text="one two three", **behaviour))
    budget = make_budget("1")
    answer = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {"variables": {"name": "Ada"}, "stream": True})
    assert answer.status_code == 200
    b"".join(answer.streaming_content)
    execution = Execution.objects.get()
    assert execution.status == status
    assert state(budget["id"]) == (execution.cost_usd or 0, 0)
