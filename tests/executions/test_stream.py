"""Streamed executions: the order of events, faults in the middle, and readers who leave."""

import threading
import time

import orjson
import pytest
from django.db import connection

from apps.executions.models import Execution, Status
from apps.executions.orchestrator import live
from everquant.api import sse
from everquant.api.bulkhead import WAITING_CALLS
from tests.executions.conftest import EXECUTIONS, PROMPTS, stand_in
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db(transaction=True)


def wait_until(condition, timeout_s=10.0):
    """Until it holds; connections are given back in between, so that others' commits are seen."""
    give_up_at = time.monotonic() + timeout_s
    turn = threading.Event()
    while not condition():
        assert time.monotonic() < give_up_at, "what was waited for did not happen"
        turn.wait(0.02)


def parse(body: bytes) -> list[tuple[int, str, dict]]:
    """(id, event, data) of every event; comments are left out."""
    events = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append((int(fields["id"]), fields["event"], orjson.loads(fields["data"])))
    return events


@pytest.fixture
def stream(editor):
    def post(prompt, *, headers=None, **body):
        body = {"variables": {"name": "Ada"}, "stream": True, **body}
        return editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body, headers=headers)

    return post


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    yield
    wait_until(lambda: live.RUNNING.taken == 0 and WAITING_CALLS.taken == 0)


@pytest.mark.parametrize("kind", ["openai", "anthropic", "echo"])
def test_events_in_their_order(stream, make_prompt, make_model, editor, kind):
    make_model("m", kind=kind, is_default=True)
    response = stream(make_prompt())
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    events = parse(response.getvalue())

    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    names = [name for _, name, _ in events]
    assert names == ["execution.started", *["execution.delta"] * (len(events) - 2), "execution.completed"]
    started, ended = events[0][2], events[-1][2]
    assert (started["status"], started["output"], ended["status"]) == ("running", None, "succeeded")
    deltas = [data for _, name, data in events if name == "execution.delta"]
    assert "".join(delta["text"] for delta in deltas) == ended["output"]
    assert {delta["execution_id"] for delta in deltas} == {started["id"]} == {ended["id"]}
    assert ended["is_streamed"] is True
    assert ended["first_token_ms"] is not None
    assert ended["output_tokens"] > 0
    assert editor.client.get(f"{EXECUTIONS}/{ended['id']}").json()["data"] == ended


def test_tool_calls_come_in_pieces_and_whole_at_the_end(stream, make_prompt, model):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    events = parse(stream(make_prompt(tools=tools)).getvalue())
    pieces = [piece for _, name, data in events if name == "execution.delta" for piece in data["tool_calls"]]
    assert "".join(piece["arguments"] for piece in pieces) == '{"city": "Paris"}'
    assert events[-1][2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}


def test_what_is_wrong_is_a_plain_error_before_any_event(stream, prompt):
    response = stream(prompt, variables={})
    assert response.status_code == 400
    assert response.json()["error"]["details"] == {
        "variables.name": response.json()["error"]["details"]["variables.name"]
    }
    assert not Execution.objects.exists()


def test_before_the_first_token_it_is_tried_again_and_falls_back(stream, make_prompt, make_model, settings):
    settings.PROVIDER_FIRST_TOKEN_TIMEOUT = 0.2
    first = make_model("fault-stall-before", is_default=True)
    stand_in(first, make_model("m"))
    ended = parse(stream(make_prompt()).getvalue())[-1]
    assert ended[1] == "execution.completed"
    codes = [attempt["error"] and attempt["error"]["code"] for attempt in ended[2]["attempts"]]
    assert codes == ["TIMEOUT_FIRST_TOKEN"] * 3 + [None]
    assert ended[2]["first_token_ms"] >= 600


@pytest.mark.parametrize(
    ("fault", "code"), [("stall-after", "TIMEOUT_TOTAL"), ("cut", "CONNECTION"), ("overloaded", None)]
)
def test_after_the_first_token_nothing_is_retried_and_what_came_is_kept(
    stream, make_prompt, make_model, upstream, settings, fault, code
):
    settings.PROVIDER_TOTAL_TIMEOUT = 1.0
    first = make_model(f"fault-{fault}", is_default=True)
    stand_in(first, make_model("m"))
    events = parse(stream(make_prompt()).getvalue())
    assert events[-1][1] == "execution.failed"
    ended = events[-1][2]
    assert ended["error"]["code"] == code or code is None
    assert ended["output"]
    assert ended["output"] == "".join(data["text"] for _, name, data in events if name == "execution.delta")
    assert upstream.request_count == ended["attempt_count"] == 1
    assert Execution.objects.get(id=ended["id"]).status == Status.FAILED


def test_usage_that_came_before_a_cut_is_charged(stream, make_prompt, make_model):
    make_model("fault-cut", kind="anthropic", is_default=True)
    ended = parse(stream(make_prompt()).getvalue())[-1][2]
    assert ended["status"] == "failed"
    assert ended["input_tokens"] == 13
    assert float(ended["cost_usd"]) > 0


@pytest.mark.parametrize("parts_read", [0, 1, 2])
def test_a_reader_who_leaves_changes_nothing_of_what_is_recorded(stream, make_prompt, make_model, upstream, parts_read):
    upstream.answer_always(Behaviour(text="one two three four five", interval_s=0.1))
    make_model(is_default=True)
    response = stream(make_prompt())
    parts = iter(response.streaming_content)
    for _ in range(parts_read):
        next(parts)
    response.close()
    assert WAITING_CALLS.taken == 0
    wait_until(lambda: Execution.objects.filter(status=Status.SUCCEEDED).exists())
    row = Execution.objects.select_related("payload").get()
    assert row.payload.output == "one two three four five"
    assert row.cost_usd > 0
    assert row.finished_at is not None


def test_a_stream_holds_no_connection(stream, make_prompt, make_model, upstream):
    upstream.answer_always(Behaviour(interval_s=0.2))
    make_model(is_default=True)
    response = stream(make_prompt())
    parts = iter(response.streaming_content)
    next(parts)
    next(parts)
    stats = connection.pool.get_stats()
    assert stats["pool_available"] == stats["pool_size"]
    assert b"".join(parts).count(b"execution.completed") == 1


def test_while_nothing_comes_there_are_comments(make_prompt, make_model, upstream, editor):
    """Through the iterator itself: fifteen seconds are too long for a test."""
    upstream.answer_always(Behaviour(delay_s=0.4))
    make_model(is_default=True)
    prompt = make_prompt()
    from apps.executions.orchestrator import Command

    running = live.prepare_live(
        Command(
            organization_id=editor.organization.id,
            prompt_id=prompt["id"],
            variables={"name": "Ada"},
            is_streamed=True,
        )
    )
    running.begin()
    events = list(running.events(heartbeat_s=0.1))
    assert events[:2] == [None, None]
    assert events[-1].has_succeeded
    assert sse.HEARTBEAT.startswith(b":")
    assert sse.HEARTBEAT_S == 15


def test_a_repeated_key_gives_the_stored_stream_again(stream, make_prompt, make_model, upstream):
    make_model(is_default=True)
    prompt = make_prompt()
    first = parse(stream(prompt, headers={"Idempotency-Key": "s-1"}).getvalue())
    again = stream(prompt, headers={"Idempotency-Key": "s-1"})
    assert again.headers["Idempotent-Replayed"] == "true"
    events = parse(again.getvalue())
    assert [name for _, name, _ in events] == ["execution.started", "execution.delta", "execution.completed"]
    assert events[-1][2] == first[-1][2]
    assert events[1][2]["text"] == first[-1][2]["output"]
    assert upstream.request_count == 1
