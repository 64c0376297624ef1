"""A worker's work at runs: take one, walk it, store what it came to; then the next."""

import time
from collections.abc import Mapping
from typing import Any

import structlog
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from apps.workflows.definition.model import Definition
from apps.workflows.definition.values import ValueProblem, resolve
from apps.workflows.definition.weights import Room
from apps.workflows.engine import ending, queue
from apps.workflows.engine.checkpoints import RunSaver
from apps.workflows.engine.compiler import walk_graph
from apps.workflows.engine.containers import earliest
from apps.workflows.engine.frames import WAITING, Failure, Frame, definition_of
from apps.workflows.engine.leases import held
from apps.workflows.engine.steps import LeaseLost, State, history
from apps.workflows.engine.walk import Halt, Walk
from apps.workflows.models import RunStatus, WorkflowRun
from apps.workflows.resolution import version_by_id
from everquant.api.bulkhead import Bulkhead
from everquant.api.errors import ServiceUnavailable
from everquant.db import DATABASE_AWAY, patiently, release_connection
from everquant.workers import STOPPING, capacity

logger = structlog.get_logger(__name__)

SLICE_S = 30.0
CRASHED = "INTERNAL"
TIMED_OUT = "TIMEOUT"


def most_walks() -> int:
    """Of a process: a quarter of its jobs are left for other work."""
    return max(1, capacity() * 3 // 4)


_PLACES = Bulkhead(most_walks)


def run_ready() -> int:
    """Work at ready runs, one after the other; gives how many.

    With all places of the process taken there is nothing to do: who has one comes to what is ready.
    """
    try:
        place = _PLACES.enter()
    except ServiceUnavailable:
        return 0
    with place:
        try:
            return _run_in_turn()
        finally:
            release_connection()


def _run_in_turn() -> int:
    count, ends_at = 0, time.monotonic() + SLICE_S
    while time.monotonic() < ends_at and not STOPPING.is_set():
        run = patiently(queue.take)
        if run is None:
            return count
        work_at(run)
        count += 1
    queue.call_workers()
    return count


def work_at(run: WorkflowRun) -> None:
    """Walk a run that was taken, and store what it came to. Raises what says that the database is away."""
    if run.cancel_requested_at is not None:
        ending.finish(run, RunStatus.CANCELLED)
        return
    try:
        run.version = version_by_id(run.version_id)
        definition = definition_of(run.version)
        recorded = patiently(lambda: history(run)) if run.fence > 1 or run.origin_id else {}
        walk = Walk(run, definition, recorded)
        with held(walk):
            _walk(walk, definition)
    except LeaseLost:
        logger.warning("workflow_run_lost", run_id=str(run.id))
    except DATABASE_AWAY:
        raise
    except Exception:
        logger.exception("workflow_run_crashed", run_id=str(run.id))
        ending.fail(run, code=CRASHED, message="The server failed; it has been logged.")


def _walk(walk: Walk, definition: Definition) -> None:
    run = walk.run
    frame = Frame(
        walk=walk,
        key=(run.version_id, ""),
        graph=definition.graph,
        bodies=definition.bodies,
        pins=run.version.pins,
        roots={"inputs": run.inputs, "run": {"id": str(run.id)}},
        deadline=walk.deadline,
    )
    control = RunControl()
    walk.on_halt = control.request_drain
    release_connection()
    saver = RunSaver(run)
    try:
        states = walk_graph(frame, saver, control)
    except GraphDrained:
        states = {}
    patiently(lambda: _conclude(walk, frame, saver, states), run_id=str(run.id))


def _conclude(walk: Walk, frame: Frame, saver: RunSaver, states: Mapping[str, State]) -> None:
    run, active_ms = walk.run, walk.active_ms
    if walk.halt_reason is Halt.LOST:
        raise LeaseLost
    if walk.halt_reason is Halt.CANCELLED:
        ending.finish(run, RunStatus.CANCELLED, active_ms=active_ms)
    elif walk.halt_reason is Halt.TIMED_OUT:
        message = f"The run was not through in {walk.settings.timeout_s:g} s of work (timeout_s)."
        late = RunStatus.TIMED_OUT
        ending.fail(run, code=TIMED_OUT, message=message, active_ms=active_ms, status=late)
    elif frame.failure is not None:
        _fail(walk, frame.failure)
    elif walk.halt_reason is Halt.DRAINING:
        saver.store()
        queue.hand_back(run, active_ms=active_ms)
    else:
        _finish_or_wait(walk, frame, saver, states)


def _finish_or_wait(walk: Walk, frame: Frame, saver: RunSaver, states: Mapping[str, State]) -> None:
    waiting = [state for state in states.values() if state["status"] == WAITING]
    if waiting:
        saver.store()
        queue.let_wait(walk.run, wake_at=earliest(waiting), active_ms=walk.active_ms)
        return
    outputs: dict[str, Any] = {}
    room = Room()
    for name, value in walk.definition.outputs.items():
        try:
            outputs[name] = resolve(value, frame.scope_of(value, states))
            room.take(outputs[name])
        except ValueProblem as problem:
            _fail(walk, Failure(f"outputs.{name}", problem.code, problem.message))
            return
    ending.finish(walk.run, RunStatus.SUCCEEDED, active_ms=walk.active_ms, outputs=outputs)


def _fail(walk: Walk, failure: Failure) -> None:
    ending.fail(walk.run, code=failure.code, message=failure.message, path=failure.path, active_ms=walk.active_ms)
