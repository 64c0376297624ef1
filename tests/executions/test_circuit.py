"""A provider that keeps failing is not called for a while."""

import threading
from uuid import uuid4

import pytest

from apps.executions.models import Execution
from apps.models.gate import GATE, Ask, Limits, Outcome, Pass
from everquant.metrics import CIRCUIT_OPEN, CIRCUIT_REFUSALS
from tests.executions.conftest import EXECUTIONS, PROMPTS, stand_in
from tests.project.processes import wait_until
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
FAILING = Behaviour(status=500)


@pytest.fixture(autouse=True)
def _policy(settings):
    settings.CIRCUIT_FAILURES = 3
    settings.CIRCUIT_OPEN_S = 30


@pytest.fixture
def failing(upstream):
    upstream.answer_always(FAILING)
    return upstream


def value_of(metric, model):
    return metric.labels(str(model.provider_id), model.provider_model_name)._value.get()


def test_after_failures_in_a_row_a_call_fails_at_once_and_says_why(execute, prompt, model, failing, editor):
    execute(prompt, status=502)
    assert failing.request_count == 3
    response = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {"variables": {"name": "Ada"}})
    assert (response.status_code, failing.request_count) == (503, 3)
    assert 28 <= int(response.headers["Retry-After"]) <= 30
    error = response.json()["error"]
    assert error["details"]["provider_code"] == "CIRCUIT_OPEN"
    recorded = editor.client.get(f"{EXECUTIONS}/{error['details']['execution_id']}").json()["data"]
    assert (recorded["status"], recorded["error"]["code"]) == ("failed", "CIRCUIT_OPEN")
    assert [(one["error"]["code"], one["latency_ms"]) for one in recorded["attempts"]] == [("CIRCUIT_OPEN", 0)]
    assert recorded["latency_ms"] < 100
    assert (value_of(CIRCUIT_OPEN, model), value_of(CIRCUIT_REFUSALS, model)) == (1, 1)


def test_an_open_circuit_goes_to_the_fallback(execute, make_prompt, make_model):
    first, second = make_model("fault-500", is_default=True), make_model()
    stand_in(first, second)
    prompt = make_prompt()
    assert len(execute(prompt)["attempts"]) == 4
    answer = execute(prompt)
    codes = [attempt["error"] and attempt["error"]["code"] for attempt in answer["attempts"]]
    assert (answer["model_id"], codes) == (str(second.id), ["CIRCUIT_OPEN", None])


def test_the_same_model_of_another_provider_is_called(execute, prompt, make_model, failing):
    other = make_model()
    execute(prompt, status=502)
    execute(prompt, status=502, model_id=str(other.id))
    assert failing.request_count == 6


def test_one_probe_closes_it_again(execute, prompt, upstream, settings, model):
    settings.CIRCUIT_OPEN_S = 0.2
    upstream.script([FAILING] * 3)
    execute(prompt, status=502)
    execute(prompt, status=503)
    wait_until(lambda: is_half_open(model), "the circuit lets a probe through")
    assert execute(prompt)["status"] == "succeeded"
    assert execute(prompt)["status"] == "succeeded"
    assert upstream.request_count == 5
    assert value_of(CIRCUIT_OPEN, model) == 0


def is_half_open(model):
    from apps.models.gate.shared import read_circuit

    state = read_circuit(model.provider_id, model.provider_model_name)
    return state.is_open and not state.open_for_ms


def test_a_probe_that_fails_opens_it_again_at_once(execute, prompt, failing, settings, model):
    settings.CIRCUIT_OPEN_S = 0.2
    execute(prompt, status=502)
    wait_until(lambda: is_half_open(model), "the circuit lets a probe through")
    settings.CIRCUIT_OPEN_S = 30
    execute(prompt, status=503)
    assert failing.request_count == 4
    assert not is_half_open(model)


def test_of_many_at_once_one_is_the_probe(settings):
    settings.CIRCUIT_OPEN_S = 0.05
    ask = Ask(
        organization_id=uuid4(), provider_id=uuid4(), provider_model="m", model_id=uuid4(), limits=Limits(),
        tokens=0, lease_ms=5000,
    )  # fmt: skip
    for _ in range(3):
        GATE.leave(GATE.enter(ask), Outcome.FAILED, 0)
    settings.CIRCUIT_OPEN_S = 30
    first = []
    wait_until(lambda: isinstance(first.append(GATE.enter(ask)) or first[-1], Pass), "a probe is let through")
    results = []
    threads = [threading.Thread(target=lambda: results.append(GATE.enter(ask))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(isinstance(result, Pass) for result in results)


@pytest.mark.parametrize("fault", ["429", "400", "401", "404", "422"])
def test_a_provider_that_answers_is_not_dead(execute, prompt, upstream, fault):
    upstream.answer_always(Behaviour(status=int(fault), retry_after="61" if fault == "429" else ""))
    for _ in range(4):
        execute(prompt, status=429 if fault == "429" else 502)
    assert upstream.request_count == 4


def test_a_success_between_failures_starts_the_count_anew(execute, prompt, upstream):
    upstream.script([FAILING, FAILING, Behaviour(), FAILING, FAILING, Behaviour()])
    assert [execute(prompt)["attempt_count"] for _ in range(2)] == [3, 3]
    assert upstream.request_count == 6


@pytest.mark.django_db(transaction=True)
def test_streams_open_and_respect_it(prompt, editor, failing):
    def stream():
        body = {"variables": {"name": "Ada"}, "stream": True}
        return b"".join(editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body).streaming_content).decode()

    stream()
    assert "CIRCUIT_OPEN" in stream()
    assert failing.request_count == 3
    assert Execution.objects.filter(error_code="CIRCUIT_OPEN").count() == 1


def test_without_redis_each_process_has_its_own(execute, prompt, failing, redis_away):
    execute(prompt, status=502)
    execute(prompt, status=503)
    assert failing.request_count == 3


def test_the_admin_shows_it(client, execute, prompt, model, failing):
    from apps.users.models import User

    client.force_login(User.objects.create_superuser("op@example.com", "correct horse battery"))
    page = f"/admin/models/llmmodel/{model.id}/change/"
    assert "closed" in client.get(page).content.decode()
    execute(prompt, status=502)
    assert "after 3 failures" in client.get(page).content.decode()


def test_background_executions_wait_for_a_circuit_to_close(
    execute, prompt, model, upstream, editor, settings, run_jobs
):
    settings.CIRCUIT_OPEN_S = 1
    upstream.script([FAILING] * 3)
    execute(prompt, status=502)
    queued = editor.client.post(
        f"{PROMPTS}/{prompt['id']}/execute", {"variables": {"name": "Ada"}, "mode": "async"}
    ).json()["data"]
    assert run_jobs() == ["run_queued"]
    done = editor.client.get(f"{EXECUTIONS}/{queued['id']}").json()["data"]
    assert (done["status"], [attempt["error"] for attempt in done["attempts"]]) == ("succeeded", [None])
    assert done["queue_ms"] >= 900
    assert done["latency_ms"] < 900


def test_patience_ends(execute, prompt, model, failing, editor, settings, run_jobs):
    settings.CIRCUIT_OPEN_S, settings.BACKGROUND_PATIENCE = 30, 10
    execute(prompt, status=502)
    body = {"variables": {"name": "Ada"}, "mode": "async"}
    queued = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body).json()["data"]
    run_jobs()
    done = editor.client.get(f"{EXECUTIONS}/{queued['id']}").json()["data"]
    assert (done["status"], done["error"]["code"]) == ("failed", "CIRCUIT_OPEN")
