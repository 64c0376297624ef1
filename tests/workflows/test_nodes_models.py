"""Kinds that call models: once for each attempt, charged to whom the run belongs to, stopped with the run."""

import threading
import time

import pytest

from apps.executions.models import Budget, BudgetScope, Execution, Status
from apps.models.providers.cancellation import Cancellation
from apps.workflows.models import StepStatus, WorkflowStep
from apps.workflows.nodes.base import NodeFailure, RunInfo
from apps.workflows.nodes.registry import kinds
from tests.upstream import Behaviour
from tests.workflows.conftest import definition, template
from tests.workflows.nodes import Attempts, Pinner, ended

pytestmark = pytest.mark.django_db(transaction=True)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
CALLS = [{"id": "call_a", "name": "weather", "arguments": "{}"}]


@pytest.fixture
def run(make_version, start, editor):
    """A run that is about to be worked at."""
    return start(make_version(definition([template("a")])), created_by_id=editor.user.id)


@pytest.fixture
def attempts(run):
    return Attempts(RunInfo(run.id, run.organization_id, run.workflow_id, run.created_by_id, run.api_key_id))


def pinned(kind, config, organization):
    pinner = Pinner(organization.id)
    return kinds()[kind].pin(config, pinner), pinner.problems


def failure_of(attempts, *given, **more) -> NodeFailure:
    with pytest.raises(NodeFailure) as caught:
        attempts.run(*given, **more)
    return caught.value


def test_a_prompt_is_called_at_its_pinned_version(attempts, run, make_prompt, model, organization, editor, upstream):
    prompt = make_prompt(slug="greet")
    config = {
        "prompt": "greet",
        "variables": {"name": "{{nodes.who.output}}"},
        "parameters": {"temperature": 0},
        "messages": [{"role": "user", "content": "And {{inputs.more}}"}],
        "model": model.slug,
    }
    pin, problems = pinned("prompt", config, organization)
    assert problems == []
    assert pin == {"prompt_id": prompt["id"], "version": 1, "has_schema": False, "model_id": str(model.id)}
    roots = {"inputs": {"more": "more"}, "nodes": {"who": ended("Ada")}}
    result = attempts.run("prompt", config, pin=pin, roots=roots)
    assert result.output == "You said: And more"
    assert "".join(attempts.deltas) == result.output
    assert result.input["variables"] == {"name": "Ada"}
    assert result.usage.input_tokens > 0
    assert result.usage.cost_usd > 0
    execution = Execution.objects.get(id=result.execution_id)
    assert (execution.source, execution.workflow_run_id, execution.workflow_id) == ("workflow", run.id, run.workflow_id)
    assert (execution.created_by_id, execution.metadata) == (editor.user.id, {"node": "it"})
    sent = upstream.requests[-1].body
    assert [message["content"] for message in sent["messages"]] == ["Hello, Ada!", "And more"]
    assert sent["temperature"] == 0


def test_pins_of_prompts(make_prompt, model, organization, outsider, editor):
    prompt = make_prompt(slug="greet", response_schema=SCHEMA)
    path = f"/api/v1/prompts/{prompt['id']}"
    assert editor.client.post(f"{path}/versions", {"content": "Hi, {{name}}!"}).status_code == 201
    assert editor.client.put(f"{path}/labels/beta", {"version": 1}).status_code in {200, 201}
    good = {"prompt": "greet", "variables": {"name": "x"}}
    assert pinned("prompt", good, organization)[0]["version"] == 2
    assert pinned("prompt", {**good, "label": "beta"}, organization)[0]["version"] == 1
    assert pinned("prompt", {**good, "version": 1}, organization)[0] == {
        "prompt_id": prompt["id"], "version": 1, "has_schema": True,
    }  # fmt: skip
    for more, problem in (
        ({"label": "gamma"}, ("UNKNOWN_VERSION", "label")),
        ({"version": 9}, ("UNKNOWN_VERSION", "version")),
        ({"model": "nowhere"}, ("UNKNOWN_MODEL", "model")),
        ({"prompt": "none"}, ("UNKNOWN_PROMPT", "prompt")),
        ({"variables": {}}, ("MISSING_VARIABLE", "variables")),
        ({"variables": {"name": 1, "a/b": 1}}, ("UNKNOWN_VARIABLE", "variables/a~1b")),
    ):
        assert pinned("prompt", {**good, **more}, organization)[1] == [problem]
    assert pinned("prompt", {**good, "variables": {"$ref": "inputs.v"}}, organization)[1] == []
    assert pinned("prompt", good, outsider.organization)[1] == [("UNKNOWN_PROMPT", "prompt")]
    assert pinned("llm", {"prompt": "a", "model": model.slug}, outsider.organization)[1] == [("UNKNOWN_MODEL", "model")]


def test_answers_with_a_schema_are_values_and_mended(attempts, model, upstream):
    upstream.script([Behaviour(text="no JSON"), Behaviour(text='{"n": 7, "s": "a\\u0000b"}')])
    result = attempts.run("llm", {"prompt": "How many?", "response_schema": SCHEMA})
    assert result.output == {"n": 7, "s": "a\N{REPLACEMENT CHARACTER}b"}
    assert attempts.deltas == []
    assert upstream.request_count == 2


def test_calls_of_tools_are_given_to_the_next_node(attempts, model, upstream):
    upstream.script([Behaviour(tool_calls=CALLS)])
    output = attempts.run("llm", {"messages": [{"role": "user", "content": "Weather?"}]}).output
    assert output["text"] == ""
    assert output["tool_calls"][0]["function"]["name"] == "weather"


def test_inline_messages_are_what_the_run_has_come_to(attempts, model, upstream):
    config = {"system": "Be {{inputs.mood}}.", "prompt": {"$ref": "inputs.data"}}
    attempts.run("llm", config, roots={"inputs": {"mood": "kind", "data": {"a": 1}}})
    assert upstream.requests[-1].body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": '{"a":1}'},
    ]


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"messages": "{{inputs.text}}"}, "INVALID_CONFIG"),
        ({"messages": [{"role": "king", "content": "a"}]}, "BAD_REQUEST"),
        ({"messages": []}, "BAD_REQUEST"),
        ({"prompt": "a", "parameters": {"temperature": 99}}, "BAD_REQUEST"),
        ({"prompt": "a", "parameters": "{{inputs.text}}"}, "INVALID_CONFIG"),
        ({"prompt": "{{inputs.missing}}"}, "MISSING_VALUE"),
        ({"prompt": "a\x00b"}, "BAD_REQUEST"),
    ],
)
def test_what_cannot_be_asked_fails_without_a_call(attempts, model, upstream, config, code):
    failure = failure_of(attempts, "llm", config, roots={"inputs": {"text": "x"}})
    assert (failure.code, failure.is_retryable) == (code, False)
    assert upstream.request_count == 0
    assert not Execution.objects.exists()


def test_failures_say_whether_another_attempt_may_succeed(attempts, make_model):
    make_model("fault-400", is_default=True)
    failure = failure_of(attempts, "llm", {"prompt": "a"})
    assert (failure.code, failure.is_retryable) == ("INVALID_REQUEST", False)
    assert Execution.objects.get(id=failure.execution_id).status == Status.FAILED
    assert failure.input == {"messages": [{"role": "user", "content": "a"}]}


def test_limits_of_the_provider_are_retryable_with_its_pause(attempts, make_model):
    make_model("fault-429-retry-after-90", is_default=True)
    failure = failure_of(attempts, "llm", {"prompt": "a"})
    assert (failure.code, failure.is_retryable, failure.retry_after_s) == ("RATE_LIMITED", True, 90)


def test_an_exhausted_budget_is_not_retried(attempts, model, organization, editor, upstream):
    Budget.objects.create(
        organization_id=organization.id, name="eve", scope=BudgetScope.USER, scope_id=editor.user.id, period="month",
        limit_usd="0.000001", is_hard=True,
    )  # fmt: skip
    failure = failure_of(attempts, "llm", {"prompt": "a"})
    assert (failure.code, failure.is_retryable) == ("BUDGET_EXCEEDED", False)
    assert upstream.request_count == 0


def test_an_attempt_that_is_begun_again_is_one_execution(attempts, model, upstream):
    first, again = (attempts.run("llm", {"prompt": "a"}) for _ in range(2))
    assert (first.execution_id, first.output) == (again.execution_id, again.output)
    assert upstream.request_count == 1
    other = attempts.run("llm", {"prompt": "a"}, path="items[1].it")
    assert other.execution_id != first.execution_id


def test_what_was_cut_off_is_sent_again_under_the_same_key(attempts, run, model, upstream):
    """Another attempt after a failure is another request."""
    keys = []
    for attempt, status in ((1, StepStatus.FAILED), (2, StepStatus.INTERRUPTED), (3, StepStatus.RUNNING)):
        attempts.run("llm", {"prompt": "a"}, attempt=attempt)
        keys.append(upstream.requests[-1].headers["idempotency-key"])
        WorkflowStep.objects.create(
            run=run, path="it", node_id="it", kind="llm", attempt=attempt, status=status, started_at=run.created_at
        )
    assert keys[0] != keys[1] == keys[2]


def test_an_execution_whose_worker_died_is_an_interruption(attempts, model, upstream):
    result = attempts.run("llm", {"prompt": "a"})
    Execution.objects.filter(id=result.execution_id).update(
        status=Status.RUNNING, finished_at=None, lease_expires_at="2020-01-01T00:00Z"
    )
    failure = failure_of(attempts, "llm", {"prompt": "a"})
    assert (failure.code, failure.is_retryable) == ("INTERRUPTED", True)
    assert upstream.request_count == 1


def test_one_that_another_worker_still_makes_is_waited_for_until_the_deadline(attempts, model):
    result = attempts.run("llm", {"prompt": "a"})
    Execution.objects.filter(id=result.execution_id).update(
        status=Status.RUNNING, finished_at=None, lease_expires_at="2999-01-01T00:00Z"
    )
    failure = failure_of(attempts, "llm", {"prompt": "a"}, seconds=0.2)
    assert (failure.code, failure.is_retryable) == ("TIMEOUT_TOTAL", True)


def test_the_deadline_of_the_node_ends_the_call(attempts, make_model):
    make_model("fault-stall-before", is_default=True)
    began = time.monotonic()
    failure = failure_of(attempts, "llm", {"prompt": "a"}, seconds=0.3)
    assert failure.code.startswith("TIMEOUT")
    assert failure.is_retryable
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(("is_interruption", "code"), [(False, "CANCELLED"), (True, "INTERRUPTED")])
def test_the_run_stops_the_call(attempts, make_model, upstream, is_interruption, code):
    make_model("fault-stall-before", is_default=True)
    cancellation, failures = Cancellation(), []

    def run_it():
        failures.append(failure_of(attempts, "llm", {"prompt": "a"}, cancellation=cancellation))

    thread = threading.Thread(target=run_it)
    thread.start()
    upstream.wait_for(lambda server: server.request_count == 1)
    cancellation.request(is_interruption=is_interruption)
    thread.join(5)
    assert (failures[0].code, failures[0].is_retryable) == (code, is_interruption)
