"""Attempts at one node: limits, time, retries, and what becomes of an error; each attempt is recorded."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.utils import timezone

from apps.executions.orchestrator import CompanionRefused
from apps.workflows.definition.model import ERROR, OK, Node
from apps.workflows.definition.values import ValueProblem
from apps.workflows.engine import containers
from apps.workflows.engine.events import Event
from apps.workflows.engine.frames import WAITING, Failure, Frame
from apps.workflows.engine.records import Records
from apps.workflows.engine.steps import LeaseLost, Recorded, State, Step, in_state, record, times_begun
from apps.workflows.engine.walk import Halt
from apps.workflows.models import StepStatus
from apps.workflows.nodes.base import (
    ContainerKind,
    Incoming,
    NodeCall,
    NodeFailure,
    NodeKind,
    Result,
    RunInfo,
    Waiting,
)
from everquant.db import DATABASE_AWAY

logger = structlog.get_logger(__name__)

Json = Any

INTERRUPTED = "INTERRUPTED"
NODE_LIMIT, COST_LIMIT, TIMEOUT, CRASHED = "NODE_LIMIT", "COST_LIMIT", "TIMEOUT", "INTERNAL"
# An attempt that was cut off with its worker is made again without counting as one; a node that kills workers is not.
MOST_INTERRUPTIONS = 5
# What fails so close to the end of the run's time has failed for it.
_LATE_S = 0.1


@dataclass(slots=True)
class _Attempts:
    """Which attempt is next, and what went before."""

    number: int
    failures: int
    interruptions: int
    first_started_at: datetime
    is_going_on: bool

    def next(self) -> None:
        self.number += 1
        self.is_going_on = False


def attempt(
    frame: Frame,
    node: Node,
    kind: NodeKind,
    incoming: Sequence[Incoming],
    states: Mapping[str, State],
    recorded: Recorded | None,
) -> State | None:
    """The node's state once it has ended or waits; None when the walk was halted or the graph has failed."""
    attempts = _attempts(recorded)
    if recorded is not None and recorded.status == StepStatus.RUNNING and not isinstance(kind, ContainerKind):
        # Cut off with its worker, which left no row to count: this attempt was begun more often than once.
        attempts.interruptions += times_begun(frame.run.id, frame.path(node.id)) - recorded.attempt + 1
    while not frame.is_stopped:
        refused = _refusal(frame, kind)
        if refused is not None:
            frame.fail_run(Failure(frame.path(node.id), *refused))
            return None
        outcome = _once(frame, node, kind, incoming, states, attempts)
        if not isinstance(outcome, float):
            return outcome
        frame.walk.pause(outcome)
    return None


def _attempts(recorded: Recorded | None) -> _Attempts:
    if recorded is None:
        return _Attempts(1, 0, 0, timezone.now(), is_going_on=False)
    is_open = recorded.status in {StepStatus.RUNNING, StepStatus.WAITING}
    return _Attempts(
        recorded.attempt + (not is_open),
        recorded.failures,
        recorded.interruptions,
        recorded.first_started_at,
        is_going_on=recorded.status == StepStatus.WAITING,
    )


def _refusal(frame: Frame, kind: NodeKind) -> tuple[str, str] | None:
    walk = frame.walk
    limit = walk.settings.max_node_executions
    if walk.totals.node_count >= limit:
        return NODE_LIMIT, f"The run has made {limit} node executions (max_node_executions)."
    if not kind.is_instant and walk.has_spent_its_budget:
        return COST_LIMIT, f"The run has spent {walk.settings.max_cost_usd} USD (max_cost_usd)."
    return None


def _once(
    frame: Frame,
    node: Node,
    kind: NodeKind,
    incoming: Sequence[Incoming],
    states: Mapping[str, State],
    attempts: _Attempts,
) -> State | float | None:
    """The state that the attempt led to, or the seconds after which there is to be another."""
    base: dict[str, Any] = {
        "path": frame.path(node.id),
        "node_id": node.id,
        "kind": node.kind,
        "attempt": attempts.number,
        "started_at": timezone.now(),
    }
    if attempts.interruptions > MOST_INTERRUPTIONS:
        failure = NodeFailure(INTERRUPTED, f"The attempt was cut off {attempts.interruptions} times.")
        return _failed(frame, node, failure, attempts, base)
    is_noted = not kind.is_instant and not attempts.is_going_on
    records = Records(frame, base)
    if is_noted and not kind.calls_model:
        records.begin()
    try:
        result = _call(frame, node, kind, incoming, states, attempts, records)
    except Waiting as waiting:
        return _wait(frame, node, waiting, attempts, base)
    except NodeFailure as failure:
        if is_noted:
            records.begin()
        return _failed(frame, node, failure, attempts, base)
    if result is None:
        return None
    records.succeed(result)
    return frame.state_of(node.id, result.output, handle=result.handle)


def _call(
    frame: Frame,
    node: Node,
    kind: NodeKind,
    incoming: Sequence[Incoming],
    states: Mapping[str, State],
    attempts: _Attempts,
    records: Records,
) -> Result | None:
    """None when the walk was halted before it had begun. Raises NodeFailure, Waiting, LeaseLost."""
    walk = frame.walk
    own_deadline = time.monotonic() + (node.timeout_s or float("inf"))
    with walk.call() as cancellation:
        path = frame.path(node.id)
        call = NodeCall(
            run=_info(frame),
            node=node,
            path=path,
            attempt=attempts.number,
            scope=frame.scope(node, states),
            pin=frame.pins.get(node.id, {}),
            incoming=incoming,
            first_started_at=attempts.first_started_at,
            deadline=min(frame.deadline, own_deadline),
            cancellation=cancellation,
            emit=lambda delta: walk.add_delta(path, attempts.number, delta),
            records=records,
        )
        try:
            if isinstance(kind, ContainerKind):
                return containers.run(frame, call, states)
            if kind.is_instant:
                return kind.run(call)
            with walk.place() as is_free:
                return kind.run(call) if is_free else None
        except ValueProblem as problem:
            raise NodeFailure(problem.code, problem.message) from problem
        except CompanionRefused:
            raise LeaseLost from None
        except (NodeFailure, Waiting, LeaseLost, *DATABASE_AWAY):
            raise
        except Exception as error:
            logger.exception("workflow_node_failed", run_id=str(walk.run.id), path=path)
            raise NodeFailure(CRASHED, "The server failed; it has been logged.") from error


def _info(frame: Frame) -> RunInfo:
    run = frame.run
    return RunInfo(run.id, run.organization_id, run.workflow_id, run.created_by_id, run.api_key_id, run.metadata)


def _wait(frame: Frame, node: Node, waiting: Waiting, attempts: _Attempts, base: dict[str, Any]) -> State:
    if not attempts.is_going_on:
        event = "approval.requested" if node.kind == "approval" else "node.waiting"
        more = {"wake_at": waiting.wake_at}
        step = Step(status=StepStatus.WAITING, event=event, input=waiting.input, more=more, **base)
        frame.walk.totals = record(frame.run, step)
    wake_at = waiting.wake_at.isoformat() if waiting.wake_at else None
    return {"status": WAITING, "handle": "", "output": None, "error": None, "wake_at": wake_at}


def _failed(
    frame: Frame, node: Node, failure: NodeFailure, attempts: _Attempts, base: dict[str, Any]
) -> State | float | None:
    walk = frame.walk
    if time.monotonic() > walk.deadline - _LATE_S:
        walk.halt(Halt.TIMED_OUT)
    told = walk.take_deltas(base["path"])
    said = {
        "finished_at": timezone.now(),
        "input": failure.input,
        "error_code": failure.code,
        "error_message": failure.message,
        "execution_id": failure.execution_id,
        "usage": failure.usage,
        "is_counted": True,
        **base,
    }
    if frame.is_stopped or (failure.code == INTERRUPTED and attempts.interruptions < MOST_INTERRUPTIONS):
        walk.totals = record(frame.run, Step(status=StepStatus.INTERRUPTED, event="node.interrupted", **said), told)
        attempts.interruptions += 1
        attempts.next()
        return 0.0
    attempts.failures += 1
    if failure.is_retryable and attempts.failures < node.retry.max_attempts:
        pause_s = _pause_s(node, failure, attempts.failures)
        more = {"pause_s": round(pause_s, 3)}
        walk.totals = record(frame.run, Step(status=StepStatus.FAILED, event="node.retrying", more=more, **said), told)
        attempts.next()
        return pause_s
    return _given_up(frame, node, failure, said, told)


def _given_up(
    frame: Frame, node: Node, failure: NodeFailure, said: dict[str, Any], told: Sequence[Event]
) -> State | None:
    error = {"code": failure.code, "message": failure.message}
    handle = {"branch": ERROR, "default": OK}.get(node.on_error, "")
    output = node.default_output if node.on_error == "default" else None
    step = Step(status=StepStatus.FAILED, event="node.failed", handle=handle, output=output, **said)
    frame.walk.totals = record(frame.run, step, told)
    if not handle:
        frame.fail(Failure(said["path"], failure.code, failure.message))
        return None
    status = "ok" if handle == OK else "error"
    return {"status": status, "handle": handle, "output": in_state(said["path"], output), "error": error}


def _pause_s(node: Node, failure: NodeFailure, failures: int) -> float:
    """Exponential with full jitter, at least what was asked for."""
    ceiling = min(node.retry.max_s, node.retry.initial_s * node.retry.factor ** (failures - 1))
    asked = min(failure.retry_after_s or 0.0, 60.0)
    return max(asked, random.uniform(0.0, ceiling))  # noqa: S311 (no secret)
