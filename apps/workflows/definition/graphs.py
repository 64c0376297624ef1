"""The second step of validation: each graph in itself, that of the definition and those of the bodies."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from apps.workflows.definition.activity import Activity
from apps.workflows.definition.model import ERROR, OK, Edge, Graph, Node
from apps.workflows.definition.parsing import in_order, node_of
from apps.workflows.definition.problems import Problem
from apps.workflows.nodes.base import Incoming
from apps.workflows.nodes.registry import kinds

Json = Any


@dataclass(eq=False)
class Part:
    """One graph of a definition as it is written. `container` is the node whose body it is, in the part `outer`.

    `nodes` and `edges` are by pointer; the id of a node that is listed twice is a problem, not an error.
    """

    pointer: str
    depth: int
    nodes: Mapping[str, Node]
    edges: Mapping[str, Edge]
    output: Json = None
    container: Node | None = None
    outer: "Part | None" = None
    ids: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = frozenset(node.id for node in self.nodes.values())

    @cached_property
    def by_id(self) -> Mapping[str, Node]:
        return {node.id: node for node in self.nodes.values()}

    @cached_property
    def sound_edges(self) -> tuple[Edge, ...]:
        """Those between two different nodes of this graph."""
        ends = [(edge, {edge.source, edge.target}) for edge in self.edges.values()]
        return tuple(edge for edge, nodes in ends if len(nodes) == 2 and nodes <= self.ids)

    @cached_property
    def graph(self) -> Graph:
        """Of its sound edges. Only of a part without cycles."""
        order = in_order(list(self.by_id), self.sound_edges)
        return Graph({node_id: self.by_id[node_id] for node_id in order}, self.sound_edges)

    @cached_property
    def activity(self) -> Activity:
        handles = {node.id: handles_of(node) for node in self.nodes.values()}
        return Activity(self.graph, handles, frozenset(filter(self._needs_all, self.ids)))

    def _needs_all(self, node_id: str) -> bool:
        """Whether it waits for all edges: its kind is asked about the first of several alone."""
        node, edges = self.by_id[node_id], self.graph.incoming[node_id]
        alone = [Incoming(edge, edge is edges[0], None) for edge in edges]
        return len(edges) > 1 and not kinds()[node.kind].is_ready(node.config, alone)


def handles_of(node: Node) -> tuple[str, ...]:
    branches = (ERROR,) if node.on_error == "branch" else ()
    return (*kinds()[node.kind].handles(node.config), *branches)


def parts_of(definition: Mapping[str, Json]) -> list[Part]:
    """The definition's graph, then the bodies, each after what it is in. Of a definition whose shape is right."""
    return list(_parts(definition, "", 0, None, None))


def graph_problems(parts: Sequence[Part]) -> Iterator[Problem]:
    yield from _duplicate_ids(parts)
    elsewhere = frozenset().union(*(part.ids for part in parts))
    for part in parts:
        yield from _edge_problems(part, elsewhere)
        yield from _error_problems(part)
        cycle = _cycle(part)
        if cycle:
            yield Problem("CYCLE", f"{part.pointer}/edges", f"A cycle: {' → '.join(cycle)}.")
        elif len(part.ids) == len(part.nodes):
            yield from _unreachable(part)


def _parts(
    written: Mapping[str, Json], pointer: str, depth: int, container: Node | None, outer: Part | None
) -> Iterator[Part]:
    nodes = {f"{pointer}/nodes/{place}": node for place, node in enumerate(written["nodes"])}
    edges = {f"{pointer}/edges/{place}": edge for place, edge in enumerate(written.get("edges", ()))}
    part = Part(
        pointer=pointer,
        depth=depth,
        nodes={at: node_of(node, at) for at, node in nodes.items()},
        edges={at: Edge(edge["from"], edge["to"], edge.get("handle", OK)) for at, edge in edges.items()},
        output=written.get("output"),
        container=container,
        outer=outer,
    )
    yield part
    for node in part.nodes.values():
        if node.has_body:
            yield from _parts(node.config["body"], f"{node.pointer}/config/body", depth + 1, node, part)


def _duplicate_ids(parts: Iterable[Part]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for part in parts:
        for at, node in part.nodes.items():
            known = first.setdefault(node.id, at)
            if known != at:
                yield Problem("DUPLICATE_ID", f"{at}/id", f"{node.id} is the id of {known} too.")


def _edge_problems(part: Part, elsewhere: frozenset[str]) -> Iterator[Problem]:
    seen: set[Edge] = set()
    for at, edge in part.edges.items():
        for key, node_id in (("from", edge.source), ("to", edge.target)):
            if node_id not in part.ids:
                place = "in another graph: edges do not lead into bodies" if node_id in elsewhere else "not known"
                yield Problem("UNKNOWN_NODE", f"{at}/{key}", f"The node {node_id} is {place}.")
        if edge.source == edge.target:
            yield Problem("SELF_EDGE", at, f"{edge.source} leads to itself; a loop is a node with a body.")
        if edge in seen:
            yield Problem("DUPLICATE_EDGE", at, f"There is this edge from {edge.source} to {edge.target} already.")
        seen.add(edge)
        if edge.source in part.ids:
            yield from _handle_problems(part.by_id[edge.source], edge, at)


def _handle_problems(source: Node, edge: Edge, at: str) -> Iterator[Problem]:
    if edge.handle in handles_of(source):
        return
    if edge.handle == ERROR:
        message = f"{source.id} never leaves by error: its on_error is {source.on_error}, not branch."
    else:
        message = f"{source.id} leaves by {', '.join(handles_of(source))}, not by {edge.handle}."
    yield Problem("UNKNOWN_HANDLE", f"{at}/handle", message)


def _error_problems(part: Part) -> Iterator[Problem]:
    with_branch = {edge.source for edge in part.edges.values() if edge.handle == ERROR}
    for at, node in part.nodes.items():
        if node.on_error == "branch" and node.id not in with_branch:
            yield Problem("MISSING_ERROR_EDGE", f"{at}/on_error", f"No edge leaves {node.id} by error.")


def _cycle(part: Part) -> list[str]:
    """The nodes of one cycle, the first again at the end; empty without one."""
    left = part.ids - set(in_order(list(part.by_id), part.sound_edges))
    before = {edge.target: edge.source for edge in part.sound_edges if {edge.source, edge.target} <= left}
    if not left:
        return []
    way = [min(left)]
    while Counter(way)[way[-1]] < 2:
        way.append(before[way[-1]])
    return way[way.index(way[-1]) :][::-1]


def _unreachable(part: Part) -> Iterator[Problem]:
    for at, node in part.nodes.items():
        if not part.activity.can_be_active(node.id):
            message = f"{node.id} never runs: no run can take the edges that lead to it."
            yield Problem("UNREACHABLE", at, message)
