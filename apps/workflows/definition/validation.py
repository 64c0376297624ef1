"""Everything that is wrong with a definition, each with a code and a JSON pointer; without the database.

First its shape, by the schema. Where that leaves nodes and edges as they should be: the graph of the definition and
those of the bodies; then what refers to what, once the graphs are sound.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from apps.prompts.rendering.errors import RenderError, SchemaError
from apps.prompts.rendering.schema import check_schema
from apps.prompts.rendering.values import find_problem, measure
from apps.workflows.definition.graphs import Part, graph_problems, parts_of
from apps.workflows.definition.problems import Problem
from apps.workflows.definition.reachability import reference_problems
from apps.workflows.definition.schema import MAX_BODY_DEPTH, MAX_EDGES, MAX_LAYOUT_CHARS, MAX_NODES
from apps.workflows.definition.shape import shape_problems
from apps.workflows.definition.values import malformed
from apps.workflows.nodes.registry import kinds
from everquant.api.envelope import dumps

Json = Any

MAX_PROBLEMS = 100
MAX_DEFINITION_SIZE = 2_000_000


def problems(definition: Json) -> list[Problem]:
    """At most 100, those of the shape first. An empty list is a definition that `parse` takes."""
    return list(islice(_problems(definition), MAX_PROBLEMS))


def _problems(definition: Json) -> Iterator[Problem]:
    refused = _refusal(definition)
    if refused is not None:
        yield refused
        return
    found = list(shape_problems(definition))
    yield from found
    if not isinstance(definition, dict) or "nodes" not in definition or any(map(_is_of_graph, found)):
        return
    unusable = {problem.pointer.split("/")[1] for problem in found if problem.pointer}
    inputs = [] if "inputs" in unusable else list(_inputs_problems(definition))
    yield from inputs
    yield from _layout_problems(definition)
    definition = {key: part for key, part in definition.items() if key not in unusable}
    if inputs or "inputs" in unusable:
        definition["inputs"] = {"additionalProperties": True}
    parts = parts_of(definition)
    unsound = [*_size_problems(parts), *graph_problems(parts)]
    yield from unsound
    unreadable = [problem for part in parts for problem in _config_problems(part)]
    outputs = definition.get("outputs", {})
    unreadable += [Problem(one.code, f"/outputs{one.pointer}", one.message) for one in malformed(outputs)]
    yield from unreadable
    if not any(problem.code in {"CYCLE", "DUPLICATE_ID"} for problem in unsound):
        broken = frozenset(problem.pointer for problem in unreadable)
        yield from reference_problems(definition, parts, broken)


def _refusal(definition: Json) -> Problem | None:
    """What cannot be stored, or is too large to be looked at."""
    found = find_problem(definition)
    if found is not None:
        return Problem("INVALID_JSON", "", " ".join(found).strip()[:300])
    try:
        measure(definition, MAX_DEFINITION_SIZE)
    except RenderError as error:
        return Problem("TOO_LARGE", "", error.message)
    return None


def _is_of_graph(problem: Problem) -> bool:
    return problem.pointer.split("/")[1:2] in (["nodes"], ["edges"])


def _inputs_problems(definition: Mapping[str, Json]) -> Iterator[Problem]:
    schema = definition.get("inputs")
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    required = schema.get("required")
    names = [*(properties if isinstance(properties, dict) else ()), *(required if isinstance(required, list) else ())]
    try:
        check_schema(schema, tuple(name for name in names if isinstance(name, str)))
    except SchemaError as error:
        for path, reason in error.details.items():
            pointer = path.replace(".", "/").removeprefix("variables_schema")
            yield Problem("INVALID_SCHEMA", f"/inputs{pointer}", reason.replace("The variables are", "The inputs are"))


def _layout_problems(definition: Mapping[str, Json]) -> Iterator[Problem]:
    if len(dumps(definition.get("layout"))) > MAX_LAYOUT_CHARS:
        yield Problem("TOO_LARGE", "/layout", "The layout is larger than 64 KiB.")


def _size_problems(parts: list[Part]) -> Iterator[Problem]:
    """The limits that count what is in bodies too."""
    nodes = sum(len(part.nodes) for part in parts)
    if nodes > MAX_NODES:
        yield Problem("TOO_MANY_NODES", "/nodes", f"{nodes} nodes in all; at most {MAX_NODES}.")
    edges = sum(len(part.edges) for part in parts)
    if edges > MAX_EDGES:
        yield Problem("TOO_MANY_EDGES", "/edges", f"{edges} edges in all; at most {MAX_EDGES}.")
    for part in parts:
        if part.depth == MAX_BODY_DEPTH + 1:
            yield Problem("TOO_DEEP", part.pointer, f"Bodies are nested more than {MAX_BODY_DEPTH} deep.")


def _config_problems(part: Part) -> Iterator[Problem]:
    for node in part.nodes.values():
        kind = kinds()[node.kind]
        at = f"{node.pointer}/config"
        for code, message, where in kind.check(node.config):
            yield Problem(code, f"{at}/{where}".removesuffix("/"), message)
        values = {key: value for key, value in node.config.items() if key not in kind.literals}
        for problem in malformed(values):
            yield Problem(problem.code, at + problem.pointer, problem.message)
    if part.container is not None:
        for problem in malformed(part.output):
            yield Problem(problem.code, f"{part.pointer}/output{problem.pointer}", problem.message)
