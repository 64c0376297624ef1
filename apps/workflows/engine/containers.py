"""Nodes with a body: each pass walks the body's own graph, and goes on where the records of its nodes end."""

import contextvars
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.workflows.definition.expressions import is_true
from apps.workflows.definition.model import Body
from apps.workflows.definition.values import ValueProblem, resolve
from apps.workflows.definition.weights import Room
from apps.workflows.engine.frames import WAITING, Failure, Frame, definition_of
from apps.workflows.engine.steps import State
from apps.workflows.engine.walk import Walk
from apps.workflows.models import WorkflowVersion
from apps.workflows.nodes.base import NodeCall, NodeFailure, Result, Waiting
from apps.workflows.resolution import check_inputs
from everquant.api.errors import ApiError
from everquant.db import release_connection

Json = Any

MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass came to: an output, a failure, or `wake_at` with `is_waiting`; none of them when it was halted."""

    output: Json = None
    failure: Failure | None = None
    is_waiting: bool = False
    wake_at: datetime | None = None
    is_halted: bool = False
    states: Mapping[str, State] | None = None


def run(frame: Frame, call: NodeCall, states: Mapping[str, State]) -> Result | None:
    """None when the walk was halted. Raises NodeFailure, Waiting, ValueProblem."""
    return {"map": _run_map, "loop": _run_loop, "subworkflow": _run_subworkflow}[call.node.kind](frame, call, states)


def _run_map(frame: Frame, call: NodeCall, states: Mapping[str, State]) -> Result | None:
    config = call.config
    items = resolve(config["items"], call.scope)
    if not isinstance(items, list):
        raise NodeFailure("INVALID_VALUE", "items: A list is expected.")
    if len(items) > config.get("max_items", 1000):
        raise NodeFailure("TOO_MANY_ITEMS", f"{len(items)} items; at most {config.get('max_items', 1000)} (max_items).")
    mode = config.get("on_item_error", "fail")
    around = frame.around(states)
    failed: list[Failure] = []
    room = Room()

    def one(place: int) -> Pass:
        if call.seconds_left() <= 0 or frame.is_stopped or (failed and mode == "fail"):
            return Pass(is_halted=True)
        done = _pass(frame, call, f"{call.path}[{place}].", {"item": items[place], "index": place}, around)
        done = _with_room(done, room, f"{call.path}[{place}].output")
        if done.failure is not None:
            failed.append(done.failure)
        # Of thousands of items only what they gave is kept.
        return replace(done, states=None)

    passes = _in_parallel(frame.walk, one, len(items), config.get("max_concurrency", 4))
    return _map_result(frame, call, passes, mode)


def _with_room(done: Pass, room: Room, path: str) -> Pass:
    try:
        room.take(done.output)
    except ValueProblem as problem:
        return Pass(failure=Failure(path, problem.code, problem.message))
    return done


def _in_parallel(walk: Walk, one: Callable[[int], Pass], count: int, at_once: int) -> list[Pass]:
    def in_thread(place: int) -> Pass:
        # What reads an output after the last visit has a connection, which a thread would take with it to its end.
        try:
            return one(place)
        finally:
            release_connection()

    with walk.threads(min(at_once, count)) as threads:
        if threads <= 1:
            return [one(place) for place in range(count)]
        release_connection()
        with ThreadPoolExecutor(threads, thread_name_prefix="workflow-map") as pool:
            return list(pool.map(in_thread, range(count)))


def _map_result(frame: Frame, call: NodeCall, passes: Sequence[Pass], mode: str) -> Result | None:
    if frame.is_stopped:
        return None
    failures = [(place, done.failure) for place, done in enumerate(passes) if done.failure is not None]
    if failures and mode == "fail":
        place, failure = failures[0]
        raise NodeFailure(failure.code, f"Item {place}, {failure.path}: {failure.message}")
    _raise_if_late(call, passes)
    _raise_if_waiting(passes)
    kept = [done for done in passes if mode != "drop" or done.failure is None]
    errors = [{"index": place, "code": failure.code, "message": failure.message} for place, failure in failures]
    return Result({"items": [done.output for done in kept], "errors": errors}, input={"items": len(passes)})


def _run_loop(frame: Frame, call: NodeCall, states: Mapping[str, State]) -> Result | None:
    config = call.config
    around = frame.around(states)
    last: Json = None
    for number in range(config["max_iterations"]):
        roots = {"iteration": number, "last": last}
        done = _pass(frame, call, f"{call.path}[{number}].", roots, around)
        if done.is_halted and not frame.is_stopped:
            _raise_if_late(call, [done])
        if done.is_halted:
            return None
        if done.failure is not None:
            raise NodeFailure(done.failure.code, f"Iteration {number}, {done.failure.path}: {done.failure.message}")
        _raise_if_waiting([done])
        last = done.output
        if "until" in config and _is_done(frame, call, done, number, around):
            return Result({"last": last, "iterations": number + 1, "is_done": True})
    return Result({"last": last, "iterations": config["max_iterations"], "is_done": False})


def _is_done(frame: Frame, call: NodeCall, done: Pass, number: int, around: Mapping[str, State]) -> bool:
    states = {**around, **(done.states or {})}
    scope = frame.scope_of(call.config["until"], states).with_roots(iteration=number, last=done.output)
    try:
        return is_true(call.config["until"], scope)
    except ValueProblem as problem:
        raise NodeFailure(problem.code, f"until: {problem.message}") from problem


def _run_subworkflow(frame: Frame, call: NodeCall, states: Mapping[str, State]) -> Result | None:
    if call.path.count(".") >= MAX_DEPTH:
        raise NodeFailure("TOO_DEEP", f"Bodies and sub-workflows are nested more than {MAX_DEPTH} deep.")
    versions = WorkflowVersion.objects.for_organization(call.run.organization_id)
    version: WorkflowVersion = versions.get(id=UUID(call.pin["version_id"]))
    definition = definition_of(version)
    given = resolve(call.config.get("inputs", {}), call.scope)
    if not isinstance(given, dict):
        raise NodeFailure("INVALID_INPUTS", "inputs: An object is expected.")
    try:
        inputs = check_inputs(version, given)
    except ApiError as error:
        said = "; ".join(f"{path}: {why}" for path, why in error.details.items())
        raise NodeFailure("INVALID_INPUTS", said or error.message) from error
    child = Frame(
        walk=frame.walk,
        key=(version.id, ""),
        graph=definition.graph,
        bodies=definition.bodies,
        pins=version.pins,
        roots={"inputs": inputs, "run": frame.roots["run"]},
        deadline=call.deadline,
        prefix=f"{call.path}.",
        parent=frame,
    )
    done = _walked(child, call, lambda scope_of: _outputs(definition.outputs, scope_of))
    if done.is_halted:
        _raise_if_late(call, [done])
        return None
    if done.failure is not None:
        raise NodeFailure(done.failure.code, f"{done.failure.path}: {done.failure.message}")
    _raise_if_waiting([done])
    return Result(done.output, input=inputs)


def _outputs(outputs: Mapping[str, Json], scope_of: Any) -> Json:
    found: dict[str, Json] = {}
    room = Room()
    for name, value in outputs.items():
        found[name] = resolve(value, scope_of(value))
        room.take(found[name])
    return found


def _pass(frame: Frame, call: NodeCall, prefix: str, roots: Mapping[str, Json], around: Mapping[str, State]) -> Pass:
    body: Body = frame.bodies[call.node.id]
    child = Frame(
        walk=frame.walk,
        key=(frame.key[0], call.node.id),
        graph=body.graph,
        bodies=frame.bodies,
        pins=frame.pins,
        roots={**frame.roots, **roots},
        deadline=call.deadline,
        prefix=prefix,
        parent=frame,
        outer=around,
    )
    if body.output is not None:
        return _walked(child, call, lambda scope_of: resolve(body.output, scope_of(body.output)))
    return _walked(child, call, None)


def _walked(child: Frame, call: NodeCall, output: Any) -> Pass:
    from apps.workflows.engine.compiler import walk_graph  # noqa: PLC0415 (it loads LangGraph, and leads back here)

    # In a context of its own: LangGraph would take it for a part of the graph that this node belongs to.
    states: Mapping[str, State] = contextvars.Context().run(walk_graph, child)
    if child.failure is not None:
        return Pass(failure=child.failure)
    if child.is_stopped or time.monotonic() >= child.deadline:
        return Pass(is_halted=True)
    waiting = [state for state in states.values() if state["status"] == WAITING]
    if waiting:
        return Pass(is_waiting=True, wake_at=earliest(waiting))
    try:
        value = output(lambda what: child.scope_of(what, states)) if output else _last(child, states)
    except ValueProblem as problem:
        return Pass(failure=Failure(f"{child.prefix}output", problem.code, problem.message))
    return Pass(output=value, states=states)


def _last(child: Frame, states: Mapping[str, State]) -> Json:
    """The output of the last node, in topological order, that ended well."""
    for node_id in reversed(list(child.graph.nodes)):
        if states.get(node_id, {}).get("status") == "ok":
            return child.output(node_id, states[node_id])
    return None


def earliest(waiting: Sequence[State]) -> datetime | None:
    times = [datetime.fromisoformat(state["wake_at"]) for state in waiting if state["wake_at"]]
    return min(times, default=None)


def _raise_if_waiting(passes: Sequence[Pass]) -> None:
    waiting = [done for done in passes if done.is_waiting]
    if waiting:
        raise Waiting(min((done.wake_at for done in waiting if done.wake_at), default=None))


def _raise_if_late(call: NodeCall, passes: Sequence[Pass]) -> None:
    if call.seconds_left() <= 0 and any(done.is_halted for done in passes):
        raise NodeFailure("TIMEOUT", "The node was not through in its time.")
