"""The third step of validation: whether there is, whenever it is asked for, what values and expressions refer to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from apps.workflows.definition.expressions import expression_references
from apps.workflows.definition.graphs import Part
from apps.workflows.definition.model import Node
from apps.workflows.definition.problems import Problem
from apps.workflows.definition.values import ROOTS, Reference, ValueProblem, references
from apps.workflows.nodes.registry import kinds

Json = Any

_STATE = ("status", "handle", "output", "error")
_MAP_ROOTS = frozenset({"item", "index"})
_LOOP_ROOTS = frozenset({"iteration", "last"})


def reference_problems(
    definition: Mapping[str, Json], parts: Sequence[Part], broken: frozenset[str]
) -> Iterator[Problem]:
    """Of parts with unique ids and without cycles. What stands at one of the pointers `broken` is not read."""
    inputs = _known_inputs(definition)
    for part in parts:
        for node in part.nodes.values():
            at = f"{node.pointer}/config"
            yield from _Place(part, node, inputs).problems(_read(node, broken), at)
        if part.container is not None:
            yield from _Place(part, None, inputs).problems(_values(part.output), f"{part.pointer}/output")
            yield from _until_problems(part, inputs)
    for name, value in definition.get("outputs", {}).items():
        yield from _Place(parts[0], None, inputs).problems(_values(value), f"/outputs/{name}")


def _known_inputs(definition: Mapping[str, Json]) -> frozenset[str] | None:
    """The names of the inputs, None when the schema lets there be others."""
    schema = definition.get("inputs", {})
    opens = {"$ref", "allOf", "anyOf", "oneOf", "if"}
    if opens & schema.keys() or schema.get("additionalProperties", False) is not False:
        return None
    return frozenset(schema.get("properties", {}))


def _read(node: Node, broken: frozenset[str]) -> list[Reference]:
    """None of a node whose configuration was found to be unreadable."""
    if any(pointer.startswith(f"{node.pointer}/config") for pointer in broken):
        return []
    return kinds()[node.kind].references(node.config)


def _values(value: Json) -> list[Reference]:
    try:
        return references(value)
    except ValueProblem:  # told of already
        return []


def _until_problems(part: Part, inputs: frozenset[str] | None) -> Iterator[Problem]:
    """`until` is asked when a pass has ended: it sees the nodes of the body."""
    container = part.container
    if container is None or "until" not in container.config:
        return
    try:
        found = expression_references(container.config["until"])
    except ValueProblem:  # told of already
        return
    place = _Place(part, None, inputs)
    yield from place.problems([replace(one, pointer="") for one in found], f"{container.pointer}/config/until")


class _Place:
    """Where references stand: at a node, or (None) at the end of a graph, which all its nodes come before."""

    def __init__(self, part: Part, node: Node | None, inputs: frozenset[str] | None) -> None:
        self._part = part
        self._node = node
        self._inputs = inputs

    def problems(self, found: Sequence[Reference], at: str) -> Iterator[Problem]:
        told: set[tuple[str, str]] = set()
        for reference in found:
            said = self._problem(reference)
            if said is not None and (reference.pointer, said[1]) not in told:
                told.add((reference.pointer, said[1]))
                yield Problem(said[0], at + reference.pointer, said[1])

    def _problem(self, reference: Reference) -> tuple[str, str] | None:
        root, *rest = reference.segments
        if root not in ROOTS:
            return "UNKNOWN_ROOT", f"There is no {root}; values refer to {', '.join(sorted(self._roots()))}."
        if root not in self._roots():
            container = "map" if root in _MAP_ROOTS else "loop"
            return "UNKNOWN_ROOT", f"{root} is only known in the body of a {container}."
        if root == "run" and rest and rest[0] != "id":
            return "INVALID_REFERENCE", "Of the run there is the id."
        if root == "inputs" and rest and self._inputs is not None and rest[0] not in self._inputs:
            return "UNKNOWN_INPUT", f"The inputs have no {rest[0]}."
        return self._node_problem(reference, rest) if root == "nodes" else None

    def _roots(self) -> frozenset[str]:
        roots = ROOTS - _MAP_ROOTS - _LOOP_ROOTS
        part: Part | None = self._part
        while part is not None and part.container is not None:
            roots |= _MAP_ROOTS if part.container.kind == "map" else _LOOP_ROOTS
            part = part.outer
        return roots

    def _node_problem(self, reference: Reference, rest: Sequence[str]) -> tuple[str, str] | None:
        if not rest:
            return "INVALID_REFERENCE", "Which of the nodes? Write nodes.id.output."
        if len(rest) > 1 and rest[1] not in _STATE:
            return "INVALID_REFERENCE", f"Of a node there are {', '.join(_STATE)}."
        seen_from = self._seen_from(rest[0])
        if seen_from is None:
            return "NOT_AN_ANCESTOR", f"{rest[0]} does not come before this on any way."
        part, when = seen_from
        if reference.has_default or len(rest) < 2:
            return None
        if rest[1] == "output" and part.activity.can_be_skipped(rest[0], when):
            return "MAY_BE_SKIPPED", f"{rest[0]} may have no output here: give a default."
        if rest[1] == "error" and len(rest) > 2 and part.activity.can_have_no_error(rest[0], when):
            return "MAY_BE_MISSING", f"{rest[0]} may have no error here: give a default."
        return None

    def _seen_from(self, node_id: str) -> tuple[Part, str | None] | None:
        """The graph that the node is in and what in it asks (None: its end), if the node comes before that."""
        part, when = self._part, self._node
        while node_id not in part.ids:
            if part.outer is None:
                return None
            part, when = part.outer, part.container
        if when is None:
            return part, None
        return (part, when.id) if node_id in part.graph.ancestors(when.id) else None
