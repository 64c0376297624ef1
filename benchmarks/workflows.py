"""Speed of workflows: `python -m benchmarks.workflows [chain|runs|map]`, with real workers.

`chain` is the time per node of ten `template` nodes one after the other, against LangGraph alone with its PostgreSQL
saver. `runs` is 200 runs at once of five model calls of 200 ms each, in workers that have had 40, beside the same runs
of LangGraph alone and the same calls as a batch. `map` is the memory of a worker with 1,000 items.
"""

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks.__main__ import GOALS, prompt_with_model, show
from benchmarks.processor import processor_s
from benchmarks.stack import ROOT, Stack, memory_mib, process, running_stack

NODES, CHAINS = 10, 60
RUNS, CALLS, CALL_S = 200, 5, 0.2
ITEMS = 1000


@contextlib.contextmanager
def worker(stack: Stack, concurrency: int) -> Iterator[Any]:
    command = [sys.executable, "manage.py", "worker", "--concurrency", str(concurrency)]
    with process(*command, **stack.environment) as child:
        yield child


def publish(stack: Stack, token: str, slug: str, nodes: list[Any], edges: list[Any], **more: Any) -> str:
    """The id of a workflow with one version."""
    body = {"schema_version": 1, "nodes": nodes, "edges": edges, **more}
    workflow = stack.call("POST", "/workflows", {"slug": slug, "name": slug, "definition": body}, token)
    stack.call("POST", f"/workflows/{workflow['id']}/publish", {}, token)
    return str(workflow["id"])


def execute(stack: Stack, token: str, workflow_id: str, inputs: Any = None) -> Any:
    return stack.call("POST", f"/workflows/{workflow_id}/execute", {"inputs": inputs or {}}, token)


def wait_for_end(stack: Stack, token: str, run_id: str, pause_s: float = 0.05) -> Any:
    """The finished run; raises RuntimeError for one that has not succeeded."""
    while True:
        run = stack.call("GET", f"/workflow-runs/{run_id}", token=token)
        if run["finished_at"]:
            if run["status"] != "succeeded":
                raise RuntimeError(f"{run['status']}: {run['error']}")
            return run
        time.sleep(pause_s)


def in_a_row(nodes: list[Any]) -> list[Any]:
    return [{"from": one["id"], "to": other["id"]} for one, other in itertools.pairwise(nodes)]


def chain() -> None:
    with running_stack() as stack:
        token = stack.log_in()
        nodes = [
            {"id": f"n{number}", "kind": "template", "config": {"template": f"text {number}"}}
            for number in range(NODES)
        ]
        workflow_id = publish(stack, token, "chain", nodes, in_a_row(nodes))
        alone = langgraph_alone(stack)
        with worker(stack, 8):
            for _ in range(5):
                wait_for_end(stack, token, execute(stack, token, workflow_id)["id"])
            runs = [wait_for_end(stack, token, execute(stack, token, workflow_id)["id"]) for _ in range(CHAINS)]
        per_node = statistics.median(run["active_ms"] / NODES for run in runs)
        for name, reference in alone.items():
            print(f"     LangGraph alone, durability {name}: {reference:.2f} ms per node")
        show("a node of a chain, all records included, median", per_node, "ms", goal=12, at_most=True)
        show("… as a multiple of LangGraph alone (its default)", per_node / alone["async"], "x", goal=2, at_most=True)


def langgraph_alone(stack: Stack) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.langgraph_alone", str(NODES), str(CHAINS)]
    environment = {**os.environ, **stack.environment}
    said = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {name: float(value) for name, value in (line.split() for line in said.splitlines())}


def runs() -> None:
    options = {
        "WORKFLOW_RUNS_PER_ORGANIZATION": str(RUNS), "RATE_LIMIT_ORGANIZATION": "100000/m", "QUEUE_RUNNERS": str(RUNS)
    }  # fmt: skip
    with running_stack(upstream_delay_ms=int(CALL_S * 1000), **options) as stack:
        token = stack.log_in()
        prompt = prompt_with_model(stack, token)
        nodes = [
            {"id": f"n{number}", "kind": "llm", "config": {"model": "bench", "prompt": f"say {number}"}}
            for number in range(CALLS)
        ]
        workflow_id = publish(stack, token, "calls", nodes, in_a_row(nodes))
        concurrency = RUNS * 4 // 3 + 8
        with worker(stack, concurrency // 2) as one, worker(stack, concurrency // 2) as other:
            groups = {one.pid: "workers", other.pid: "workers", stack.group: "web"}
            all_at_once(stack, token, workflow_id, RUNS // 5)
            took_s, ids = measured(stack, groups, lambda: all_at_once(stack, token, workflow_id, RUNS))
            batch_s, _ = measured(stack, groups, lambda: (rows(stack, token, prompt["id"]), []))
            active_s = statistics.median(wait_for_end(stack, token, key)["active_ms"] for key in ids) / 1000
        alone = {durability: langgraph_calls(stack, durability) for durability in ("async", "exit")}
    # What two cores can do at best: the calls have to be made and recorded with or without a graph.
    ratio = took_s / batch_s
    show("200 runs at once, as a multiple of the same calls as a batch", ratio, "", goal=1.6, at_most=True)
    print(f"     runs {took_s:.1f} s, batch {batch_s:.1f} s; {CALLS * CALL_S:.0f} s if nothing but waiting took time")
    print(f"     a run, from its worker to its end, at the median: {active_s:.1f} s")
    for durability, alone_s in alone.items():
        print(f"     LangGraph alone, durability {durability}: {alone_s:.1f} s; ratio {took_s / alone_s:.2f}")


def measured(
    stack: Stack, groups: dict[int, str], work: Callable[[], tuple[float, list[str]]]
) -> tuple[float, list[str]]:
    """What the work gives, its seconds first; prints the processor time of a call that it makes."""
    before = processor_s(stack, groups)
    found = work()
    used = processor_s(stack, groups) - before
    each = ", ".join(f"{name} {seconds * 1000 / RUNS / CALLS:.1f} ms" for name, seconds in sorted(used.items()))
    print(f"     {found[0]:.1f} s, {RUNS * CALLS / found[0]:.0f} calls per second; processor time of each: {each}")
    return found


def all_at_once(stack: Stack, token: str, workflow_id: str, runs: int) -> tuple[float, list[str]]:
    """Seconds from the first request to the last end, and the runs' ids."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(16) as clients:
        ids = [run["id"] for run in clients.map(lambda _: execute(stack, token, workflow_id), range(runs))]
    print(f"     {runs} runs were asked for in {time.perf_counter() - begun:.1f} s")
    wait_until_idle(stack, token, workflow_id)
    return time.perf_counter() - begun, ids


def wait_until_idle(stack: Stack, token: str, workflow_id: str) -> None:
    """Until no run of the workflow is queued and then none running, seen as rarely as the end of a batch is."""
    for status in ("queued", "running"):
        while stack.call("GET", f"/workflow-runs?workflow_id={workflow_id}&status={status}&per_page=1", token=token):
            time.sleep(0.2)


def rows(stack: Stack, token: str, prompt_id: str) -> float:
    """Seconds for as many calls as rows of a batch."""
    wish = {
        "prompt_id": prompt_id,
        "rows": [{"variables": {"name": f"n{number}"}} for number in range(RUNS * CALLS)],
    }
    begun = time.perf_counter()
    batch = stack.call("POST", "/executions/batch", wish, token)
    while not (batch := stack.call("GET", f"/executions/batches/{batch['id']}", token=token))["finished_at"]:
        time.sleep(0.2)
    if batch["counts"]["succeeded"] != RUNS * CALLS:
        raise RuntimeError(f"not every row has succeeded: {batch['counts']}")
    return time.perf_counter() - begun


def langgraph_calls(stack: Stack, durability: str) -> float:
    """Seconds for the same runs of LangGraph alone in two processes, without a record of what they did."""
    url = f"http://127.0.0.1:{stack.upstream_port}/v1/chat/completions"
    command = [sys.executable, "-m", "benchmarks.langgraph_alone", str(CALLS), str(RUNS // 2), url, durability]
    options: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, **stack.environment}, "text": True}
    with ExitStack() as stopping:
        children = [
            stopping.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options))
            for _ in range(2)
        ]
        wait_for_lines(children, "ready")
        begun = time.perf_counter()
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        wait_for_lines(children, "done")
        return time.perf_counter() - begun


def wait_for_lines(children: list[Any], line: str) -> None:
    for child in children:
        if child.stdout.readline().strip() != line:
            raise RuntimeError(f"LangGraph alone did not come to {line}")


def mapping() -> None:
    with running_stack() as stack:
        token = stack.log_in()
        prompt_with_model(stack, token)
        body = {
            "nodes": [{"id": "say", "kind": "llm", "config": {"model": "bench", "prompt": "{{ item }}"}}],
            "edges": [],
        }
        config = {"items": {"$ref": "inputs.list"}, "body": body, "max_concurrency": 16, "max_items": ITEMS}
        nodes = [{"id": "each", "kind": "map", "config": config}]
        settings = {"max_node_executions": 2 * ITEMS, "max_concurrency": 16}
        inputs = {"type": "object", "properties": {"list": {"type": "array"}}, "required": ["list"]}
        workflow_id = publish(stack, token, "map", nodes, [], settings=settings, inputs=inputs)
        with worker(stack, 8) as child:
            started = time.perf_counter()
            run = execute(stack, token, workflow_id, {"list": [f"item {number}" for number in range(ITEMS)]})
            most = 0.0
            while not stack.call("GET", f"/workflow-runs/{run['id']}", token=token)["finished_at"]:
                most = max(most, memory_mib(child.pid))
                time.sleep(0.2)
            took_s = time.perf_counter() - started
            wait_for_end(stack, token, run["id"])
        print(f"     {ITEMS} items in {took_s:.1f} s, {ITEMS / took_s:.0f} per second")
        show(f"memory of a worker with a map over {ITEMS} items", most, "MiB", goal=300, at_most=True)


PARTS = {"chain": chain, "runs": runs, "map": mapping}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
    sys.exit(not all(reached for _, reached in GOALS))
