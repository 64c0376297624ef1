"""The one retry loop, fallbacks and timeouts, against a provider that fails on demand."""

import socket
import threading
from contextlib import closing
from uuid import uuid4

import pytest

from apps.executions.models import Execution
from apps.executions.orchestrator.calling import RETRY_AFTER_MAX_S, backoff_s, may_fall_back
from apps.models.providers.base import ErrorCode, ProviderError
from apps.models.services import create_model, create_provider
from tests.executions.conftest import EXECUTIONS, stand_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def fast(settings):
    settings.PROVIDER_FIRST_TOKEN_TIMEOUT = 0.3
    settings.PROVIDER_TOTAL_TIMEOUT = 0.6


def once(fault: str) -> str:
    """A model name that has this fault at its first call only."""
    return f"fault-{fault}-then-200-{uuid4().hex}"


@pytest.mark.parametrize("fault", ["408", "409", "429", "429-retry-after-0.1", "500", "503", "529", "hang-up", "cut"])
def test_what_passes_is_tried_again(execute, make_prompt, make_model, upstream, fault):
    make_model(once(fault), is_default=True)
    answer = execute(make_prompt())
    assert answer["status"] == "succeeded"
    first, second = answer["attempts"]
    assert first["error"]["code"]
    assert second["error"] is None
    assert (answer["attempt_count"], upstream.request_count) == (2, 2)


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("400", (502, "PROVIDER_ERROR", "INVALID_REQUEST")),
        ("401", (502, "PROVIDER_ERROR", "AUTHENTICATION")),
        ("403", (502, "PROVIDER_ERROR", "AUTHENTICATION")),
        ("404", (502, "PROVIDER_ERROR", "NOT_FOUND")),
        ("422", (502, "PROVIDER_ERROR", "INVALID_REQUEST")),
        ("invalid-json", (502, "PROVIDER_ERROR", "INVALID_RESPONSE")),
        ("wrong-shape", (502, "PROVIDER_ERROR", "INVALID_RESPONSE")),
        ("oversized", (502, "PROVIDER_ERROR", "TOO_LARGE")),
        ("redirect", (502, "PROVIDER_ERROR", "INVALID_RESPONSE")),
        ("429-retry-after-61", (429, "RATE_LIMITED", "RATE_LIMITED")),
    ],
)
def test_what_does_not_pass_is_tried_once(execute, make_prompt, make_model, upstream, editor, fault, answer):
    status, code, provider_code = answer
    make_model(f"fault-{fault}", is_default=True)
    error = execute(make_prompt(), status=status)
    assert (error["code"], error["details"]["provider_code"]) == (code, provider_code)
    assert upstream.request_count == 1
    recorded = editor.client.get(f"{EXECUTIONS}/{error['details']['execution_id']}").json()["data"]
    assert (recorded["status"], recorded["error"]["code"]) == ("failed", provider_code)
    assert (recorded["output"], recorded["cost_usd"]) == (None, None)


def test_a_provider_that_keeps_failing_is_tried_three_times(execute, make_prompt, make_model, upstream):
    make_model("fault-500", is_default=True)
    error = execute(make_prompt(), status=502)
    assert upstream.request_count == 3
    row = Execution.objects.get(id=error["details"]["execution_id"])
    assert list(row.attempts.values_list("number", "status")) == [(1, 500), (2, 500), (3, 500)]


def test_the_answer_to_a_rate_limit_says_when_to_come_back(editor, make_prompt, make_model):
    make_model("fault-429-retry-after-90", is_default=True)
    response = editor.client.post(f"/api/v1/prompts/{make_prompt()['id']}/execute", {"variables": {"name": "Ada"}})
    assert (response.status_code, response.headers["Retry-After"]) == (429, "90")


@pytest.mark.parametrize("fault", ["500", "401", "404", "invalid-json", "429-retry-after-61"])
def test_fallbacks_are_tried_in_order_and_the_last_is_charged(execute, make_prompt, make_model, fault):
    second = make_model(f"fault-{fault}", kind="openai")
    third = make_model("claude-sonnet-5-5", kind="anthropic", input_price_usd="3")
    first = make_model(f"fault-{fault}", is_default=True)
    stand_in(first, second, third)
    answer = execute(make_prompt())
    tried = list(dict.fromkeys(attempt["model_id"] for attempt in answer["attempts"]))
    assert tried == [str(first.id), str(second.id), str(third.id)]
    assert (answer["model_id"], answer["provider_model"]) == (str(third.id), "claude-sonnet-5-5")
    assert answer["price"]["input"].startswith("3")


def test_a_request_that_is_wrong_for_every_model_does_not_fall_back(execute, make_prompt, make_model, upstream):
    first = make_model("fault-400", is_default=True)
    stand_in(first, make_model())
    execute(make_prompt(), status=502)
    assert upstream.request_count == 1


def test_fallbacks_bring_their_own_default_parameters(execute, make_prompt, make_model, upstream):
    first = make_model("fault-404", is_default=True, default_parameters={"seed": 1})
    stand_in(first, make_model(default_parameters={"top_p": 0.5}))
    execute(make_prompt(), parameters={"temperature": 1})
    sent = [{k: request.body.get(k) for k in ("seed", "top_p", "temperature")} for request in upstream.requests]
    assert sent == [
        {"seed": 1, "top_p": None, "temperature": 1},
        {"seed": None, "top_p": 0.5, "temperature": 1},
    ]


@pytest.mark.parametrize("fault", ["stall-before", "drip", "slow-headers", "stall-after"])
def test_the_deadline_holds_for_all_tries_together(execute, make_prompt, make_model, fast, fault):
    make_model(f"fault-{fault}", is_default=True)
    error = execute(make_prompt(), status=504)
    assert (error["code"], error["details"]["provider_code"]) == ("PROVIDER_TIMEOUT", "TIMEOUT_TOTAL")
    row = Execution.objects.get(id=error["details"]["execution_id"])
    assert 500 <= row.latency_ms <= 2000


def test_a_wait_that_would_pass_the_deadline_is_not_begun(execute, make_prompt, make_model, fast, upstream):
    make_model("fault-503-retry-after-5", is_default=True)
    execute(make_prompt(), status=502)
    assert upstream.request_count == 1


def test_a_port_where_nobody_listens(execute, make_prompt, organization):
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        provider = create_provider(organization_id=organization.id, kind="openai", name="gone", base_url=url)
        create_model(
            organization_id=organization.id, provider=provider, slug="gone", provider_model_name="x", is_default=True
        )
        error = execute(make_prompt(), status=502)
    assert error["details"]["provider_code"] == "CONNECTION"
    assert Execution.objects.get().attempts.count() == 3


@pytest.mark.parametrize(
    ("retry_after_s", "tries", "low", "high"),
    [(None, 1, 0, 0.25), (None, 2, 0, 0.5), (None, 3, 0, 1), (None, 30, 0, 8), (0.0, 1, 0, 0), (60.0, 1, 60, 60)],
)
def test_backoff_is_what_is_asked_for_or_grows_with_jitter(retry_after_s, tries, low, high):
    error = ProviderError(ErrorCode.RATE_LIMITED, "", retry_after_s=retry_after_s)
    assert all(low <= (backoff_s(error, tries) or 0) <= high for _ in range(100))


def test_a_wait_that_is_too_long_is_none():
    assert backoff_s(ProviderError(ErrorCode.RATE_LIMITED, "", retry_after_s=RETRY_AFTER_MAX_S + 0.1), 1) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ProviderError(ErrorCode.INVALID_REQUEST, "", status=400), False),
        (ProviderError(ErrorCode.INVALID_REQUEST, "no such URL"), True),
        (ProviderError(ErrorCode.AUTHENTICATION, "", status=401), True),
        (ProviderError(ErrorCode.HTTP_5XX, "", status=500, started=True), False),
    ],
    ids=["refused", "not-set-up", "key", "started"],
)
def test_which_failures_another_model_may_mend(error, expected):
    assert may_fall_back(error) is expected


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_a_provider_is_waited_for(make_prompt, make_model, editor, settings):
    """More calls than the pool has connections wait at once; each holds none, so that all of them finish."""
    from django.db import connection

    pool_size = connection.pool.max_size
    calls = pool_size + 8
    make_model("fault-delay-1500", is_default=True)
    prompt = make_prompt()
    credentials = editor.client._credentials, editor.client.defaults
    statuses, waiting = [], threading.Barrier(calls)

    def call():
        client = type(editor.client)(**credentials[1])
        waiting.wait(10)
        response = client.post(f"/api/v1/prompts/{prompt['id']}/execute", {"variables": {"name": "Ada"}})
        statuses.append((response.status_code, response.json()["data"]["latency_ms"]))

    threads = [threading.Thread(target=call) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [status for status, _ in statuses] == [200] * calls
    spans = list(Execution.objects.values_list("started_at", "finished_at"))
    together = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert together > pool_size
