"""Cancelling in every state: queued, waiting for a provider, streaming, running in the background, finished."""

import threading

import pytest
from django.utils import timezone

from apps.executions.models import Execution, Status
from apps.executions.orchestrator import background, leases
from apps.executions.sweeping import fail_interrupted
from everquant.api.bulkhead import WAITING_CALLS
from tests.executions.conftest import EXECUTIONS, PROMPTS
from tests.executions.test_stream import parse, wait_until
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db(transaction=True)
BODY = {"variables": {"name": "Ada"}}


@pytest.fixture
def cancel(editor):
    return lambda execution_id: editor.client.post(f"{EXECUTIONS}/{execution_id}/cancel")


@pytest.fixture
def in_thread():
    """Do it in a thread of its own; what it gave, once it is joined."""
    threads = []

    def start(call):
        results = []
        thread = threading.Thread(target=lambda: results.append(call()))
        thread.start()
        threads.append(thread)
        return lambda: (thread.join(10), results)[1][0]

    yield start
    for thread in threads:
        thread.join(10)


def running() -> Execution:
    wait_until(lambda: Execution.objects.filter(status=Status.RUNNING).exists())
    return Execution.objects.get(status=Status.RUNNING)


def test_a_queued_one_is_cancelled_at_once_and_never_called(editor, cancel, prompt, upstream, run_jobs):
    queued = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**BODY, "mode": "async"}).json()["data"]
    answer = cancel(queued["id"])
    assert answer.status_code == 200, answer.content
    assert (answer.json()["data"]["status"], answer.json()["data"]["started_at"]) == ("cancelled", None)
    run_jobs()
    assert upstream.request_count == 0
    assert cancel(queued["id"]).status_code == 409


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("name", ["fault-stall-before", "fault-delay-60000"])
def test_a_waiting_call_is_stopped_and_what_was_sent_is_charged(
    editor, cancel, make_model, make_prompt, upstream, in_thread, name, kind
):
    make_model(name, kind=kind, is_default=True)
    prompt = make_prompt()
    call = in_thread(lambda: editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", BODY))
    upstream.wait_for(lambda server: server.request_count == 1)
    row = running()
    asked = cancel(row.id).json()["data"]
    assert (asked["status"], asked["cancel_requested_at"] is not None) == ("running", True)

    answer = call()
    assert answer.status_code == 409
    assert answer.json()["error"]["details"]["execution_id"] == str(row.id)
    row.refresh_from_db()
    assert (row.status, row.error_code, row.is_usage_estimated) == (Status.CANCELLED, "", True)
    assert row.input_tokens > 0
    assert row.output_tokens == 0
    assert row.cost_usd > 0
    assert row.attempts.get().error_code == "CANCELLED"
    upstream.wait_until_last_is_closed()


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_stream_is_stopped_and_keeps_what_has_come(editor, cancel, make_model, make_prompt, upstream, kind):
    upstream.answer_always(Behaviour(words=["abcd "] * 400, interval_s=0.02))
    make_model(kind=kind, is_default=True)
    response = editor.client.post(f"{PROMPTS}/{make_prompt()['id']}/execute", {**BODY, "stream": True})
    parts = iter(response.streaming_content)
    received = next(parts) + next(parts)
    assert cancel(running().id).status_code == 200
    events = parse(received + b"".join(parts))
    assert events[-1][1] == "execution.cancelled"
    ended = events[-1][2]
    assert 0 < len(ended["output"]) < 2000
    assert (ended["is_usage_estimated"], ended["output_tokens"]) == (True, -(-len(ended["output"]) // 4))
    row = Execution.objects.get()
    assert row.status == Status.CANCELLED
    assert row.cost_usd > 0


def test_a_background_call_is_stopped(editor, cancel, make_model, make_prompt, organization, upstream, in_thread):
    make_model("fault-delay-60000", is_default=True)
    path = f"{PROMPTS}/{make_prompt()['id']}/execute"
    queued = editor.client.post(path, {**BODY, "mode": "async"}).json()["data"]
    runner = in_thread(lambda: background.run_queued(organization.id))
    upstream.wait_for(lambda server: server.request_count == 1)
    cancel(queued["id"])
    assert runner() == 1
    assert Execution.objects.get().status == Status.CANCELLED


def test_between_two_tries(editor, cancel, make_model, make_prompt, upstream, in_thread):
    make_model("fault-429-retry-after-50", is_default=True)
    path = f"{PROMPTS}/{make_prompt()['id']}/execute"
    call = in_thread(lambda: editor.client.post(path, BODY))
    upstream.wait_for(lambda server: server.request_count == 1)
    cancel(running().id)
    assert call().status_code == 409
    row = Execution.objects.get()
    assert (row.status, row.input_tokens, row.cost_usd) == (Status.CANCELLED, None, None)
    assert upstream.request_count == 1


def test_what_has_ended_stays_as_it_is(editor, cancel, execute, prompt):
    done = execute(prompt)
    refused = cancel(done["id"])
    assert (refused.status_code, refused.json()["error"]["details"]) == (409, {"status": "succeeded"})
    assert Execution.objects.get().cancel_requested_at is None


def test_without_redis_the_next_renewal_sees_it(
    editor, cancel, make_model, make_prompt, upstream, in_thread, settings, redis_away
):
    settings.LEASE_RENEW_S = 0.6
    wait_until(lambda: leases.LEASES.count == 0)
    make_model("fault-delay-60000", is_default=True)
    path = f"{PROMPTS}/{make_prompt()['id']}/execute"
    call = in_thread(lambda: editor.client.post(path, BODY))
    upstream.wait_for(lambda server: server.request_count == 1)
    cancel(running().id)
    assert call().status_code == 409


def test_leases_are_renewed_while_the_process_lives(editor, make_model, make_prompt, upstream, in_thread, settings):
    settings.LEASE_S, settings.LEASE_RENEW_S = 2, 0.3
    upstream.answer_always(Behaviour(delay_s=1.5))
    make_model(is_default=True)
    path = f"{PROMPTS}/{make_prompt()['id']}/execute"
    call = in_thread(lambda: editor.client.post(path, BODY))
    first = running().lease_expires_at
    wait_until(lambda: Execution.objects.get().lease_expires_at > first)
    assert call().status_code == 200


def test_of_a_process_that_is_gone_it_is_the_sweeper_who_cancels(editor, cancel, organization):
    now = timezone.now()
    lost = Execution.objects.create(
        organization_id=organization.id, status=Status.RUNNING, created_at=now, started_at=now, lease_expires_at=now
    )
    from apps.executions.models import ExecutionPayload

    ExecutionPayload.objects.create(execution=lost, messages=[])
    assert cancel(lost.id).status_code == 200
    assert fail_interrupted() == 1
    lost.refresh_from_db()
    assert lost.status == Status.CANCELLED


def test_leaving_a_stream_cancels_where_it_is_set_so(editor, make_model, make_prompt, upstream, settings):
    settings.ON_DISCONNECT = "cancel"
    upstream.answer_always(Behaviour(words=["word "] * 400, interval_s=0.02))
    make_model(is_default=True)
    response = editor.client.post(f"{PROMPTS}/{make_prompt()['id']}/execute", {**BODY, "stream": True})
    parts = iter(response.streaming_content)
    next(parts), next(parts)
    response.close()
    wait_until(lambda: Execution.objects.get().status == Status.CANCELLED)
    wait_until(lambda: WAITING_CALLS.taken == 0)
    upstream.wait_until_last_is_closed()
