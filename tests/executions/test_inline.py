"""Calls that come from no prompt, and calls on behalf of a workflow's run."""

import threading
import time
from uuid import uuid4

import pytest

from apps.executions.models import Budget, BudgetScope, Execution, Source, Status
from apps.executions.orchestrator import Command, IdempotencyClaim, InlinePrompt, execute, prepare, run
from apps.executions.services import retry_execution
from apps.models.providers.cancellation import Cancellation
from apps.users.principal import Principal
from everquant.api.errors import BadRequest, BudgetExceeded
from tests.executions.conftest import EXECUTIONS
from tests.upstream import Behaviour

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture
def command(organization, editor):
    """A command with these messages of a user."""

    def make(text="Hello", *, tools=(), response_schema=None, **fields):
        inline = InlinePrompt([{"role": "user", "content": text}], list(tools), response_schema)
        return Command(organization_id=organization.id, inline=inline, created_by_id=editor.user.id, **fields)

    return make


@pytest.mark.django_db(transaction=True)
def test_messages_of_no_prompt_are_recorded_like_any_others(command, model, editor, upstream):
    upstream.script([Behaviour(text='{"n": 1}')])
    workflow_id, run_id = uuid4(), uuid4()
    wish = command(
        tools=[WEATHER], response_schema=SCHEMA, source=Source.WORKFLOW, workflow_id=workflow_id, workflow_run_id=run_id
    )
    finished = execute(wish)
    assert finished.execution.status == Status.SUCCEEDED
    answer = editor.client.get(f"{EXECUTIONS}/{finished.execution.id}").json()["data"]
    assert (answer["prompt_id"], answer["prompt_version_id"], answer["version_number"]) == (None, None, None)
    assert (answer["source"], answer["workflow_id"], answer["workflow_run_id"]) == (
        "workflow",
        str(workflow_id),
        str(run_id),
    )
    assert answer["messages"] == [{"role": "user", "content": "Hello"}]
    assert (answer["tools"], answer["response_schema"], answer["output_json"]) == ([WEATHER], SCHEMA, {"n": 1})
    assert answer["cost_usd"] is not None
    other = editor.client.get(EXECUTIONS, {"workflow_run_id": str(uuid4())}).json()["data"]
    mine = editor.client.get(EXECUTIONS, {"workflow_run_id": str(run_id), "workflow_id": str(workflow_id)}).json()
    assert (other, [row["id"] for row in mine["data"]]) == ([], [str(finished.execution.id)])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("inline", "field"),
    [
        (InlinePrompt([]), "messages"),
        (InlinePrompt([{"role": "king", "content": "x"}]), "messages.0.role"),
        (InlinePrompt([{"role": "user", "content": "a\x00b"}]), "messages.0.content"),
        (InlinePrompt([{"role": "user", "content": "x"}], [{"type": "function"}]), "tools.0"),
        (InlinePrompt([{"role": "user", "content": "x"}], [], {"type": 7}), "response_schema.type"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_stored(organization, model, inline, field):
    with pytest.raises(BadRequest) as caught:
        prepare(Command(organization_id=organization.id, inline=inline))
    assert list(caught.value.details) == [field]
    assert not Execution.objects.exists()


@pytest.mark.django_db
def test_unknown_parameters_and_models_are_refused(command, model):
    with pytest.raises(BadRequest) as caught:
        prepare(command(parameters={"temperature": 9}))
    assert list(caught.value.details) == ["parameters.temperature"]
    with pytest.raises(BadRequest) as caught:
        prepare(command(model_id=uuid4()))
    assert list(caught.value.details) == ["model_id"]


@pytest.mark.django_db(transaction=True)
def test_the_provider_is_sent_the_key_that_was_named(command, model, upstream):
    execute(command(provider_key="run-7-classify"))
    assert upstream.requests[-1].headers["idempotency-key"] == "run-7-classify"
    finished = execute(command())
    assert upstream.requests[-1].headers["idempotency-key"] == str(finished.execution.id)


@pytest.mark.django_db(transaction=True)
def test_a_claim_is_one_call(command, model, upstream):
    claim = IdempotencyClaim("workflow:1", "f")
    first, second = execute(command(idempotency=claim)), execute(command(idempotency=claim))
    assert (first.execution.id, second.is_replayed) == (second.execution.id, True)
    assert upstream.request_count == 1


@pytest.mark.django_db(transaction=True)
def test_a_failed_one_is_retried_with_what_was_asked(command, model, editor, upstream):
    upstream.script([Behaviour(status=400, message="No.")])
    run_id = uuid4()
    failed = execute(command("Again", tools=[WEATHER], workflow_run_id=run_id)).execution
    assert failed.status == Status.FAILED
    principal = Principal(editor.user.id, failed.organization_id, editor.user.email, "editor", frozenset())
    again = retry_execution(execution=Execution.objects.whole().get(id=failed.id), by=principal)
    assert (again.status, again.prompt_id, again.workflow_run_id) == (Status.QUEUED, None, run_id)
    assert again.payload.messages == [{"role": "user", "content": "Again"}]
    assert again.payload.tools == [WEATHER]


@pytest.mark.django_db(transaction=True)
def test_budgets_hold_for_it(command, model, organization, upstream):
    Budget.objects.create(
        organization_id=organization.id, name="tight", scope=BudgetScope.ORGANIZATION, period="month",
        limit_usd="0.000001", is_hard=True,
    )  # fmt: skip
    with pytest.raises(BudgetExceeded):
        prepare(command())
    assert upstream.request_count == 0
    assert not Execution.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_deadline_ends_a_slow_call(command, make_model):
    make_model("fault-slow-headers", is_default=True)
    began = time.monotonic()
    finished = execute(command(deadline=time.monotonic() + 0.3))
    assert finished.execution.error_code == "TIMEOUT_TOTAL"
    assert time.monotonic() - began < 2


@pytest.mark.django_db(transaction=True)
def test_one_cancellation_stops_all_calls_that_it_includes(command, make_model, upstream):
    make_model("fault-slow-headers", is_default=True)
    cancellation, ended = Cancellation(), []
    calls = [prepare(command()) for _ in range(2)]

    def call(prepared):
        with cancellation.includes(prepared.cancellation):
            ended.append(run(prepared).execution.status)

    threads = [threading.Thread(target=call, args=[prepared]) for prepared in calls]
    for thread in threads:
        thread.start()
    upstream.wait_for(lambda server: server.request_count == 2)
    cancellation.request()
    for thread in threads:
        thread.join(5)
    assert ended == [Status.CANCELLED, Status.CANCELLED]


def test_a_cancellation_that_was_requested_before_reaches_what_comes_later():
    first, second, third = Cancellation(), Cancellation(), Cancellation()
    first.request(is_interruption=True)
    with first.includes(second):
        assert second.is_requested
        assert second.is_interruption
    with third.includes(second):
        pass
    third.request()
    other = Cancellation()
    with first.includes(other), third.includes(other):
        assert other.is_interruption
