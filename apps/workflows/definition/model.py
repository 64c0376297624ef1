"""A definition as values: what the validation has accepted and the compiler works on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Json = Any
OK = "ok"
ERROR = "error"


@dataclass(frozen=True, slots=True)
class Retry:
    """Pauses are `initial_s · factor^n`, at most `max_s`, with full jitter. One attempt means no retry."""

    max_attempts: int = 1
    initial_s: float = 0.5
    factor: float = 2.0
    max_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Node:
    """`on_error` is fail, branch (leave by the handle `error`) or default (`default_output` instead, handle `ok`).

    `pointer` is its JSON pointer in the definition. `timeout_s` is per attempt, None for the run's own limit.
    """

    id: str
    kind: str
    config: Mapping[str, Json]
    pointer: str
    name: str = ""
    retry: Retry = field(default_factory=Retry)
    timeout_s: float | None = None
    on_error: str = "fail"
    default_output: Json = None

    @property
    def has_body(self) -> bool:
        return self.kind in {"map", "loop"}


@dataclass(frozen=True, slots=True)
class Edge:
    source: str
    target: str
    handle: str = OK


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph: the whole definition's, or the body's of a container. Nodes in topological order."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]

    @cached_property
    def incoming(self) -> Mapping[str, tuple[Edge, ...]]:
        """In the order in which the definition lists them; a start has none."""
        found: dict[str, list[Edge]] = {node_id: [] for node_id in self.nodes}
        for edge in self.edges:
            found[edge.target].append(edge)
        return {node_id: tuple(edges) for node_id, edges in found.items()}

    @cached_property
    def outgoing(self) -> Mapping[str, tuple[Edge, ...]]:
        found: dict[str, list[Edge]] = {node_id: [] for node_id in self.nodes}
        for edge in self.edges:
            found[edge.source].append(edge)
        return {node_id: tuple(edges) for node_id, edges in found.items()}

    def ancestors(self, node_id: str) -> frozenset[str]:
        """All nodes from which a path leads to this one."""
        found: set[str] = set()
        left = [edge.source for edge in self.incoming[node_id]]
        while left:
            source = left.pop()
            if source not in found:
                found.add(source)
                left += [edge.source for edge in self.incoming[source]]
        return frozenset(found)

    def descendants(self, node_id: str) -> frozenset[str]:
        found: set[str] = set()
        left = [edge.target for edge in self.outgoing[node_id]]
        while left:
            target = left.pop()
            if target not in found:
                found.add(target)
                left += [edge.target for edge in self.outgoing[target]]
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Body:
    """What a container repeats. `output` is a value (see `values`) of one pass; None gives the last node's output."""

    graph: Graph
    output: Json = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of one run. `timeout_s` counts the time in which a worker is at it, not that of waiting."""

    timeout_s: float = 600.0
    max_node_executions: int = 500
    max_concurrency: int = 8
    max_cost_usd: str | None = None


@dataclass(frozen=True)
class Definition:
    """`inputs` is a JSON Schema; `outputs` are values, by name. `bodies` are those of containers, by node id."""

    graph: Graph
    inputs: Mapping[str, Json]
    outputs: Mapping[str, Json]
    settings: Settings
    bodies: Mapping[str, Body]

    def all_nodes(self) -> Iterator[Node]:
        """Those in bodies too; ids are unique among all of them."""
        yield from self.graph.nodes.values()
        for body in self.bodies.values():
            yield from body.graph.nodes.values()
