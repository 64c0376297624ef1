"""Events of an execution that runs elsewhere: all of them, once, in order, and on from where a reader was cut off."""

import threading
from uuid import UUID

import pytest

from apps.executions.models import Execution, ExecutionEvent
from apps.executions.orchestrator import background, watching
from apps.executions.sweeping import purge_events
from everquant.api.bulkhead import WAITING_CALLS
from everquant.db import uuid7
from tests.executions.conftest import EXECUTIONS, PROMPTS
from tests.executions.test_stream import parse, wait_until
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db(transaction=True)
BODY = {"variables": {"name": "Ada"}}
WORDS = [f"word{number} " for number in range(40)]


@pytest.fixture(autouse=True)
def _nobody_reads_on():
    yield
    wait_until(lambda: watching.WATCHES.count == 0 and WAITING_CALLS.taken == 0)


@pytest.fixture
def queue(editor):
    def post(prompt, **body):
        return editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**BODY, "mode": "async", **body}).json()["data"]

    return post


@pytest.fixture
def open_events(editor):
    def get(execution_id, last_id=None):
        headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
        response = editor.client.get(f"{EXECUTIONS}/{execution_id}/events", headers=headers)
        assert response.status_code == 200, response.content
        return response

    return get


@pytest.fixture
def worker(organization):
    """A runner in a thread of its own, begun by calling it."""
    threads = []

    def start():
        thread = threading.Thread(target=background.run_queued, args=(organization.id,))
        thread.start()
        threads.append(thread)

    yield start
    for thread in threads:
        thread.join(10)


def text_of(events) -> str:
    return "".join(data["text"] for _, name, data in events if name == "execution.delta")


def test_readers_see_it_come_and_each_sees_all(queue, open_events, worker, make_model, make_prompt, upstream):
    upstream.answer_always(Behaviour(words=WORDS, interval_s=0.02))
    make_model(is_default=True)
    queued = queue(make_prompt(), stream=True)
    responses = [open_events(queued["id"]) for _ in range(3)]
    worker()
    readings = [parse(response.getvalue()) for response in responses]
    for events in readings:
        assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
        assert (events[0][1], events[-1][1]) == ("execution.started", "execution.completed")
        assert text_of(events) == "".join(WORDS) == events[-1][2]["output"]
    assert 3 < len(readings[0]) < len(WORDS)
    assert readings[0] == readings[1] == readings[2]


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_reader_goes_on_where_it_was_cut_off(
    queue, open_events, worker, make_model, make_prompt, upstream, is_finished
):
    upstream.answer_always(Behaviour(words=WORDS, interval_s=0.02))
    make_model(is_default=True)
    queued = queue(make_prompt(), stream=True)
    worker()
    response = open_events(queued["id"])
    parts = iter(response.streaming_content)
    first = parse(next(parts) + next(parts) + next(parts))
    response.close()
    if is_finished:
        wait_until(lambda: Execution.objects.get().is_finished)
    rest = parse(open_events(queued["id"], last_id=first[-1][0]).getvalue())
    numbers = [number for number, _, _ in first + rest]
    assert numbers == list(range(1, len(numbers) + 1))
    assert text_of(first + rest) == "".join(WORDS)
    assert open_events(queued["id"], last_id=numbers[-1]).getvalue() == b""


def test_tool_calls_come_in_pieces(queue, open_events, worker, make_prompt, model):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    queued = queue(make_prompt(tools=tools), stream=True)
    worker()
    events = parse(open_events(queued["id"]).getvalue())
    pieces = [piece for _, name, data in events if name == "execution.delta" for piece in data["tool_calls"]]
    assert "".join(piece["arguments"] for piece in pieces) == '{"city": "Paris"}'


@pytest.mark.parametrize("body", [{}, {"mode": "async"}], ids=["wait", "async"])
def test_what_was_not_streamed_gives_its_whole_output(editor, open_events, prompt, organization, body):
    path = f"{PROMPTS}/{prompt['id']}/execute"
    execution_id = editor.client.post(path, {**BODY, **body}).json()["data"]["id"]
    background.run_queued(organization.id)
    events = parse(open_events(execution_id).getvalue())
    assert [(number, name) for number, name, _ in events] == [
        (1, "execution.started"),
        (2, "execution.delta"),
        (3, "execution.completed"),
    ]
    started, _, ended = (data for _, _, data in events)
    assert (started["status"], started["output"], started["attempts"]) == ("running", None, [])
    assert started["messages"] == ended["messages"]
    assert text_of(events) == ended["output"]
    assert ended == editor.client.get(f"{EXECUTIONS}/{execution_id}").json()["data"]
    assert [number for number, _, _ in parse(open_events(execution_id, last_id=2).getvalue())] == [3]
    assert open_events(execution_id, last_id=3).getvalue() == b""


def test_whoever_lost_a_direct_stream_gets_its_end(editor, open_events, prompt):
    response = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**BODY, "stream": True})
    direct = parse(response.getvalue())
    events = parse(open_events(direct[-1][2]["id"], last_id=3).getvalue())
    assert [(number, name) for number, name, _ in events] == [(4, "execution.completed")]
    assert events[0][2] == direct[-1][2]


def test_a_failed_and_a_cancelled_one(editor, queue, open_events, make_model, make_prompt, organization):
    make_model("fault-400", is_default=True)
    prompt = make_prompt()
    failed = queue(prompt, stream=True)
    background.run_queued(organization.id)
    assert [name for _, name, _ in parse(open_events(failed["id"]).getvalue())] == [
        "execution.started",
        "execution.failed",
    ]
    cancelled = queue(prompt)
    editor.client.post(f"{EXECUTIONS}/{cancelled['id']}/cancel")
    names = [name for _, name, _ in parse(open_events(cancelled["id"]).getvalue())]
    assert names[-1] == "execution.cancelled"


@pytest.mark.parametrize("value", ["-1", "one", "1.5", "9" * 12, "²"])
def test_a_wrong_last_event_id_is_named(editor, execute, prompt, value):
    done = execute(prompt)
    answer = editor.client.get(f"{EXECUTIONS}/{done['id']}/events", headers={"Last-Event-ID": value})
    assert answer.status_code == 400
    assert list(answer.json()["error"]["details"]) == ["Last-Event-ID"]


def test_nothing_of_another_organization(outsider, execute, prompt):
    assert outsider.client.get(f"{EXECUTIONS}/{execute(prompt)['id']}/events").status_code == 404


def test_old_pieces_are_purged(queue, open_events, worker, make_prompt, model):
    queued = queue(make_prompt(), stream=True)
    worker()
    events = parse(open_events(queued["id"]).getvalue())
    old = UUID(int=uuid7().int - (2 * 24 * 3600 * 1000 << 80))
    ExecutionEvent.objects.create(execution_id=old, number=2, created_at="2020-01-01T00:00Z")
    assert purge_events() == 1
    assert parse(open_events(queued["id"]).getvalue()) == events
