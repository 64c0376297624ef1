"""A waiting execution: what is answered, what is stored, and what is refused."""

from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from apps.executions.models import Execution
from tests.executions.conftest import API_KEY, EXECUTIONS, PROMPTS

pytestmark = pytest.mark.django_db

# What the upstream charges for, in disjoint buckets.
TOKENS = {
    "input_tokens": 13,
    "cached_input_tokens": 5,
    "cache_write_tokens": 2,
    "output_tokens": 7,
    "reasoning_tokens": 3,
}


def test_the_answer_and_the_stored_rows_tell_of_the_call(execute, prompt, model, upstream, editor):
    answer = execute(prompt, unit_id="user-7", metadata={"trace": "t-1"})

    assert answer["output"] == "You said: Hello, Ada!"
    assert answer["messages"] == [{"role": "user", "content": "Hello, Ada!"}]
    assert (answer["status"], answer["source"], answer["finish_reason"]) == ("succeeded", "api", "stop")
    assert {name: answer[name] for name in TOKENS} == TOKENS
    assert answer["model_id"] == str(model.id)
    assert (answer["prompt_id"], answer["version_number"]) == (prompt["id"], 1)
    assert answer["created_by"] == str(editor.user.id)
    assert answer["latency_ms"] >= 0
    assert [attempt["error"] for attempt in answer["attempts"]] == [None]
    # (13 + 2) * 1.25 + 5 * 0.125 + (7 + 3) * 10 USD a million
    assert Decimal(answer["cost_usd"]) == Decimal("0.000119375")

    row = Execution.objects.select_related("payload").get(id=answer["id"])
    assert row.cost_usd == Decimal("0.000119375")
    assert Decimal(row.price["input"]) == Decimal("1.25")
    assert row.payload.output == answer["output"]
    assert row.payload.variables == {"name": "Ada"}
    assert (row.unit_id, row.metadata) == ("user-7", {"trace": "t-1"})
    assert row.attempts.get().provider_model == "gpt-5-mini"
    assert editor.client.get(f"{EXECUTIONS}/{answer['id']}").json()["data"] == answer


@pytest.mark.parametrize(
    ("kind", "output"), [("anthropic", "You said: Hello, Ada!"), ("echo", "Hello, Ada!")], ids=["anthropic", "echo"]
)
def test_other_kinds_of_providers(execute, make_prompt, make_model, kind, output):
    make_model("claude-sonnet-5-5", kind=kind, is_default=True)
    answer = execute(make_prompt())
    assert (answer["status"], answer["output"]) == ("succeeded", output)
    assert answer["output_tokens"] > 0
    assert Decimal(answer["cost_usd"]) > 0


def test_an_unknown_price_is_null_and_so_is_the_cost(execute, make_prompt, make_model):
    no_price = {"input_price_usd": None, "cached_input_price_usd": None, "output_price_usd": None}
    make_model("unheard-of", is_default=True, **no_price)
    answer = execute(make_prompt())
    assert (answer["cost_usd"], answer["price"]) == (None, None)
    assert answer["input_tokens"] == 13


def test_no_usage_means_null_tokens_and_cost(execute, make_prompt, make_model):
    make_model("fault-no-usage", is_default=True)
    answer = execute(make_prompt())
    assert (answer["input_tokens"], answer["cost_usd"]) == (None, None)


def test_parameters_of_the_request_go_before_those_of_version_and_model(execute, make_prompt, make_model, upstream):
    make_model(is_default=True, default_parameters={"temperature": 0.1, "top_p": 0.5, "seed": 1})
    prompt = make_prompt(parameters={"temperature": 0.2, "top_p": 0.6})
    answer = execute(prompt, parameters={"temperature": 0.3})
    expected = {"temperature": 0.3, "top_p": 0.6, "seed": 1}
    assert answer["parameters"] == expected
    assert {name: upstream.requests[-1].body[name] for name in expected} == expected


def test_the_model_named_in_the_request_goes_before_the_versions(execute, make_prompt, make_model, upstream):
    make_model("default", is_default=True)
    of_version, of_request = make_model("of-version"), make_model("of-request")
    prompt = make_prompt(model_id=str(of_version.id))
    execute(prompt)
    execute(prompt, model_id=str(of_request.id))
    assert [request.body["model"] for request in upstream.requests] == ["of-version", "of-request"]


def test_tools_and_response_schema_are_sent_and_recorded_in_their_order(execute, make_prompt, model, upstream):
    schema = {"type": "object", "properties": {"zebra": {"type": "string"}, "ant": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    answer = execute(make_prompt(tools=tools, response_schema=schema))
    assert answer["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert answer["finish_reason"] == "tool_calls"
    assert list(answer["response_schema"]["properties"]) == ["zebra", "ant"]
    sent = upstream.requests[-1].body["tools"][0]["function"]["parameters"]
    assert list(sent["properties"]) == ["zebra", "ant"]


@pytest.mark.django_db(transaction=True)
def test_version_then_label_then_production_then_current(execute, prompt, admin):
    versions = f"{PROMPTS}/{prompt['id']}/versions"
    for number in (2, 3):
        assert admin.client.post(versions, {"content": f"v{number} {{{{name}}}}"}).status_code == 201
    assert execute(prompt)["version_number"] == 3
    for label, number in (("production", 2), ("beta", 1)):
        answer = admin.client.put(f"{PROMPTS}/{prompt['id']}/labels/{label}", {"version": number})
        assert answer.status_code in {200, 201}, answer.content
    assert execute(prompt)["version_number"] == 2
    assert execute(prompt, label="beta")["version_number"] == 1
    assert execute(prompt, version=3)["version_number"] == 3


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"variables": {}}, ["variables.name"]),
        ({"variables": {"name": "Ada", "nom": "A", "x": 1}}, ["variables.nom", "variables.x"]),
        ({"variables": {"nom": "A"}}, ["variables.name", "variables.nom"]),
        ({"variables": []}, ["variables"]),
        ({"version": 0}, ["version"]),
        ({"version": "1"}, ["version"]),
        ({"version": 2**40}, ["version"]),
        ({"label": "UPPER"}, ["label"]),
        ({"label": 3}, ["label"]),
        ({"model_id": "x"}, ["model_id"]),
        ({"model_id": str(uuid4())}, ["model_id"]),
        ({"parameters": {"temperature": "hot"}}, ["parameters.temperature"]),
        ({"parameters": {"messages": []}}, ["parameters.messages"]),
        ({"parameters": 1}, ["parameters"]),
        ({"stream": "yes"}, ["stream"]),
        ({"mode": "later"}, ["mode"]),
        ({"unit_id": "u" * 201}, ["unit_id"]),
        ({"metadata": {str(n): n for n in range(51)}}, ["metadata"]),
        ({"metadata": {"a": "x" * 20_000}}, ["metadata"]),
        ({"wrong": 1}, ["wrong"]),
    ],
    ids="-".join,
)
def test_what_is_wrong_is_named_and_nothing_is_stored_or_called(execute, prompt, upstream, body, names):
    error = execute(prompt, status=400, **body)
    assert error["code"] == "BAD_REQUEST"
    assert sorted(error["details"]) == names
    assert not Execution.objects.exists()
    assert upstream.request_count == 0


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"{", b'{"unit_id": "\\u0000"}', b'{"unit_id": "\\ud800"}'])
def test_bodies_that_are_no_wish_are_a_400(prompt, editor, body):
    response = editor.client.generic("POST", f"{PROMPTS}/{prompt['id']}/execute", body, content_type="application/json")
    assert response.status_code == 400, response.content


@pytest.mark.parametrize(
    ("body", "named"),
    [({"version": 9}, "version"), ({"label": "unset"}, "label"), ({"version": 1, "label": "unset"}, "label")],
    ids=str,
)
def test_a_version_or_label_that_is_not_there_is_a_404(execute, prompt, body, named):
    assert list(execute(prompt, status=404, **body)["details"]) == [named]


def test_without_any_model_the_request_has_to_name_one(execute, make_prompt):
    assert execute(make_prompt(), status=400)["details"] == {"model_id": "There is no default model: name one."}


def test_models_of_others_and_inactive_ones_read_as_unknown(execute, prompt, make_model, outsider):
    foreign = make_model(of=outsider.organization)
    inactive = make_model(is_active=False)
    for each in (foreign, inactive):
        assert "model_id" in execute(prompt, status=400, model_id=str(each.id))["details"]


def test_an_inactive_prompt_is_a_409_and_a_deleted_one_a_404(execute, make_prompt, model, admin):
    inactive, deleted = make_prompt(is_active=False), make_prompt()
    execute(inactive, status=409)
    admin.client.delete(f"{PROMPTS}/{deleted['id']}")
    execute(deleted, status=404)


def test_tenants_and_roles(execute, prompt, outsider, viewer, anonymous, editor):
    execute(prompt, status=404, client=outsider.client)
    execute(prompt, status=403, client=viewer.client)
    execute(prompt, status=401, client=anonymous)
    answer = execute(prompt)
    assert viewer.client.get(f"{EXECUTIONS}/{answer['id']}").status_code == 200
    assert outsider.client.get(f"{EXECUTIONS}/{answer['id']}").status_code == 404
    assert outsider.client.get(EXECUTIONS).json()["meta"]["total"] == 0
    assert outsider.client.get(f"{EXECUTIONS}/{answer['id']}/scores").status_code == 404


def test_the_prompts_unknown_id_is_a_404(execute, model):
    execute({"id": uuid4()}, status=404)


def test_statements_of_an_execution_are_two(execute, prompt, django_assert_num_queries):
    execute(prompt)
    with django_assert_num_queries(2):
        execute(prompt)


def test_statements_of_a_read_are_two(execute, prompt, editor, django_assert_num_queries):
    answer = execute(prompt)
    with django_assert_num_queries(2):
        assert editor.client.get(f"{EXECUTIONS}/{answer['id']}").status_code == 200


def test_ids_are_time_ordered_and_hold_the_time_of_creation(execute, prompt):
    first, second = execute(prompt), execute(prompt)
    assert UUID(first["id"]).version == 7
    assert first["id"] < second["id"]
    row = Execution.objects.get(id=first["id"])
    assert row.created_at.timestamp() == pytest.approx((row.id.int >> 80) / 1000)


def test_no_secret_is_in_what_is_answered_and_stored(execute, make_prompt, make_model):
    make_model("fault-401", is_default=True)
    error = execute(make_prompt(), status=502)
    row = Execution.objects.select_related("payload").get(id=error["details"]["execution_id"])
    assert API_KEY not in f"{error} {vars(row)} {vars(row.payload)} {list(row.attempts.values())}"
