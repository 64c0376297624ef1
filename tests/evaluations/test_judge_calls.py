"""What evaluators call models with: one call for a key, within limits and budgets, recorded and paid for."""

import threading
import time
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import orjson
import pytest
from django.utils import timezone

from apps.evaluations.judging.calling import MAX_BEGINNINGS, caller_for
from apps.executions.models import INTERRUPTED, Execution, Source, Status
from apps.models.models import Capability
from apps.models.providers.cancellation import Cancellation
from apps.workflows.evaluating import EvaluationError
from tests.budgets.conftest import make_budget, state  # noqa: F401 (fixture)
from tests.executions.conftest import stand_in
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
MESSAGES = [{"role": "user", "content": "Judge this."}]
# 13 + 5 cached + 2 written and 10 tokens of output at the prices of make_model.
ONE_CALL = Decimal("0.000119375")


@pytest.fixture
def caller(organization, editor):
    def make(prefix="case-1", **fields):
        common = {"organization_id": organization.id, "created_by_id": editor.user.id, "api_key_id": None}
        return caller_for(**common, key_prefix=prefix, **fields)

    return make


@pytest.fixture
def embedding_model(make_model):
    # Providers name no price of output for these.
    return make_model("text-embedding-3", capabilities=[Capability.EMBEDDINGS], output_price_usd=None)


def ask(caller, model, key="vote-0", **fields):
    return caller.ask(key=key, model_id=model.id, messages=MESSAGES, **fields)


def test_a_call_is_recorded_and_paid_for(caller, model, editor, organization):
    answer = ask(caller(), model, parameters={"temperature": 0})
    assert (answer.text, answer.cost_usd) == ("You said: Judge this.", ONE_CALL)
    execution = Execution.objects.get()
    assert (execution.id, execution.source, execution.status) == (answer.execution_id, Source.JUDGE, Status.SUCCEEDED)
    assert (execution.organization_id, execution.created_by_id) == (organization.id, editor.user.id)
    assert (execution.payload.parameters, execution.prompt_id) == ({"temperature": 0}, None)


def test_a_key_is_one_call_however_often_it_is_asked_for(caller, model, upstream):
    first, again = ask(caller(), model), ask(caller(), model)
    assert first == again
    assert upstream.request_count == 1
    ask(caller(), model, "vote-1")
    ask(caller("case-2"), model)
    assert upstream.request_count == Execution.objects.count() == 3


def test_what_a_dead_process_had_begun_is_begun_again_under_the_same_key_of_the_provider(caller, model, upstream):
    first = ask(caller(), model)
    die(first.execution_id)
    second = ask(caller(), model)
    assert second.execution_id != first.execution_id
    assert Execution.objects.get(id=first.execution_id).error_code == INTERRUPTED
    sent = {request.headers["idempotency-key"] for request in upstream.requests}
    assert (len(upstream.requests), len(sent)) == (2, 1)
    assert ask(caller(), model) == second


def test_a_call_whose_process_dies_each_time_is_given_up(caller, model, upstream):
    for _ in range(MAX_BEGINNINGS):
        die(ask(caller(), model).execution_id)
    with pytest.raises(EvaluationError) as caught:
        ask(caller(), model)
    assert caught.value.code == INTERRUPTED
    assert upstream.request_count == MAX_BEGINNINGS


def die(execution_id):
    """As if the process that made this call had been killed in it."""
    past = timezone.now() - timedelta(seconds=1)
    Execution.objects.filter(id=execution_id).update(
        status=Status.RUNNING, finished_at=None, finish_reason="", lease_expires_at=past
    )


def test_no_other_model_stands_in_for_the_one_that_is_named(caller, make_model, upstream):
    pinned = make_model("fault-400")
    stand_in(pinned, make_model("other"))
    failing = make_model("fault-503-retry-after-100")
    stand_in(failing, make_model("another"))
    for model, code in ((pinned, "INVALID_REQUEST"), (failing, "HTTP_5XX")):
        with pytest.raises(EvaluationError) as caught:
            ask(caller(str(model.id)), model)
        assert caught.value.code == code
        assert caught.value.execution_ids == (Execution.objects.latest("id").id,)
    assert {request.body["model"] for request in upstream.requests} == {"fault-400", "fault-503-retry-after-100"}


def test_a_failed_call_is_one_call_too(caller, make_model, upstream):
    model = make_model("fault-400")
    for _ in range(2):
        with pytest.raises(EvaluationError, match="400"):
            ask(caller(), model)
    assert upstream.request_count == 1


def test_a_ledger_is_asked_with_the_most_that_a_call_can_cost(caller, make_model, upstream):
    asked = []
    model = make_model(max_output_tokens=1000)
    answer = ask(caller(allow=asked.append), model)
    assert upstream.requests[0].body["max_tokens"] == 1000
    # Output alone: 1000 tokens at 10 USD for a million.
    assert [amount > Decimal("0.01") and amount > answer.cost_usd for amount in asked] == [True]
    ask(caller("unpriced", allow=asked.append), make_model("nobody-knows", input_price_usd=None, output_price_usd=None))
    assert asked[1] is None


def test_what_the_ledger_refuses_is_not_called(caller, model, upstream):
    def refuse(_amount):
        raise EvaluationError("BUDGET_EXCEEDED", "Nothing is left.")

    with pytest.raises(EvaluationError, match="Nothing is left"):
        ask(caller(allow=refuse), model)
    assert upstream.request_count == Execution.objects.count() == 0


def test_a_hard_budget_refuses_it_as_any_other_call(caller, model, make_budget, upstream):  # noqa: F811
    make_budget("0.000001", is_hard=True)
    with pytest.raises(EvaluationError) as caught:
        ask(caller(), model)
    assert caught.value.code == "BUDGET_EXCEEDED"
    assert upstream.request_count == Execution.objects.count() == 0


def test_models_of_others_and_what_cannot_be_called_are_refused(caller, make_model, outsider, upstream):
    theirs = make_model(of=outsider.organization)
    off = make_model(is_active=False)
    vectors = make_model(capabilities=[Capability.EMBEDDINGS])
    for model in (theirs, off, vectors):
        with pytest.raises(EvaluationError, match="model_id") as caught:
            ask(caller(), model)
        assert caught.value.code == "BAD_REQUEST"
    with pytest.raises(EvaluationError, match="temperature"):
        ask(caller(), make_model(), parameters={"temperature": "hot"})
    assert upstream.request_count == Execution.objects.count() == 0


@pytest.mark.parametrize(("is_interruption", "code"), [(False, "CANCELLED"), (True, INTERRUPTED)])
@pytest.mark.django_db(transaction=True)
def test_a_cancellation_stops_a_call(caller, make_model, upstream, is_interruption, code):
    model, cancellation = make_model("fault-slow-headers"), Cancellation()

    def stop():
        upstream.wait_for(lambda server: server.request_count == 1)
        cancellation.request(is_interruption=is_interruption)

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(EvaluationError) as caught:
        ask(caller(cancellation=cancellation), model)
    stopping.join()
    assert caught.value.code == code
    with pytest.raises(EvaluationError) as caught:
        ask(caller("case-2", cancellation=cancellation), model)
    assert caught.value.code == code
    assert upstream.request_count == 1


def test_the_deadline_ends_a_call(caller, make_model):
    with pytest.raises(EvaluationError) as caught:
        ask(caller(deadline=time.monotonic() + 0.2), make_model("fault-slow-headers"))
    assert caught.value.code == "TIMEOUT_TOTAL"


def embed(caller, model, *texts, key="texts"):
    return caller.embed(key=key, model_id=model.id, texts=texts or ("Berlin", "Paris"))


def test_embeddings_are_recorded_and_paid_for(caller, embedding_model, upstream):
    found = embed(caller(), embedding_model)
    assert [vector[:2] for vector in found.vectors] == [[6.0, float(ord("B"))], [5.0, float(ord("P"))]]
    assert upstream.requests[0].path == "/v1/embeddings"
    assert upstream.requests[0].body["input"] == ["Berlin", "Paris"]
    execution = Execution.objects.get()
    assert (execution.id, execution.source, execution.status) == (found.execution_id, Source.JUDGE, Status.SUCCEEDED)
    # 8 tokens at 1.25 USD for a million.
    assert (execution.input_tokens, execution.cost_usd, found.cost_usd) == (8, Decimal("0.00001"), Decimal("0.00001"))
    assert orjson.loads(execution.payload.output) == found.vectors


def test_embeddings_of_a_key_are_one_call_and_the_same_vectors(caller, embedding_model, upstream):
    first, again = embed(caller(), embedding_model), embed(caller(), embedding_model)
    assert first == again
    assert upstream.request_count == 1


def test_a_model_without_embeddings_gives_none(caller, model, make_model, outsider, upstream):
    theirs = make_model(of=outsider.organization, capabilities=[Capability.EMBEDDINGS])
    for one in (model, theirs):
        with pytest.raises(EvaluationError, match="model_id"):
            embed(caller(), one)
    with pytest.raises(EvaluationError) as caught:
        embed(caller(), make_model("claude", kind="anthropic", capabilities=[Capability.EMBEDDINGS]))
    assert caught.value.code == "UNSUPPORTED"
    assert upstream.request_count == 0


def test_embeddings_are_tried_again_and_their_failure_is_recorded(caller, embedding_model, upstream):
    upstream.script(["fault-503-retry-after-0"])
    assert len(embed(caller(), embedding_model).vectors) == 2
    assert upstream.request_count == 2
    upstream.script([Behaviour(status=400, message="Too long.")])
    with pytest.raises(EvaluationError, match="Too long") as caught:
        embed(caller("case-2"), embedding_model)
    failed = Execution.objects.get(status=Status.FAILED)
    assert (failed.error_code, caught.value.execution_ids) == ("INVALID_REQUEST", (failed.id,))


def test_embeddings_are_reserved_and_settled_in_budgets(caller, embedding_model, make_budget, upstream):  # noqa: F811
    budget = make_budget("0.001", is_hard=True)
    asked = []
    found = embed(caller(allow=asked.append), embedding_model)
    assert state(budget["id"]) == (found.cost_usd, 0)
    assert asked[0] > found.cost_usd
    with pytest.raises(EvaluationError) as caught:
        embed(caller(), embedding_model, "x" * 1000, key="long")
    assert caught.value.code == "BUDGET_EXCEEDED"
    assert upstream.request_count == Execution.objects.count() == 1


def test_embeddings_wait_for_the_limits_of_their_model(caller, make_model, upstream):
    model = make_model("e", capabilities=[Capability.EMBEDDINGS], requests_per_minute=1)
    embed(caller(), model)
    with pytest.raises(EvaluationError) as caught:
        embed(caller("case-2", deadline=time.monotonic() + 0.3), model)
    assert caught.value.code == "MODEL_LIMIT"
    assert upstream.request_count == 1


def test_nothing_is_said_of_models_that_are_not_there(caller, upstream):
    with pytest.raises(EvaluationError, match="No such model"):
        caller().ask(key="k", model_id=uuid4(), messages=MESSAGES)
    with pytest.raises(EvaluationError, match="No such model"):
        caller().embed(key="k", model_id=uuid4(), texts=["a"])
    assert upstream.request_count == 0
