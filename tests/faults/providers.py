"""Providers that fail in every way."""

import socket
from collections import Counter

from tests.faults.registry import fault
from tests.faults.stack import FIRST_TOKEN_S, TOTAL_S, Json, Stack


def _failed(stack: Stack, model: str, status: int, code: str, tries: int, **body: object) -> str:
    """One execution on this model; its answer, what was recorded, and how often the provider was asked."""
    answer = stack.execute(stack.make_prompt(model), **body)
    assert answer.status_code == status, (answer.status_code, answer.text[:300])
    recorded = _recorded(stack, answer.json()["error"]["details"]["execution_id"])
    assert recorded["error"]["code"] == code, recorded["error"]
    assert recorded["attempt_count"] == len(recorded["attempts"]) == tries, recorded["attempts"]
    return f"{status} {code}, {tries} tries"


def _recorded(stack: Stack, execution_id: str) -> Json:
    found: Json = stack.data("GET", f"/executions/{execution_id}")
    return found


@fault("provider: 429 with Retry-After, then an answer")
def too_many(stack: Stack) -> str:
    answer = stack.execute(stack.make_prompt("fault-429-retry-after-1-then-200"))
    data = answer.json()["data"]
    assert (answer.status_code, data["attempt_count"]) == (200, 2), answer.text
    assert data["latency_ms"] >= 1000, data["latency_ms"]
    return f"200 at the second try, after {data['latency_ms']} ms"


@fault("provider: 500, then an answer")
def breaks_once(stack: Stack) -> str:
    data = stack.execute(stack.make_prompt("fault-500-then-200")).json()["data"]
    assert (data["status"], data["attempt_count"]) == ("succeeded", 2), data
    return "200 at the second try"


@fault("provider: 500 for ever, and a fallback")
def falls_back(stack: Stack) -> str:
    good = stack.make_prompt()["model"]
    data = stack.execute(stack.make_prompt("fault-500", fallbacks=[good])).json()["data"]
    assert (data["status"], data["model_id"], data["attempt_count"]) == ("succeeded", good, 4), data
    return "three tries, then the fallback answered and was charged"


@fault("provider: 400 is never tried again")
def refuses(stack: Stack) -> str:
    return _failed(stack, "fault-400", 502, "INVALID_REQUEST", 1)


@fault("provider: no connection in time")
def no_connection(stack: Stack) -> str:
    """A listening socket whose queue is full: packets to it are dropped."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        queued = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            queued.append(client)
        prompt = stack.make_prompt(base_url=f"http://127.0.0.1:{address[1]}/v1")
        answer = stack.execute(prompt)
        for client in queued:
            client.close()
    details = answer.json()["error"]["details"]
    assert answer.status_code == 504, answer.text
    recorded = _recorded(stack, details["execution_id"])
    assert recorded["error"]["code"] == "TIMEOUT_CONNECT", recorded["error"]
    return f"504 TIMEOUT_CONNECT after {recorded['attempt_count']} tries, {recorded['latency_ms']} ms"


@fault("provider: stalls before the first token")
def stalls_before(stack: Stack) -> str:
    answer = stack.execute(stack.make_prompt("fault-stall-before"), stream=True)
    assert "event: execution.failed" in answer.text, answer.text[-500:]
    assert "TIMEOUT" in answer.text, answer.text[-500:]
    return f"stream ends as failed within {TOTAL_S} s; each try waits {FIRST_TOKEN_S} s at most"


@fault("provider: stalls after the first token")
def stalls_after(stack: Stack) -> str:
    answer = stack.execute(stack.make_prompt("fault-stall-after"), stream=True)
    assert "event: execution.delta" in answer.text, answer.text[-500:]
    assert "TIMEOUT_TOTAL" in answer.text, answer.text[-500:]
    kept = stack.rows("SELECT output FROM executions_executionpayload ORDER BY execution_id DESC LIMIT 1")[0][0]
    assert kept, "what had come is kept"
    return f"failed as TIMEOUT_TOTAL in one try; {len(kept)} characters kept"


@fault("provider: cuts the connection in the middle of a stream")
def cuts(stack: Stack) -> str:
    answer = stack.execute(stack.make_prompt("fault-cut"), stream=True)
    assert "event: execution.failed" in answer.text, answer.text[-500:]
    tries = stack.rows("SELECT attempt_count FROM executions_execution ORDER BY id DESC LIMIT 1")[0][0]
    assert tries == 1, tries
    return "failed in one try, what had come is kept"


@fault("provider: invalid JSON")
def invalid_json(stack: Stack) -> str:
    return _failed(stack, "fault-invalid-json", 502, "INVALID_RESPONSE", 1)


@fault("provider: an answer of 10 MB")
def oversized(stack: Stack) -> str:
    return _failed(stack, "fault-oversized", 502, "TOO_LARGE", 1)


@fault("provider: a byte now and then")
def drips(stack: Stack) -> str:
    answer = stack.execute(stack.make_prompt("fault-drip"))
    assert answer.status_code == 504, answer.text[:300]
    return "504 when the whole call's time is over"


@fault("500 calls of 200 ms over 25 database connections")
def many_calls(stack: Stack) -> str:
    prompt = stack.make_prompt("fault-delay-200")
    statuses = Counter(answer.status_code if answer is not None else 0 for answer in stack.many(
        500, lambda _: stack.execute(prompt)
    ))  # fmt: skip
    assert statuses == {200: 500}, statuses
    return "500 answers"
