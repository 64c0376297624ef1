"""Within a hard budget no answer is longer than what was reserved for it."""

from decimal import Decimal

import pytest
from django_redis import get_redis_connection

from apps.executions.models import ExecutionPayload, Reservation
from tests.executions.conftest import EXECUTIONS, PROMPTS, stand_in

pytestmark = pytest.mark.django_db
BODY = {"variables": {"name": "Ada"}}
LIMITS = ("max_tokens", "max_completion_tokens")


@pytest.fixture(autouse=True)
def _default(settings):
    settings.BUDGET_DEFAULT_OUTPUT_TOKENS = 700


@pytest.fixture
def sent(upstream):
    """The limits that the upstream was asked for, call by call."""
    return lambda: [{name: one.body[name] for name in LIMITS if name in one.body} for one in upstream.requests]


@pytest.mark.parametrize("fields", [None, {"is_hard": False}, {"is_active": False}], ids=["none", "soft", "inactive"])
def test_without_a_hard_budget_nothing_is_limited(fields, execute, prompt, make_budget, sent):
    if fields is not None:
        make_budget("1", **fields)
    assert execute(prompt)["parameters"] == {}
    assert sent() == [{}]


def test_another_ones_hard_budget_limits_nothing(execute, prompt, make_prompt, make_budget, sent):
    make_budget("1", scope="prompt", scope_id=make_prompt()["id"])
    make_budget("1", is_hard=False)
    execute(prompt)
    assert sent() == [{}]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "case",
    [
        ({}, {}, 700),
        ({"max_output_tokens": 300}, {}, 300),
        ({"max_output_tokens": 300}, {"max_tokens": 50}, 50),
        ({"default_parameters": {"max_tokens": 60}}, {}, 60),
    ],
    ids=["default", "model", "asked", "by default"],
)
def test_a_call_within_a_hard_budget_is_limited(kind, case, execute, make_model, make_prompt, make_budget, sent):
    model, asked, limit = case
    make_model(kind=kind, is_default=True, **model)
    make_budget("1")
    answer = execute(make_prompt(), parameters={"temperature": 0.5, **asked})
    assert sent() == [{"max_tokens": limit}]
    assert answer["parameters"] == {"temperature": 0.5, "max_tokens": limit}


def test_the_newer_name_is_a_limit_too(execute, prompt, make_budget, sent):
    make_budget("1")
    execute(prompt, parameters={"max_completion_tokens": 90})
    assert sent() == [{"max_completion_tokens": 90}]


def test_each_fallback_has_its_own_limit(execute, make_model, make_prompt, make_budget, sent):
    down = make_model("fault-invalid-json", is_default=True)
    stand_in(down, make_model("gpt-5-nano", max_output_tokens=200))
    make_budget("1")
    answer = execute(make_prompt())
    assert sent() == [{"max_tokens": 700}, {"max_tokens": 200}]
    assert answer["attempt_count"] == 2


@pytest.mark.django_db(transaction=True)
def test_streams_are_limited(prompt, make_budget, editor, sent):
    make_budget("1")
    answer = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**BODY, "stream": True})
    b"".join(answer.streaming_content)
    assert sent() == [{"max_tokens": 700}]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_budget_first", [True, False], ids=["budget first", "budget later"])
def test_executions_in_the_background_are_limited(is_budget_first, prompt, make_budget, editor, sent, run_jobs):
    if is_budget_first:
        make_budget("1")
    queued = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**BODY, "mode": "async"}).json()["data"]
    assert Reservation.objects.exists() is is_budget_first
    if not is_budget_first:
        make_budget("1")
    run_jobs()
    assert sent() == [{"max_tokens": 700}]
    assert editor.client.get(f"{EXECUTIONS}/{queued['id']}").json()["data"]["parameters"] == {"max_tokens": 700}


@pytest.mark.django_db(transaction=True)
def test_rows_of_a_batch_are_limited(prompt, make_budget, editor, sent, run_jobs):
    make_budget("1")
    body = {"prompt_id": prompt["id"], "rows": [BODY, BODY], "parameters": {"temperature": 0}}
    assert editor.client.post(f"{EXECUTIONS}/batch", body).status_code == 201
    run_jobs()
    assert sent() == [{"max_tokens": 700}] * 2
    assert [one.parameters for one in ExecutionPayload.objects.all()] == [{"temperature": 0, "max_tokens": 700}] * 2


def test_an_exhausted_budget_refuses_no_answer_that_is_kept(execute, prompt, make_budget, admin, upstream):
    budget = make_budget("1")
    first = execute(prompt, cache_ttl_s=60)
    limit = {"limit_usd": "0.000001"}
    assert admin.client.patch(f"/api/v1/billing/budgets/{budget['id']}", limit).status_code == 200
    again = execute(prompt, cache_ttl_s=60)
    assert (again["is_cached"], again["output"], Decimal(again["cost_usd"])) == (True, first["output"], 0)
    assert not Reservation.objects.exists()
    for other in ({}, {"cache_ttl_s": 60, "variables": {"name": "Bob"}}):
        assert execute(prompt, status=402, **other)["code"] == "BUDGET_EXCEEDED"
    assert upstream.request_count == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "forgotten"])
def test_nor_in_the_background(is_kept, execute, prompt, make_budget, admin, editor, upstream, run_jobs):
    budget = make_budget("1")
    execute(prompt, cache_ttl_s=60)
    limit = {"limit_usd": "0.000001"}
    assert admin.client.patch(f"/api/v1/billing/budgets/{budget['id']}", limit).status_code == 200
    body = {**BODY, "mode": "async", "cache_ttl_s": 60}
    queued = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body).json()["data"]
    assert not Reservation.objects.exists()
    if not is_kept:
        get_redis_connection("default").delete(*get_redis_connection("default").keys("eq:answers:*"))
    run_jobs()
    done = editor.client.get(f"{EXECUTIONS}/{queued['id']}").json()["data"]
    assert (done["is_cached"], done["status"]) == ((True, "succeeded") if is_kept else (False, "failed"))
    assert is_kept or done["error"]["code"] == "BUDGET_EXCEEDED"
    assert upstream.request_count == 1


@pytest.mark.django_db(transaction=True)
def test_nor_a_retry(execute, prompt, make_budget, admin, editor, upstream, run_jobs):
    budget = make_budget("1")
    upstream.script(["fault-400"])
    failed = execute(prompt, status=502, cache_ttl_s=60)["details"]["execution_id"]
    execute(prompt, cache_ttl_s=60)
    limit = {"limit_usd": "0.000001"}
    assert admin.client.patch(f"/api/v1/billing/budgets/{budget['id']}", limit).status_code == 200
    again = editor.client.post(f"{EXECUTIONS}/{failed}/retry")
    assert again.status_code == 202, again.content
    run_jobs()
    assert editor.client.get(again.headers["Location"]).json()["data"]["is_cached"] is True
