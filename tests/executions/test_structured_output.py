"""A response schema is sent the provider's way, and the answer is held against it."""

from decimal import Decimal

import orjson
import pytest

from apps.executions.models import Execution
from apps.executions.orchestrator.structured import problem_with
from tests.executions.conftest import EXECUTIONS, PROMPTS, stand_in
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
SCHEMA = {
    "type": "object",
    "properties": {"zebra": {"type": "integer"}, "ant": {"type": "string"}},
    "required": ["zebra", "ant"],
    "additionalProperties": False,
}
GOOD, BAD = '{"zebra": 1, "ant": "a"}', '{"zebra": "one", "ant": "a"}'
ONE_CALL = Decimal("0.000119375")


@pytest.fixture
def prompt(make_prompt, model):
    return make_prompt(response_schema=SCHEMA)


def says(upstream, *texts, **changes):
    upstream.script([Behaviour(text=text, **changes) for text in texts])


def recorded_of(editor, error):
    return editor.client.get(f"{EXECUTIONS}/{error['details']['execution_id']}").json()["data"]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_it_is_sent_the_providers_way_and_the_value_is_shown(execute, make_prompt, make_model, upstream, kind):
    make_model("m", kind=kind, is_default=True)
    says(upstream, GOOD)
    answer = execute(make_prompt(response_schema=SCHEMA))
    assert (answer["output"], answer["output_json"]) == (GOOD, {"zebra": 1, "ant": "a"})
    assert list(answer["output_json"]) == ["zebra", "ant"]
    body = upstream.requests[-1].body
    if kind == "openai":
        expected = {"name": "response", "schema": SCHEMA, "strict": True}
        assert body["response_format"] == {"type": "json_schema", "json_schema": expected}
    else:
        assert body["output_config"]["format"] == {"type": "json_schema", "schema": SCHEMA}


def test_without_a_schema_there_is_no_value(execute, make_prompt, model, upstream):
    says(upstream, GOOD)
    assert execute(make_prompt())["output_json"] is None


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_an_answer_that_does_not_fit_is_asked_for_once_more(execute, make_prompt, make_model, upstream, kind):
    make_model("m", kind=kind, is_default=True)
    says(upstream, BAD, GOOD)
    answer = execute(make_prompt(response_schema=SCHEMA))
    assert (answer["status"], answer["output_json"]["zebra"]) == ("succeeded", 1)
    first, second = answer["attempts"]
    assert (first["error"]["code"], second["error"]) == ("INVALID_OUTPUT", None)
    assert first["error"]["message"] == "$.zebra: 'one' is not of type 'integer'"
    assert (first["input_tokens"], second["input_tokens"]) == (20, 20)
    assert (answer["input_tokens"], answer["output_tokens"]) == (26, 14)
    assert Decimal(answer["cost_usd"]) == 2 * ONE_CALL
    asked, again = (request.body["messages"] for request in upstream.requests)
    assert again[: len(asked)] == asked
    assert [message["role"] for message in again[len(asked) :]] == ["assistant", "user"]
    assert again[-2]["content"] == BAD
    assert "$.zebra: 'one' is not of type 'integer'" in again[-1]["content"]
    assert answer["messages"] == [{"role": "user", "content": "Hello, Ada!"}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BAD, "$.zebra: 'one' is not of type 'integer'"),
        ("no JSON", "The answer is not JSON"),
        ("", "The answer is not JSON"),
        ("NaN", "The answer is not JSON"),
        ('{"zebra": 1, "ant": "a", "more": 2}', "Additional properties are not allowed"),
    ],
)
def test_what_never_fits_fails_and_is_kept_and_charged(execute, prompt, upstream, editor, text, why):
    says(upstream, text, text)
    error = execute(prompt, status=502)
    assert error["details"]["provider_code"] == "INVALID_OUTPUT"
    assert why in error["message"]
    recorded = recorded_of(editor, error)
    assert (recorded["status"], recorded["output"], recorded["output_json"]) == ("failed", text, None)
    assert why in recorded["error"]["message"]
    assert [attempt["error"]["code"] for attempt in recorded["attempts"]] == ["INVALID_OUTPUT"] * 2
    assert Decimal(recorded["cost_usd"]) == 2 * ONE_CALL
    assert upstream.request_count == 2


def test_repairs_can_be_switched_off(execute, prompt, upstream, editor, settings):
    settings.STRUCTURED_OUTPUT_REPAIRS = 0
    says(upstream, BAD, GOOD)
    recorded = recorded_of(editor, execute(prompt, status=502))
    assert (recorded["attempt_count"], Decimal(recorded["cost_usd"])) == (1, ONE_CALL)


@pytest.mark.parametrize(
    ("reason", "why"), [("length", "cut at its largest length"), ("content_filter", "refused to answer")]
)
def test_what_was_cut_or_refused_is_not_asked_again(execute, prompt, upstream, reason, why):
    says(upstream, "{", GOOD, finish_reason=reason)
    assert why in execute(prompt, status=502)["message"]
    assert upstream.request_count == 1


def test_an_invalid_answer_does_not_go_to_a_fallback(execute, make_prompt, make_model, upstream):
    first = make_model(is_default=True)
    stand_in(first, make_model("other"))
    says(upstream, BAD, BAD, GOOD)
    execute(make_prompt(response_schema=SCHEMA), status=502)
    assert upstream.request_count == 2


def test_a_repair_that_the_provider_fails_falls_back_and_all_is_charged(execute, make_prompt, make_model, upstream):
    first, second = make_model(is_default=True), make_model("other", output_price_usd="20")
    stand_in(first, second)
    upstream.script([Behaviour(text=BAD), "fault-404", Behaviour(text=GOOD)])
    answer = execute(make_prompt(response_schema=SCHEMA))
    assert answer["model_id"] == str(second.id)
    assert [attempt["error"] and attempt["error"]["code"] for attempt in answer["attempts"]] == [
        "INVALID_OUTPUT",
        "NOT_FOUND",
        None,
    ]
    assert Decimal(answer["cost_usd"]) == 2 * ONE_CALL + Decimal("0.0001")


def test_calls_of_tools_in_place_of_an_answer_fit(execute, make_prompt, model, upstream):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    answer = execute(make_prompt(response_schema=SCHEMA, tools=tools))
    assert (answer["finish_reason"], answer["output_json"]) == ("tool_calls", None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("text", "end"), [(GOOD, "completed"), (BAD, "failed")])
def test_a_stream_is_checked_at_its_end_and_not_repaired(prompt, editor, upstream, text, end):
    says(upstream, text, GOOD)
    body = {"variables": {"name": "Ada"}, "stream": True}
    response = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body)
    last = b"".join(response.streaming_content).decode().strip().split("\n\n")[-1]
    assert f"event: execution.{end}" in last
    execution = orjson.loads(last.split("data: ")[1])
    assert (execution["output"], upstream.request_count) == (text, 1)
    assert Execution.objects.get().error_code == ("INVALID_OUTPUT" if end == "failed" else "")


def test_a_hard_budget_holds_what_a_repair_may_cost(execute, prompt, make_prompt, organization, upstream):
    from apps.executions.models import Budget

    small = {"parameters": {"max_tokens": 100}, "variables": {"name": "Ada"}}
    Budget.objects.create(
        organization=organization, name="b", scope="organization", period="month", limit_usd="0.0025", alert_at=[]
    )
    assert execute(make_prompt(), **small)["status"] == "succeeded"
    execute(prompt, status=402, **small)


def test_schemas_cannot_reach_out_or_hold_a_process_up(upstream):
    assert "cannot be checked" in problem_with({"$ref": f"{upstream.url}/schema"}, 1)
    assert upstream.request_count == 0
    assert "cannot be checked" in problem_with({"$ref": "#"}, 1)
    assert problem_with({"type": "string", "pattern": "^(a+)+$"}, "a" * 60 + "!") is None
    doubled = {f"n{i}": {"anyOf": [{"$ref": f"#/$defs/n{i - 1}"}] * 2} for i in range(1, 40)}
    schema = {"$defs": {"n0": {"type": "integer"}, **doubled}, "$ref": "#/$defs/n39"}
    assert "too large" in problem_with(schema, "x")
    again = {"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": "^(a+)+$"}
    assert problem_with({"properties": {"a": again}}, {"a": "a" * 60 + "!"}) is None
    assert "too large" in problem_with({"items": {"enum": ["v" * 50_000, 0]}}, [0] * 1000)
    assert "too large" in problem_with({"uniqueItems": True}, [{"n": n} for n in range(10_000)])


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}, [[], [[]]], True),
        ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"y": 1}, True),
        ({"properties": {"pattern": {"type": "integer"}}}, {"pattern": "x"}, False),
        ({"enum": ["a", "b"]}, "c", False),
        (True, 1, True),
    ],
    ids=["recursive", "patterns-are-left-to-the-provider", "named-pattern", "enum", "true"],
)
def test_what_fits(schema, value, fits):
    assert (problem_with(schema, value) is None) is fits
