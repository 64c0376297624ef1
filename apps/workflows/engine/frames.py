"""Where nodes are visited: the graph of a definition, or one pass of a body."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from apps.workflows.definition.model import Body, Definition, Graph, Node
from apps.workflows.definition.parsing import parse
from apps.workflows.definition.values import Scope
from apps.workflows.engine.steps import State, in_state, is_stored, stored_output
from apps.workflows.engine.walk import Walk
from apps.workflows.models import WorkflowRun, WorkflowVersion
from everquant.memory import RecentMemory

Json = Any

WAITING = "waiting"
_NODES = re.compile(rb"\bnodes\b(?:\.([a-z][a-z0-9_]*))?")


@dataclass(frozen=True, slots=True)
class Failure:
    """What ends a graph before its end."""

    path: str
    code: str
    message: str


@dataclass(eq=False)
class Frame:
    """`prefix` goes before the ids of its nodes in their paths. `key` tells graphs apart for the compiler's memory.

    `roots` are those of its scope but `nodes`; `outer` are the states of nodes around it that its values may refer to.
    `deadline` is in seconds of `time.monotonic()`.
    """

    walk: Walk
    key: tuple[UUID, str]
    graph: Graph
    bodies: Mapping[str, Body]
    pins: Mapping[str, Json]
    roots: Mapping[str, Json]
    deadline: float
    prefix: str = ""
    parent: "Frame | None" = None
    outer: Mapping[str, State] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def run(self) -> WorkflowRun:
        return self.walk.run

    @property
    def is_stopped(self) -> bool:
        """Whether no node is begun any more, here or in what is around it."""
        if self.walk.is_halted or self.failure is not None:
            return True
        return self.parent is not None and self.parent.is_stopped

    def path(self, node_id: str) -> str:
        return f"{self.prefix}{node_id}"

    def fail(self, failure: Failure) -> None:
        """The first one stays."""
        self.failure = self.failure or failure

    def fail_run(self, failure: Failure) -> None:
        """As `fail`, with all that is around it: no container's `on_error` or `on_item_error` is asked."""
        frame: Frame | None = self
        while frame is not None:
            frame.fail(failure)
            frame = frame.parent

    def scope(self, node: Node, states: Mapping[str, State]) -> Scope:
        """What the node's values may refer to; of other nodes those that its configuration names."""
        return self._scope(_named(node.config), states)

    def scope_of(self, value: Json, states: Mapping[str, State]) -> Scope:
        return self._scope(_named(value), states)

    def output(self, path: str, state: State) -> Json:
        """Of an ended node, read from its step when it is large."""
        output = state["output"]
        return stored_output(self.run.id, output["$stored"]) if is_stored(output) else output

    def _scope(self, named: frozenset[str] | None, states: Mapping[str, State]) -> Scope:
        known = {**self.outer, **states}
        nodes = {
            key: {**state, "output": self.output(key, state)}
            for key, state in known.items()
            if (named is None or key in named) and state["status"] != WAITING
        }
        return Scope({**self.roots, "nodes": nodes})

    def around(self, states: Mapping[str, State]) -> Mapping[str, State]:
        """What the nodes of a body in this graph see around them."""
        return {**self.outer, **states}

    def state_of(self, node_id: str, output: Json, *, handle: str) -> State:
        return {"status": "ok", "handle": handle, "output": in_state(self.path(node_id), output), "error": None}


_definitions: RecentMemory[UUID, Definition] = RecentMemory(500)


def definition_of(version: WorkflowVersion) -> Definition:
    """Parsed once in each process, as long as it is in use."""
    found = _definitions.get(version.id)
    if found is None:
        found = parse(version.definition)
        _definitions.keep(version.id, found)
    return found


def _named(value: Json) -> frozenset[str] | None:
    """The ids of nodes in a value's references and expressions; None when they cannot be told from its text."""
    found = _NODES.findall(orjson.dumps(value))
    return None if b"" in found else frozenset(name.decode() for name in found)
