"""What happens to running calls when their worker ends: those without an answer are queued again."""

import threading
from decimal import Decimal

import pytest
from django.utils import timezone

from apps.executions.models import INTERRUPTED, Execution, Reservation, Status
from apps.executions.orchestrator import background, drain
from apps.executions.orchestrator.leases import LEASES
from apps.organizations.models import WebhookDelivery, WebhookEndpoint
from everquant.workers import STOPPING
from tests.budgets.conftest import make_budget, state
from tests.executions.conftest import EXECUTIONS, PROMPTS, stand_in
from tests.executions.test_stream import wait_until
from tests.upstream import Behaviour

__all__ = ["make_budget"]

pytestmark = pytest.mark.django_db(transaction=True)
BODY = {"variables": {"name": "Ada"}}
STALLS = {"waiting": Behaviour(delay_s=60), "before a token": Behaviour(stall_before_token=True)}


@pytest.fixture
def queue(editor):
    def post(prompt, **body):
        answer = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**BODY, "mode": "async", **body})
        assert answer.status_code == 202, answer.content
        return answer.json()["data"]

    return post


@pytest.fixture
def read(editor):
    return lambda execution: editor.client.get(f"{EXECUTIONS}/{execution['id']}").json()["data"]


@pytest.fixture
def end_worker(organization):
    """Have a runner begin, and end its process's drain once `begun` holds."""

    def end(begun):
        runner = threading.Thread(target=background.run_queued, args=(organization.id,))
        runner.start()
        try:
            begun()
            STOPPING.set()
            LEASES.interrupt_all()
            runner.join(10)
        finally:
            STOPPING.clear()
        assert not runner.is_alive()

    return end


@pytest.fixture
def end_at_call(end_worker, upstream):
    def end(number=1):
        end_worker(lambda: upstream.wait_for(lambda server: server.request_count == number))

    return end


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("stall", STALLS)
def test_without_an_answer_it_is_queued_again(stall, is_streamed, queue, read, prompt, upstream, end_at_call, run_jobs):
    upstream.script([STALLS[stall]])
    queued = queue(prompt, stream=is_streamed)
    end_at_call()
    back = read(queued)
    assert (back["status"], back["started_at"], back["finished_at"], back["error"]) == ("queued", None, None, None)
    assert (back["attempt_count"], back["cost_usd"], back["output"]) == (1, None, None)
    assert [attempt["error"]["code"] for attempt in back["attempts"]] == [INTERRUPTED]

    run_jobs()
    done = read(queued)
    assert (done["status"], done["output"], done["attempt_count"]) == ("succeeded", "You said: Hello, Ada!", 2)
    assert [(one["number"], one["error"] is None) for one in done["attempts"]] == [(1, False), (2, True)]
    keys = [request.headers["idempotency-key"] for request in upstream.requests]
    assert keys == [queued["id"]] * 2


def test_nobody_is_told_before_the_end(queue, prompt, upstream, end_at_call, organization):
    events = ["execution.completed", "execution.failed", "execution.cancelled"]
    WebhookEndpoint.objects.create(
        organization=organization, name="ci", url="https://hooks.example.invalid", event_types=events
    )
    upstream.script([STALLS["waiting"]])
    queue(prompt)
    end_at_call()
    assert not WebhookDelivery.objects.exists()
    background.run_queued(organization.id)
    assert [delivery.event_type for delivery in WebhookDelivery.objects.all()] == ["execution.completed"]


def test_what_was_reserved_stays_and_one_call_is_charged(
    queue, read, prompt, upstream, end_at_call, run_jobs, make_budget
):
    budget = make_budget("1")
    upstream.script([STALLS["waiting"]])
    queued = queue(prompt)
    held = state(budget["id"])
    assert held[1] > 0
    end_at_call()
    assert state(budget["id"]) == held
    run_jobs()
    assert state(budget["id"]) == (Decimal(read(queued)["cost_usd"]), 0)
    assert not Reservation.objects.exists()


def test_a_batch_counts_it_as_queued(prompt, editor, upstream, end_at_call, run_jobs):
    upstream.script([STALLS["waiting"]])
    body = {"prompt_id": prompt["id"], "rows": [BODY, BODY]}
    path = f"{EXECUTIONS}/batches/{editor.client.post(f'{EXECUTIONS}/batch', body).json()['data']['id']}"
    end_at_call()
    batch = editor.client.get(path).json()["data"]
    assert batch["counts"] == {"queued": 2, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert batch["finished_at"] is None
    run_jobs()
    batch = editor.client.get(path).json()["data"]
    assert batch["counts"] == {"queued": 0, "running": 0, "succeeded": 2, "failed": 0, "cancelled": 0}
    assert batch["finished_at"] is not None


def test_what_keeps_being_interrupted_fails(queue, read, prompt, upstream, end_at_call):
    upstream.answer_always(STALLS["waiting"])
    queued = queue(prompt)
    for number in range(1, drain.MOST_INTERRUPTED + 1):
        end_at_call(number)
        assert read(queued)["status"] == "queued"
    end_at_call(drain.MOST_INTERRUPTED + 1)
    done = read(queued)
    assert (done["status"], done["error"]["code"]) == ("failed", INTERRUPTED)
    assert [one["number"] for one in done["attempts"]] == [1, 2, 3, 4]
    assert done["is_usage_estimated"] is True


def test_what_has_come_of_an_answer_is_kept_and_charged(queue, read, prompt, upstream, end_worker):
    upstream.script([Behaviour(words=["word "] * 400, interval_s=0.02)])
    queued = queue(prompt, stream=True)
    end_worker(lambda: wait_until(Execution.objects.get().events.exists))
    done = read(queued)
    assert (done["status"], done["error"]["code"]) == ("failed", INTERRUPTED)
    assert done["output"].startswith("word")
    assert Decimal(done["cost_usd"]) > 0


def test_one_that_waits_for_its_turn_is_queued_again_without_a_trace(
    queue, read, make_model, make_prompt, upstream, end_worker, run_jobs, execute
):
    make_model(is_default=True, requests_per_minute=1)
    prompt = make_prompt()
    execute(prompt)
    queued = queue(prompt)
    end_worker(lambda: wait_until(lambda: LEASES.count == 1))
    back = read(queued)
    assert (back["status"], back["attempt_count"], back["attempts"]) == ("queued", 0, [])
    assert upstream.request_count == 1


def test_tries_before_it_are_kept(queue, read, make_model, make_prompt, upstream, end_at_call, run_jobs):
    down = make_model("fault-400", is_default=True)
    stand_in(down, make_model("gpt-5-nano"))
    upstream.script([Behaviour(raw_body=b"oops"), STALLS["waiting"], Behaviour(raw_body=b"oops")])
    queued = queue(make_prompt())
    end_at_call(2)
    back = read(queued)
    assert [one["error"]["code"] for one in back["attempts"]] == ["INVALID_RESPONSE", INTERRUPTED]
    assert back["model_id"] == str(down.id)
    run_jobs()
    done = read(queued)
    codes = [one["error"] and one["error"]["code"] for one in done["attempts"]]
    assert codes == ["INVALID_RESPONSE", INTERRUPTED, "INVALID_RESPONSE", None]
    assert (done["status"], done["attempt_count"]) == ("succeeded", 4)


def test_a_wish_to_cancel_that_its_process_has_not_seen_ends_it(queue, prompt, upstream, end_worker):
    upstream.script([STALLS["waiting"]])
    queue(prompt)

    def begun():
        upstream.wait_for(lambda server: server.request_count == 1)
        Execution.objects.update(cancel_requested_at=timezone.now())

    end_worker(begun)
    row = Execution.objects.get()
    assert (row.status, row.error_code) == (Status.FAILED, INTERRUPTED)
