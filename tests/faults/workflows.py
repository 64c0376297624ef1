"""Workers that die, hang, drain and lose their servers in the middle of workflows."""

import os
import signal
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.faults.registry import fault
from tests.faults.stack import LEASE_S, Json, Stack, until
from tests.upstream import Behaviour

# For a job that is there to be begun, on a busy machine.
AT_ONCE_S = 3
# What docs/workflows.md promises: the lease ends, and a job looks every ten seconds.
GOES_ON_WITHIN_S = LEASE_S + 10 + AT_ONCE_S
CANCELLED_WITHIN_S = 3
TERMINAL = {"run.succeeded", "run.failed", "run.cancelled", "run.timed_out"}
INPUTS = {
    "type": "object",
    "properties": {"tag": {"type": "string"}, "items": {"type": "array", "default": []}},
    "required": ["tag"],
}


@dataclass(frozen=True)
class Run:
    """Its model calls say `tag` and which node or item they are for, so that the upstream tells them apart."""

    stack: Stack
    id: str
    tag: str

    @property
    def status(self) -> str:
        return str(self._column("status"))

    @property
    def fence(self) -> int:
        return int(self._column("fence"))

    def _column(self, name: str) -> Any:
        return self.stack.scalar(f"SELECT {name} FROM workflows_workflowrun WHERE id = %s", self.id)

    def read(self) -> Json:
        found: Json = self.stack.data("GET", f"/workflow-runs/{self.id}")
        return found

    def steps(self) -> dict[str, list[str]]:
        """Path → the statuses of its attempts in their order, over HTTP."""
        found = defaultdict(list)
        for step in self.stack.data("GET", f"/workflow-runs/{self.id}/steps?per_page=100"):
            found[step["path"]].append(step["status"])
        return dict(found)

    def events(self) -> list[tuple[int, str]]:
        """The stream to its end: the numbers and types."""
        text = self.stack.ask("GET", f"/workflow-runs/{self.id}/events").text
        fields = [line.split(": ", 1) for line in text.splitlines() if line.startswith(("id: ", "event: "))]
        numbers = [int(value) for name, value in fields if name == "id"]
        types = [value for name, value in fields if name == "event"]
        return list(zip(numbers, types, strict=True))

    def calls(self) -> dict[str, list[str]]:
        """Node or item → the idempotency keys of the calls that the provider got for it."""
        found = defaultdict(list)
        for request in list(self.stack.upstream.requests):
            tag, _, name = request.body["messages"][-1]["content"].partition(" ")
            if tag == self.tag:
                found[name].append(request.headers["idempotency-key"])
        return dict(found)

    def rows(self) -> tuple[Any, ...]:
        """All that is stored of it, to see whether anybody has changed it."""
        return tuple(
            self.stack.rows(f"SELECT t::text FROM {table} t WHERE {column} = %s ORDER BY 1", self.id)
            for table, column in (
                ("workflows_workflowrun", "id"),
                ("workflows_workflowstep", "run_id"),
                ("workflows_runevent", "run_id"),
                ("executions_execution", "workflow_run_id"),
            )
        )

    def until_asked(self, name: str) -> None:
        until(lambda: name in self.calls(), f"the provider is asked for {name}")

    def until_ended(self, timeout_s: float = 60) -> None:
        until(lambda: self.read()["finished_at"], "the run ends", timeout_s)

    def seconds_until_event_after(self, moment: float) -> float:
        """From this time of the clock to the next event that was stored."""
        after = "SELECT extract(epoch FROM min(created_at)) FROM workflows_runevent WHERE run_id = %s"
        sql = f"{after} AND created_at > to_timestamp(%s)"
        return float(until(lambda: self.stack.scalar(sql, self.id, moment), "the run goes on", 60)) - moment


def _call(node_id: str, text: str, model: Json) -> Json:
    return {"id": node_id, "kind": "llm", "config": {"model": model["slug"], "prompt": text}}


def _chain(length: int, model: Json, *first: Json) -> Json:
    """Model calls one after the other, `n1` to `n<length>`, after the nodes `first`."""
    nodes = [*first, *(_call(f"n{number}", f"{{{{inputs.tag}}}} n{number}", model) for number in range(1, length + 1))]
    handles = {"approval": "approved"}
    edges = [
        {"from": before["id"], "handle": handles.get(before["kind"], "ok"), "to": after["id"]}
        for before, after in pairwise(nodes)
    ]
    return {
        "inputs": INPUTS,
        "nodes": nodes,
        "edges": edges,
        "outputs": {"last": {"$ref": f"nodes.n{length}.output", "default": None}},
    }


def _map(model: Json) -> Json:
    body = {
        "nodes": [_call("write", "{{inputs.tag}} {{item}}", model)],
        "edges": [],
        "output": {"$ref": "nodes.write.output"},
    }
    config = {"items": {"$ref": "inputs.items"}, "max_concurrency": 3, "body": body}
    return {
        "inputs": INPUTS,
        "nodes": [{"id": "each", "kind": "map", "config": config}],
        "outputs": {"all": {"$ref": "nodes.each.output.items"}},
    }


def _start(stack: Stack, workflow: Json, tag: str, **inputs: Any) -> Run:
    body = {"inputs": {"tag": tag, **inputs}}
    return Run(stack, stack.data("POST", f"/workflows/{workflow['id']}/execute", body)["id"], tag)


def _check_end(run: Run, status: str = "succeeded") -> None:
    """What clients see of an end; the books are read by the invariants."""
    read, events = run.read(), run.events()
    assert read["status"] == status, read
    numbers, types = [number for number, _ in events], Counter(kind for _, kind in events)
    assert numbers == list(range(1, len(events) + 1)), numbers
    assert events[-1][1] == f"run.{status}", events[-1]
    begins, ends = types["run.started"], sum(types[kind] for kind in TERMINAL)
    assert (begins, ends) == (int(run.fence > 0), 1), types
    assert status != "succeeded" or float(read["cost_usd"]) > 0, read


def _check_cut_off(run: Run, cut: set[str], whole: set[str], path: str = "{}") -> None:
    """Those that were cut off were called once more under the same key, the `whole` ones once."""
    steps, keys = run.steps(), run.calls()
    for name in whole:
        assert (steps[path.format(name)], len(keys[name])) == (["succeeded"], 1), (name, steps, keys)
    for name in cut:
        assert steps[path.format(name)] == ["interrupted", "succeeded"], (name, steps)
        assert (len(keys[name]), len(set(keys[name]))) == (2, 1), (name, keys)


@fault("kill -9 of a worker in a model call of a workflow")
def killed_in_a_call(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(delay_s=0.8, text="one two three"))
    run = _start(stack, stack.make_workflow(_chain(5, stack.make_model())), "killed")
    watched = ThreadPoolExecutor(1).submit(run.events)
    run.until_asked("n3")
    stack.kill_workers()
    killed_at = time.time()
    stack.start_worker()
    silent_s = run.seconds_until_event_after(killed_at)
    run.until_ended()
    assert watched.result(AT_ONCE_S) == run.events(), "who watched saw each event once"
    assert silent_s < GOES_ON_WITHIN_S, silent_s
    _check_end(run)
    _check_cut_off(run, {"n3"}, {"n1", "n2", "n4", "n5"})
    return f"goes on after {silent_s:.1f} s; only the call that was cut off is made again, under its key"


@fault("kill -9 of a worker in a map of a workflow")
def killed_in_a_map(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(delay_s=0.6))
    items = [f"item{place}" for place in range(12)]
    run = _start(stack, stack.make_workflow(_map(stack.make_model())), "mapped", items=items)
    until(lambda: len(run.calls()) >= 7, "some items are done")
    stack.kill_workers()
    killed_at = time.time()
    steps, before = run.steps(), run.calls()
    done = {place for place in range(12) if steps.get(f"each[{place}].write") == ["succeeded"]}
    asked = {place for place in range(12) if f"item{place}" in before}
    stack.upstream.answer_always(Behaviour())
    stack.start_worker()
    silent_s = run.seconds_until_event_after(killed_at)
    run.until_ended()
    assert silent_s < GOES_ON_WITHIN_S, silent_s
    _check_end(run)
    assert run.read()["outputs"]["all"] == [f"You said: mapped item{place}" for place in range(12)], run.read()
    assert len(done) >= 3, done
    calls = {place: run.calls()[f"item{place}"] for place in range(12)}
    assert all(len(set(keys)) == 1 for keys in calls.values()), calls
    again = {place for place, keys in calls.items() if len(keys) > 1}
    assert again <= asked - done, (again, asked, done)
    return f"goes on after {silent_s:.1f} s; {len(done)} items were done and stay, {len(again)} are asked for once more"


@fault("kill -9 of the worker while a workflow waits for an approval")
def killed_while_waiting(stack: Stack) -> str:
    approval = {"id": "ask", "kind": "approval", "config": {"title": "May it go on?"}}
    model = stack.make_model()
    run = _start(
        stack, stack.make_workflow(_chain(1, model, _call("n0", "{{inputs.tag}} n0", model), approval)), "asked"
    )
    until(lambda: run.status == "waiting", "it waits")
    stack.kill_workers()
    answer = {"decision": "approved", "comment": "Yes."}
    decided = stack.data("POST", f"/workflow-runs/{run.id}/resume", answer)
    assert decided["status"] == "approved", decided
    second = stack.ask("POST", f"/workflow-runs/{run.id}/resume", {"decision": "rejected"})
    assert (second.status_code, run.read()["status"]) == (409, "queued"), second.text
    stack.start_worker()
    started_at = time.time()
    run.until_ended(AT_ONCE_S + 2)
    _check_end(run)
    assert run.steps() == {"n0": ["succeeded"], "ask": ["succeeded"], "n1": ["succeeded"]}, run.steps()
    assert all(len(keys) == 1 for keys in run.calls().values()), run.calls()
    return f"answered without a worker, a second answer is a 409; ended {time.time() - started_at:.1f} s after one came"


@fault("SIGTERM of a worker in a chain of model calls of a workflow")
def drained(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(delay_s=0.5))
    run = _start(stack, stack.make_workflow(_chain(7, stack.make_model())), "drained")
    run.until_asked("n3")
    began_at = time.time()
    stack.stop_workers()
    took_s = time.time() - began_at
    assert run.status == "queued", run.status
    before = run.steps()
    assert set(before) < {f"n{number}" for number in range(1, 8)}, before
    assert all(statuses == ["succeeded"] for statuses in before.values()), before
    stack.start_worker()
    silent_s = run.seconds_until_event_after(time.time())
    assert silent_s < AT_ONCE_S, silent_s
    run.until_ended()
    _check_end(run)
    _check_cut_off(run, set(), {f"n{number}" for number in range(1, 8)})
    return (
        f"handed back after {took_s:.1f} s with {len(before)} of 7 done; the next worker goes on after {silent_s:.1f} s"
    )


@fault("SIGTERM of a worker whose call in a workflow outlasts the drain")
def drained_in_vain(stack: Stack) -> str:
    stack.stop_workers()
    stack.start_worker(WORKER_DRAIN_S="1")
    stack.upstream.script([Behaviour(), Behaviour(delay_s=60)])
    run = _start(stack, stack.make_workflow(_chain(3, stack.make_model())), "outlasted")
    run.until_asked("n2")
    stack.stop_workers()
    assert (run.status, run.steps()["n2"]) == ("queued", ["interrupted"]), run.steps()
    stack.start_worker()
    silent_s = run.seconds_until_event_after(time.time())
    assert silent_s < AT_ONCE_S, silent_s
    run.until_ended()
    _check_end(run)
    _check_cut_off(run, {"n2"}, {"n1", "n3"})
    return f"the call is stopped and made again under its key, {silent_s:.1f} s after the next worker came"


@fault("SIGSTOP of a worker for longer than its lease, in a workflow")
def hung(stack: Stack) -> str:
    """The hung one wakes up while another has the run, with the answer to its call."""
    stack.upstream.answer_always(Behaviour(delay_s=0.8))
    run = _start(stack, stack.make_workflow(_chain(5, stack.make_model())), "hung")
    run.until_asked("n2")
    os.killpg(stack.workers[0].pid, signal.SIGSTOP)
    stopped_at = time.time()
    try:
        stack.start_worker()
        silent_s = run.seconds_until_event_after(stopped_at)
        run.until_asked("n3")
    finally:
        os.killpg(stack.workers[0].pid, signal.SIGCONT)
    until(lambda: _has_given_up(stack, run), "the hung worker notices", LEASE_S)
    run.until_ended()
    assert silent_s < GOES_ON_WITHIN_S, silent_s
    _check_end(run)
    assert run.fence == 2, run.fence
    _check_cut_off(run, {"n2"}, {"n1", "n3", "n4", "n5"})
    rows = run.rows()
    stack.stop_workers(but=1)
    stack.stop_workers()
    assert run.rows() == rows, "nobody writes any more"
    stack.start_worker()
    return f"another has it after {silent_s:.1f} s; the hung one wakes up, sees that it is lost, and writes nothing"


def _has_given_up(stack: Stack, run: Run) -> bool:
    lines = stack.log_path.read_text(errors="replace").splitlines()
    return any("workflow_run_lost" in line and run.id in line for line in lines)


@fault("PostgreSQL restarts under workflows")
def database_restarted(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(delay_s=0.5))
    chain, mapped = _both(stack, "restarted")
    chain.until_asked("n3")
    stack.restart_service(stack.postgres_pid(), signal.SIGINT)
    again = _ended_in_one_go(chain, mapped)
    return f"both runs succeed in the worker that had them, {again} calls are made again"


@fault("Valkey is killed under workflows and comes back")
def cache_gone(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(delay_s=0.5))
    chain, mapped = _both(stack, "uncached")
    chain.until_asked("n2")
    stack.restart_service(stack.valkey_pid(), signal.SIGKILL, away_s=1.5)
    again = _ended_in_one_go(chain, mapped)
    return f"both runs succeed in the worker that had them, {again} calls are made again"


def _both(stack: Stack, tag: str) -> tuple[Run, Run]:
    model = stack.make_model()
    chain = _start(stack, stack.make_workflow(_chain(6, model)), f"{tag}-chain")
    items = [f"item{place}" for place in range(12)]
    return chain, _start(stack, stack.make_workflow(_map(model)), f"{tag}-map", items=items)


def _ended_in_one_go(*runs: Run) -> int:
    """Gives how many calls were made again."""
    for run in runs:
        run.until_ended()
        _check_end(run)
        assert run.fence == 1, run.fence
        assert all(statuses[-1] == "succeeded" for statuses in run.steps().values()), run.steps()
        assert all(len(set(keys)) == 1 for keys in run.calls().values()), run.calls()
    return sum(len(keys) - 1 for run in runs for keys in run.calls().values())


@fault("two workers and 30 runs of a workflow at once")
def two_workers(stack: Stack) -> str:
    stack.start_worker()
    stack.upstream.answer_always(Behaviour(delay_s=0.2))
    workflow = stack.make_workflow(_chain(2, stack.make_model()))
    began_at = time.time()
    runs = stack.many(30, lambda number: _start(stack, workflow, f"run{number}"))
    stack.settle()
    took_s = time.time() - began_at
    for run in runs:
        _check_end(run)
        assert run.fence == 1, run.fence
        _check_cut_off(run, set(), {"n1", "n2"})
    stack.stop_workers(but=1)
    return f"each is begun once and ends once, under the fence 1, in {took_s:.1f} s"


@fault("workflows cancelled while queued, in a call, in a delay, and before an approval")
def cancelled(stack: Stack) -> str:
    stack.upstream.answer_always(Behaviour(delay_s=30))
    model = stack.make_model()
    delay = {"id": "pause", "kind": "delay", "config": {"seconds": 3600}}
    approval = {"id": "ask", "kind": "approval", "config": {"title": "May it go on?"}}
    calling = stack.make_workflow(_chain(2, model))
    runs = [
        _start(stack, calling, "cancelled-call"),
        _start(stack, stack.make_workflow(_chain(1, model, delay)), "cancelled-delay"),
        _start(stack, stack.make_workflow(_chain(1, model, approval)), "cancelled-approval"),
    ]
    until(lambda: [run.status for run in runs] == ["running", "waiting", "waiting"], "they are where they are to be")
    runs[0].until_asked("n1")
    slowest_s = max(_cancel(run) for run in runs)
    late = stack.ask("POST", f"/workflow-runs/{runs[2].id}/resume", {"decision": "approved"})
    assert late.status_code == 409, late.text
    stack.stop_workers()
    runs.append(_start(stack, calling, "cancelled-queue"))
    slowest_s = max(slowest_s, _cancel(runs[-1]))
    stack.start_worker()
    jobs = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'workflows.run_next' AND status = 'todo'"
    until(lambda: not stack.scalar(jobs), "the jobs find nothing", AT_ONCE_S + 2)
    assert [run.fence for run in runs] == [1, 1, 1, 0], [run.fence for run in runs]
    assert [len(run.calls()) for run in runs] == [1, 0, 0, 0], "the provider is asked for nothing more"
    assert {run.read()["status"] for run in runs} == {"cancelled"}
    return f"each ended, the slowest after {slowest_s:.1f} s; no worker comes back to them"


def _cancel(run: Run) -> float:
    """Gives how many seconds it took."""
    began_at = time.time()
    answer = run.stack.ask("POST", f"/workflow-runs/{run.id}/cancel")
    assert answer.status_code == 200, answer.text
    run.until_ended(CANCELLED_WITHIN_S)
    took_s = time.time() - began_at
    _check_end(run, "cancelled")
    again = run.stack.ask("POST", f"/workflow-runs/{run.id}/cancel")
    assert again.status_code == 409, again.text
    return took_s
