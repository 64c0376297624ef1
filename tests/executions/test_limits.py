"""Limits per model over HTTP: calls wait their turn, are told when to come back, or go to a fallback."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from uuid import UUID, uuid4

import pytest
from django_redis import get_redis_connection

from apps.executions.models import Execution
from apps.executions.orchestrator import admission
from apps.executions.orchestrator.tries import Target
from apps.models.gate import GATE, Limits, Outcome, Pass
from apps.models.providers.base import ErrorCode, ModelRequest, ProviderError
from apps.models.providers.cancellation import Cancellation
from tests.executions.conftest import EXECUTIONS, PROMPTS, stand_in
from tests.project.processes import wait_until
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _patience(settings):
    settings.MODEL_QUEUE_TIMEOUT = 0.2


def post(editor, prompt, **body):
    return editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {"variables": {"name": "Ada"}, **body})


def target_of(model, **limits) -> Target:
    request = ModelRequest("m", [{"role": "user", "content": "Hi"}])
    return Target(model, model, uuid4(), request, lambda: None, Limits(**limits))


def together(count, call):
    """The results of `count` threads that begin at once."""
    barrier = threading.Barrier(count)

    def one(number):
        barrier.wait(10)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_requests_beyond_the_minutes_limit_are_told_when_to_come_back(editor, make_model, make_prompt, upstream):
    make_model(is_default=True, requests_per_minute=2)
    prompt = make_prompt()
    assert [post(editor, prompt).status_code for _ in range(2)] == [200, 200]
    refused = post(editor, prompt)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["code"], error["details"]["provider_code"]) == ("RATE_LIMITED", "MODEL_LIMIT")
    assert 55 <= int(refused.headers["Retry-After"]) <= 61
    assert upstream.request_count == 2
    recorded = editor.client.get(f"{EXECUTIONS}/{error['details']['execution_id']}").json()["data"]
    attempt = recorded["attempts"][0]
    assert (attempt["error"]["code"], attempt["latency_ms"], recorded["cost_usd"]) == ("MODEL_LIMIT", 0, None)


def test_beyond_the_limit_a_fallback_answers(execute, make_model, make_prompt):
    first, second = make_model(is_default=True, requests_per_minute=1), make_model("stand-in")
    stand_in(first, second)
    prompt = make_prompt()
    assert execute(prompt)["model_id"] == str(first.id)
    answer = execute(prompt)
    assert answer["model_id"] == str(second.id)
    assert [attempt["error"] and attempt["error"]["code"] for attempt in answer["attempts"]] == ["MODEL_LIMIT", None]


def test_tokens_are_counted_as_they_were_used(execute, make_model, make_prompt):
    """The upstream's 30 tokens: far from what was expected of each call."""
    make_model(is_default=True, tokens_per_minute=600)
    prompt = make_prompt()
    for _ in range(3):
        execute(prompt)
    assert execute(prompt, status=429, parameters={"max_tokens": 600})["details"]["provider_code"] == "MODEL_LIMIT"


def test_tokens_that_a_running_call_gives_back_are_waited_for(settings):
    settings.MODEL_QUEUE_TIMEOUT = 10
    target = target_of(uuid4(), tokens=600)
    first = admission.enter(target, 60, Cancellation())
    threading.Timer(0.1, GATE.leave, [first, Outcome.ALIVE, 30]).start()
    assert isinstance(admission.enter(target, 60, Cancellation()), Pass)


def test_a_refused_call_gives_its_tokens_back(execute, make_model, make_prompt, upstream):
    make_model("fault-400", is_default=True, tokens_per_minute=600)
    prompt = make_prompt()
    for _ in range(3):
        assert execute(prompt, status=502)["details"]["provider_code"] == "INVALID_REQUEST"
    assert upstream.request_count == 3


@pytest.mark.django_db(transaction=True)
def test_calls_beyond_the_concurrency_wait_and_the_wait_is_told_apart(
    editor, make_model, make_prompt, upstream, settings
):
    settings.MODEL_QUEUE_TIMEOUT = 10
    make_model("m", is_default=True, max_concurrency=2)
    prompt = make_prompt()
    upstream.answer_always(Behaviour(delay_s=0.15))
    credentials = editor.client._credentials, editor.client.defaults

    def call(_):
        client = type(editor.client)(**credentials[1])
        return client.post(f"{PROMPTS}/{prompt['id']}/execute", {"variables": {"name": "Ada"}}).json()["data"]

    answers = together(6, call)
    spans = [(row.finished_at.timestamp() - row.latency_ms / 1000, row.finished_at.timestamp()) for row in rows()]
    most = max(sum(start < moment - 0.02 <= end for start, end in spans) for _, moment in spans)
    assert most <= 2
    waits = sorted(answer["queue_ms"] for answer in answers)
    assert waits[0] < 100
    assert waits[-1] >= 250
    assert all(140 <= answer["latency_ms"] < 290 for answer in answers)


def rows():
    return list(Execution.objects.all())


@pytest.mark.parametrize("away", [False, True], ids=["with-redis", "redis-away"])
def test_threads_never_exceed_the_concurrency(away, request, settings):
    """With Redis away the process counts by itself."""
    if away:
        request.getfixturevalue("redis_away")
    settings.MODEL_QUEUE_TIMEOUT = 10
    target, running, most, lock = target_of(uuid4(), concurrency=3), [0], [0], threading.Lock()

    def call(_):
        passed = admission.enter(target, 10, Cancellation())
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.01)
        with lock:
            running[0] -= 1
        GATE.leave(passed, Outcome.ALIVE, 0)
        return True

    assert all(together(12, call))
    assert most[0] == 3


def test_without_redis_limits_hold_in_the_process_and_executions_go_on(execute, make_model, make_prompt, redis_away):
    make_model(is_default=True, requests_per_minute=2)
    prompt = make_prompt()
    for _ in range(2):
        assert execute(prompt)["status"] == "succeeded"
    assert execute(prompt, status=429)["details"]["provider_code"] == "MODEL_LIMIT"


_OTHER_PROCESS = """
import sys
import django
django.setup()
from uuid import UUID
from tests.executions.test_limits import count_granted
print(count_granted(UUID(sys.argv[1])))
"""
SHARED = 7


def count_granted(model: UUID) -> int:
    target = target_of(model, requests=SHARED)
    granted = 0
    for _ in range(SHARED):
        with suppress(ProviderError):
            granted += isinstance(admission.enter(target, 0.01, Cancellation()), Pass)
    return granted


def test_processes_share_a_limit():
    """Each asks for the whole limit: together they get it once."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-c", _OTHER_PROCESS, str(model := uuid4())]
    other = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    with suppress(ProviderError):
        admission.enter(target_of(model, requests=SHARED), 0.01, Cancellation())
    granted = int(other.communicate(timeout=60)[0].split()[-1])
    assert (granted, count_granted(model)) == (SHARED - 1, 0)


def test_a_wait_ends_when_the_call_is_cancelled(settings):
    settings.MODEL_QUEUE_TIMEOUT = 30
    target, cancellation = target_of(uuid4(), concurrency=1), Cancellation()
    admission.enter(target, 30, Cancellation())
    threading.Timer(0.05, cancellation.request).start()
    with pytest.raises(ProviderError) as raised:
        admission.enter(target, 30, cancellation)
    assert raised.value.code == ErrorCode.CANCELLED


def commands_of(act):
    """What Redis was sent for this database while `act` ran."""
    client = get_redis_connection("default")
    number = str(client.connection_pool.connection_kwargs.get("db") or 0)
    end = f"end-{uuid4()}"
    with client.monitor() as monitor:
        act()
        client.echo(end)
        lines = list(takewhile(lambda line: end not in line["command"], monitor.listen()))
    ours = [line["command"] for line in lines if str(line["db"]) == number and line["client_type"] != "lua"]
    return [command for command in ours if not command.startswith("SELECT ")]  # of a new connection


def test_a_model_without_limits_costs_no_round_trip_of_its_own(execute, prompt):
    execute(prompt)
    commands = commands_of(lambda: execute(prompt))
    assert len(commands) == 1
    assert "eq:gate:trouble" in commands[0]


def test_a_model_with_limits_costs_one_that_is_waited_for(execute, make_prompt, make_model):
    model = make_model(is_default=True, max_concurrency=5, requests_per_minute=100, tokens_per_minute=100_000)
    prompt = make_prompt()

    def execute_to_its_end():
        execute(prompt)
        running = f"eq:gate:model:{model.id}:running"
        wait_until(lambda: not get_redis_connection("default").zcard(running), "the gate knows that it has ended")

    execute_to_its_end()
    scripts = [command for command in commands_of(execute_to_its_end) if command.startswith("EVALSHA")]
    assert len(scripts) == 3  # what is prefetched, the entry, and the end, by a thread of its own
