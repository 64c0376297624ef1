"""Workers that die while they add up what happened in an A/B test."""

import time

from tests.faults.registry import fault
from tests.faults.stack import Json, Stack, until

REQUESTS, AT_ONCE = 20, 1000
_PENDING = "SELECT count(*) FROM evaluations_abpending WHERE test_id = %s"
_COUNTED = "SELECT coalesce(sum(exposures), 0) FROM evaluations_abarm WHERE test_id = %s"


def _start(stack: Stack) -> str:
    """A test of two variants that runs; its id."""
    prompt = stack.data("POST", "/prompts", {"name": f"Tested {time.time_ns()}", "type": "text", "content": "Hello"})
    variants = [
        {"name": "control", "is_control": True, "weight": 0.5, "version": 1},
        {"name": "cool", "weight": 0.5, "version": 1, "parameters": {"temperature": 0}},
    ]
    body = {
        "name": "Killed",
        "prompt_id": prompt["id"],
        "variants": variants,
        "metrics": [{"name": "success", "measure": "success"}],
        "min_effect": 0.05,
    }
    test: Json = stack.data("POST", "/ab-tests", body)
    stack.data("POST", f"/ab-tests/{test['id']}/start")
    return str(test["id"])


def _expose(stack: Stack, test: str, request: int) -> None:
    """So many exposures, of 700 units in all."""
    numbers = range(request * AT_ONCE, (request + 1) * AT_ONCE)
    rows = [{"unit_id": f"unit {number % 700}", "success": number % 9 > 0, "latency_ms": number} for number in numbers]
    stack.data("POST", f"/ab-tests/{test}/exposures", {"exposures": rows})


@fault("kill -9 of a worker that adds up an A/B test")
def worker_killed(stack: Stack) -> str:
    test, whole = _start(stack), REQUESTS * AT_ONCE
    stack.stop_workers()
    for request in range(REQUESTS):
        _expose(stack, test, request)
    assert stack.scalar(_PENDING, test) == whole
    stack.start_worker()
    until(lambda: 0 < stack.scalar(_PENDING, test) < whole, "some are added up")
    stack.kill_workers()
    left = stack.scalar(_PENDING, test)
    assert 0 < left < whole, left
    assert stack.scalar(_COUNTED, test) == whole - left, "what waits no longer is in the sums, and nothing else"
    stack.manage("ab_tests", "verify", "--test", test)
    stack.start_worker()
    until(lambda: not stack.scalar(_PENDING, test), "all are added up")
    assert stack.scalar(_COUNTED, test) == whole
    stack.manage("ab_tests", "verify", "--test", test)
    stack.data("POST", f"/ab-tests/{test}/stop", {"reason": "Seen enough."})
    return f"killed with {left} of {whole} exposures left; each is in the sums once"
