"""What surely runs: the condition under which each node of a graph is active, as a decision diagram.

A run's way through a graph is one choice of a handle for each node that has several. A start is always active, an edge
when its source is active and leaves by its handle, any other node when its kind says that it is ready: when any of its
edges is active, or (a join of mode `all`) when all are. A node **can be skipped** for another one when there are
choices with which the other one runs and this one does not. So what every branch of a condition leads to cannot be
skipped, nor can what comes before the other one on all its ways.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

from apps.workflows.definition.model import ERROR, Graph

MAX_STEPS = 50_000

Diagram = int
NEVER: Diagram = 0
ALWAYS: Diagram = 1


class _TooComplex(Exception):
    """The conditions of the graph are entangled beyond what is worth computing."""


class _Diagrams:
    """Reduced, ordered decision diagrams over variables with several values; equal ones have equal numbers."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, tuple[Diagram, ...]]] = [(1 << 30, ()), (1 << 30, ())]
        self._numbers: dict[tuple[int, tuple[Diagram, ...]], Diagram] = {}
        self._known: dict[tuple[str, Diagram, Diagram], Diagram] = {}

    def choice(self, variable: int, children: tuple[Diagram, ...]) -> Diagram:
        """Variables further down have larger numbers."""
        if len(set(children)) == 1:
            return children[0]
        key = (variable, children)
        if key not in self._numbers:
            self._numbers[key] = len(self._parts)
            self._parts.append(key)
        return self._numbers[key]

    def both(self, left: Diagram, right: Diagram) -> Diagram:
        if NEVER in (left, right):
            return NEVER
        if right in (left, ALWAYS):
            return left
        return right if left == ALWAYS else self._combine("both", self.both, left, right)

    def either(self, left: Diagram, right: Diagram) -> Diagram:
        if ALWAYS in (left, right):
            return ALWAYS
        if right in (left, NEVER):
            return left
        return right if left == NEVER else self._combine("either", self.either, left, right)

    def without(self, left: Diagram, right: Diagram) -> Diagram:
        """Where the left one holds and the right one does not."""
        if NEVER in (left, right):
            return left
        if right in (left, ALWAYS):
            return NEVER
        return self._combine("without", self.without, left, right)

    def _combine(
        self, name: str, operation: Callable[[Diagram, Diagram], Diagram], left: Diagram, right: Diagram
    ) -> Diagram:
        key = (name, left, right)
        if key in self._known:
            return self._known[key]
        if len(self._known) >= MAX_STEPS:
            raise _TooComplex
        variable = min(self._parts[left][0], self._parts[right][0])
        width = max(len(self._parts[one][1]) for one in (left, right) if self._parts[one][0] == variable)
        children = []
        for place in range(width):  # not a comprehension, whose frames would double the depth of the recursion
            child = operation(self._child(left, variable, place), self._child(right, variable, place))
            children.append(child)
        self._known[key] = self.choice(variable, tuple(children))
        return self._known[key]

    def _child(self, diagram: Diagram, variable: int, place: int) -> Diagram:
        own, children = self._parts[diagram]
        return children[place] if own == variable else diagram


class Activity:
    """Of one graph. `handles` are all by which each node may leave; `needs_all` are the nodes that wait for all edges.

    What is too complex is answered carefully: a node whose condition is not known may be active, and may be skipped.
    """

    def __init__(self, graph: Graph, handles: Mapping[str, tuple[str, ...]], needs_all: frozenset[str]) -> None:
        self._graph = graph
        self._handles = handles
        self._needs_all = needs_all
        self._diagrams = _Diagrams()
        self._variables = {node_id: number for number, node_id in enumerate(graph.nodes)}

    def can_be_active(self, node_id: str) -> bool:
        return self._active[node_id] != NEVER

    def can_be_skipped(self, node_id: str, when: str | None = None) -> bool:
        """Whether it may have no output when `when` is active, or at the graph's end: skipped, or failed by `error`."""
        return self._may_lack(node_id, when, is_failed=False)

    def can_have_no_error(self, node_id: str, when: str | None = None) -> bool:
        return self._may_lack(node_id, when, is_failed=True)

    @cached_property
    def _active(self) -> Mapping[str, Diagram | None]:
        active: dict[str, Diagram | None] = {}
        for node_id in self._graph.nodes:
            try:
                active[node_id] = self._condition(node_id, active)
            except _TooComplex:
                active[node_id] = None
        return active

    def _condition(self, node_id: str, active: Mapping[str, Diagram | None]) -> Diagram:
        edges = self._graph.incoming[node_id]
        if not edges:
            return ALWAYS
        needs_all = node_id in self._needs_all
        found = ALWAYS if needs_all else NEVER
        for edge in edges:
            source = active[edge.source]
            if source is None:
                raise _TooComplex
            is_taken = self._diagrams.both(source, self._leaves(edge.source, edge.handle))
            found = self._diagrams.both(found, is_taken) if needs_all else self._diagrams.either(found, is_taken)
        return found

    def _leaves(self, node_id: str, handle: str) -> Diagram:
        children = tuple(int(own == handle) for own in self._handles[node_id])
        return self._diagrams.choice(self._variables[node_id], children)

    def _may_lack(self, node_id: str, when: str | None, *, is_failed: bool) -> bool:
        active = self._active[node_id]
        given = ALWAYS if when is None else self._active[when]
        if active is None:
            return True
        fails = self._leaves(node_id, ERROR)
        try:
            has_it = self._diagrams.both(active, fails) if is_failed else self._diagrams.without(active, fails)
            return self._diagrams.without(ALWAYS if given is None else given, has_it) != NEVER
        except _TooComplex:
            return True
