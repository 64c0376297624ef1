"""Clients that leave, repeat themselves, and change their minds."""

import json
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.faults.registry import fault
from tests.faults.stack import Json, Stack, until
from tests.upstream import Behaviour


def _leave(stack: Stack, prompt: Json, **more: object) -> None:
    """Ask, wait until the provider has been asked, and hang up."""
    before = stack.upstream.request_count
    body = json.dumps({"variables": {"name": "Ada"}, **more}).encode()
    head = (
        f"POST /api/v1/prompts/{prompt['id']}/execute HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {stack.token}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as client:
        client.sendall(head.encode() + body)
        stack.upstream.wait_for(lambda server: server.request_count > before, 10)


@fault("client leaves a waiting call and a stream")
def leaves(stack: Stack) -> str:
    prompt = stack.make_prompt()
    stack.upstream.answer_always(Behaviour(text="one two three four", delay_s=0.3, interval_s=0.2))
    for more in ({}, {"stream": True}):
        _leave(stack, prompt, **more)
    stack.settle()
    rows = stack.rows(
        "SELECT e.status, p.output, e.cost_usd > 0 FROM executions_execution e "
        "JOIN executions_executionpayload p ON p.execution_id = e.id WHERE e.prompt_id = %s",
        prompt["id"],
    )
    assert rows == [("succeeded", "one two three four", True)] * 2, rows
    return "both answers taken to their end, recorded and charged"


@fault("50 requests at once with one idempotency key")
def one_key(stack: Stack) -> str:
    seen = []
    for mode in ("wait", "async"):
        prompt = stack.make_prompt()
        before = stack.upstream.request_count
        path, body = f"/prompts/{prompt['id']}/execute", {"variables": {"name": "Ada"}, "mode": mode}
        answers = stack.many(50, lambda _: stack.ask("POST", path, body, Idempotency_Key=f"one-{mode}"))  # noqa: B023 (used at once)
        ids = {answer.json()["data"]["id"] for answer in answers}
        stack.settle()
        count = stack.scalar("SELECT count(*) FROM executions_execution WHERE prompt_id = %s", prompt["id"])
        asked = stack.upstream.request_count - before
        assert (len(ids), count, asked) == (1, 1, 1), (ids, count, asked)
        seen.append(f"{mode}: 50 answers of one execution, the provider asked once")
    return "; ".join(seen)


@fault("cancelled while queued, waiting, streaming and in the background; and when it is too late")
def cancels(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(text="one two three four five", interval_s=0.8, delay_s=4))
    prompt = stack.make_prompt()
    seen = {}
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(stack.execute, prompt)
        streaming = threads.submit(stack.execute, prompt, stream=True)
        background = stack.execute(prompt, mode="async").json()["data"]["id"]
        until(lambda: _running(stack, prompt) == 3, "all three run")
        for execution_id in _ids(stack, prompt):
            assert stack.ask("POST", f"/executions/{execution_id}/cancel").status_code in {200, 202}
        until(lambda: not _running(stack, prompt), "all three end", 5)
        seen["waiting"] = waiting.result().status_code
        assert "event: execution.failed" in streaming.result().text or "cancelled" in streaming.result().text
    assert seen["waiting"] == 409, seen
    stack.stop_workers()
    queued = stack.execute(prompt, mode="async").json()["data"]["id"]
    assert stack.ask("POST", f"/executions/{queued}/cancel").status_code in {200, 202}
    too_late = stack.ask("POST", f"/executions/{background}/cancel").status_code
    stack.start_worker()
    states = Counter(row[0] for row in stack.rows(
        "SELECT status FROM executions_execution WHERE prompt_id = %s", prompt["id"]
    ))  # fmt: skip
    assert (states, too_late) == ({"cancelled": 4}, 409), (states, too_late)
    charged = stack.scalar(
        "SELECT count(*) FROM executions_execution WHERE prompt_id = %s AND started_at IS NOT NULL AND cost_usd > 0",
        prompt["id"],
    )
    assert charged == 3, charged
    return "four cancelled, the three that ran are charged for what was used; 409 afterwards"


def _ids(stack: Stack, prompt: Json) -> list[str]:
    return [str(row[0]) for row in stack.rows("SELECT id FROM executions_execution WHERE prompt_id = %s", prompt["id"])]


def _running(stack: Stack, prompt: Json) -> int:
    return int(
        stack.scalar(
            "SELECT count(*) FROM executions_execution WHERE prompt_id = %s AND status = 'running'", prompt["id"]
        )
    )
