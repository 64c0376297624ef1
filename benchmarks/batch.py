"""Speed of batches: `python -m benchmarks.batch [ROWS]` (10,000), two workers against an upstream that answers at once.

Prints rows per second and their ratio to direct calls of the same upstream, the time to store the batch, the median of
reading its progress, and the memory of a worker with 200 waiting calls.
"""

import contextlib
import statistics
import sys
import time
from typing import Any

from benchmarks.__main__ import GOALS, prompt_with_model, show
from benchmarks.load import wrk
from benchmarks.stack import Stack, memory_mib, process, running_stack

CALLS = 200


def direct_rate(stack: Stack) -> float:
    """Calls of the upstream per second, with nothing in between."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello, Ada!"}]}
    rate = wrk(f"http://127.0.0.1:{stack.upstream_port}/v1/chat/completions", body=body)
    print(f"     direct calls: {rate.per_second:.0f} per second, {rate.failed} failed")
    return rate.per_second


@contextlib.contextmanager
def worker(stack: Stack, concurrency: int) -> Any:
    command = [sys.executable, "manage.py", "worker", "--concurrency", str(concurrency)]
    with process(*command, **stack.environment) as child:
        yield child


def post(stack: Stack, token: str, prompt: dict[str, Any], rows: int) -> Any:
    body = {"prompt_id": prompt["id"], "rows": [{"variables": {"name": f"n{number}"}} for number in range(rows)]}
    return stack.call("POST", "/executions/batch", body, token)


def wait_for_end(stack: Stack, token: str, batch_id: str) -> Any:
    """The finished batch."""
    while True:
        batch = stack.call("GET", f"/executions/batches/{batch_id}", token=token)
        if batch["finished_at"]:
            return batch
        time.sleep(0.25)


def look_ms(stack: Stack, token: str, batch_id: str) -> float:
    """One look at a batch's progress."""
    started = time.perf_counter()
    stack.call("GET", f"/executions/batches/{batch_id}", token=token)
    return (time.perf_counter() - started) * 1000


def throughput(rows: int) -> None:
    with running_stack() as stack:
        token = stack.log_in()
        prompt = prompt_with_model(stack, token)
        direct = direct_rate(stack)
        with worker(stack, 16), worker(stack, 16):
            wait_for_end(stack, token, post(stack, token, prompt, 200)["id"])
            started = time.perf_counter()
            batch = post(stack, token, prompt, rows)
            stored_s = time.perf_counter() - started
            done = wait_for_end(stack, token, batch["id"])
            took_s = time.perf_counter() - started - stored_s
        if done["counts"]["succeeded"] != rows:
            raise RuntimeError(f"not every row has succeeded: {done['counts']}")
        show(f"rows per second, {rows} rows, 2 workers", rows / took_s, "/s", goal=250, ratio=rows / took_s / direct)
        show("storing the batch", stored_s, "s", goal=5, at_most=True)
        looks = [look_ms(stack, token, batch["id"]) for _ in range(50)]
        show("reading its progress, median", statistics.median(looks), "ms", goal=20, at_most=True)


def waiting() -> None:
    with running_stack(upstream_delay_ms=8000, QUEUE_RUNNERS="256") as stack:
        token = stack.log_in()
        prompt = prompt_with_model(stack, token)
        with worker(stack, CALLS + 72) as child:
            batch = post(stack, token, prompt, CALLS)
            most, running = 0.0, 0
            while running < CALLS:
                running = stack.call("GET", f"/executions/batches/{batch['id']}", token=token)["counts"]["running"]
                time.sleep(0.1)
            most = memory_mib(child.pid)
            wait_for_end(stack, token, batch["id"])
            show(f"memory of a worker with {CALLS} waiting calls", most, "MiB", goal=400, at_most=True)


if __name__ == "__main__":
    throughput(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    waiting()
    sys.exit(not all(reached for _, reached in GOALS))
