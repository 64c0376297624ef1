"""One visit to one node: LangGraph calls it exactly once in each walk, when all nodes before it have been visited.

What has ended is not done again; what waits, or stands behind what waits, is left for a later walk. A node runs when
it is ready, else it is skipped: dead branches are walked to their end, so joins never wait for what does not come.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any

import structlog
from django.utils import timezone

from apps.workflows.definition.model import ERROR, Edge, Node
from apps.workflows.engine.attempts import attempt
from apps.workflows.engine.frames import WAITING, Failure, Frame
from apps.workflows.engine.steps import ENDED, LeaseLost, State, Step, history, record, skipped
from apps.workflows.engine.walk import Halt
from apps.workflows.models import StepStatus
from apps.workflows.models.runs import PATH_LENGTH
from apps.workflows.nodes.base import Incoming
from apps.workflows.nodes.registry import kinds
from everquant.db import DATABASE_AWAY, patiently, release_connection

logger = structlog.get_logger(__name__)

INTERNAL = "INTERNAL"


def visit(frame: Frame, node: Node, states: Mapping[str, State]) -> State | None:
    """The node's state from now on; None when it has none yet, or keeps the one it has.

    Raises what says that the database is away for long: another worker takes the run when its lease is over.
    """
    if frame.is_stopped:
        return None
    known = states.get(node.id)
    if known is not None and known["status"] in ENDED:
        return None
    sources = [states.get(edge.source) for edge in frame.graph.incoming[node.id]]
    if any(source is None or source["status"] == WAITING for source in sources):
        return None
    try:
        return _visit_patiently(frame, node, states)
    except LeaseLost:
        frame.walk.halt(Halt.LOST)
    except DATABASE_AWAY:
        raise
    except Exception:
        logger.exception("workflow_node_crashed", run_id=str(frame.run.id), path=frame.path(node.id))
        frame.fail(Failure(frame.path(node.id), INTERNAL, "The server failed; it has been logged."))
    finally:
        release_connection()
    return None


def _visit_patiently(frame: Frame, node: Node, states: Mapping[str, State]) -> State | None:
    """Made again while the database is away, from what has been recorded until then: of a body, too."""
    visits = count()

    def once() -> State | None:
        if next(visits):
            frame.walk.recorded = history(frame.run)
        return _visit(frame, node, states)

    return patiently(once, run_id=str(frame.run.id))


def _visit(frame: Frame, node: Node, states: Mapping[str, State]) -> State | None:
    path = frame.path(node.id)
    if len(path) > PATH_LENGTH:
        frame.fail(Failure(path[:PATH_LENGTH], "TOO_DEEP", f"Its path is longer than {PATH_LENGTH} characters."))
        return None
    recorded = frame.walk.recorded.get(path)
    if recorded is not None and recorded.state is not None:
        return recorded.state
    kind = kinds()[node.kind]
    incoming = [_incoming(frame, node, edge, states[edge.source]) for edge in frame.graph.incoming[node.id]]
    if incoming and not kind.is_ready(node.config, incoming):
        return _skip(frame, node)
    return attempt(frame, node, kind, incoming, states, recorded)


def _incoming(frame: Frame, node: Node, edge: Edge, state: State) -> Incoming:
    is_active = state["status"] in {"ok", ERROR} and state["handle"] == edge.handle
    output = frame.output(edge.source, state) if is_active and node.kind == "join" else None
    return Incoming(edge, is_active, output)


def _skip(frame: Frame, node: Node) -> State:
    now = timezone.now()
    step = Step(
        path=frame.path(node.id),
        node_id=node.id,
        kind=node.kind,
        attempt=1,
        status=StepStatus.SKIPPED,
        event="node.skipped",
        started_at=now,
        finished_at=now,
    )
    frame.walk.totals = record(frame.run, step)
    state: Any = skipped()
    return state
