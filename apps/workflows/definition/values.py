"""Values in a configuration: JSON in which `{"$ref": …}` and `{{…}}` stand for what the run has come to.

A path is a root's name, then keys and indexes: `inputs.ticket`, `nodes.search.output.hits.0`. The output of a node that
was skipped or has failed is missing, whatever else is known of it. `\\{{` is a literal `{{`, as in prompts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.prompts.rendering.errors import TemplateError
from apps.prompts.rendering.simple import Path, SimpleTemplate, compile_simple
from apps.prompts.rendering.values import to_text
from apps.workflows.definition.weights import MAX_DEPTH, MAX_SIZE, ValueProblem, Weights

Json = Any

MAX_PATH = 500
MAX_KEY = 1_000
ROOTS = frozenset({"inputs", "nodes", "run", "item", "index", "iteration", "last"})

_PATH = re.compile(r"[^\W\d]\w*(?:\.[\w-]+)*", re.ASCII)
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a value may refer to, by root name.

    `inputs` of the run; `nodes`: id → {status, handle, output, error} of those that have ended; `run`: {id}. In the
    body of a map also `item` and `index`, of a loop `iteration` (from 0) and `last` (the pass before's output, null
    at first).
    """

    roots: Mapping[str, Json]

    def with_roots(self, **roots: Json) -> "Scope":
        return Scope({**self.roots, **roots})


@dataclass(frozen=True, slots=True)
class Reference:
    """`pointer` is the JSON pointer of the text or object it stands in, from the value's top: empty or `/a/0`."""

    path: str
    has_default: bool
    pointer: str

    @property
    def segments(self) -> list[str]:
        return self.path.split(".")


def resolve(value: Json, scope: Scope) -> Json:
    """The value with what it refers to; parts may be shared with the scope. Raises ValueProblem."""
    resolved = _resolve(value, scope, 0)
    check_size(resolved)
    return resolved


def render_text(text: str, scope: Scope) -> str:
    """The text with its placeholders replaced, also when it is nothing but one. Raises ValueProblem."""
    return _render(_template(text), scope)


def references(value: Json) -> list[Reference]:
    """Everything the value refers to, in its order. Raises ValueProblem for what is no path or no placeholder."""
    found = list(_references(value, "", 0))
    for problem in found:
        if isinstance(problem, ValueProblem):
            raise problem
    return [one for one in found if isinstance(one, Reference)]


def malformed(value: Json) -> list[ValueProblem]:
    """Everything in the value that is no path or no placeholder, though it looks like one."""
    return [one for one in _references(value, "", 0) if isinstance(one, ValueProblem)]


def find(path: str, scope: Scope) -> Json:
    """What stands at a path; raises ValueProblem MISSING_VALUE naming it."""
    found = _find(path.split("."), scope)
    if found is _ABSENT:
        raise ValueProblem("MISSING_VALUE", f"There is no {path}{_reason(path.split('.'), scope)}.")
    return found


def check_size(value: Json) -> None:
    """Raises ValueProblem VALUE_TOO_LARGE; parts that are shared count as often as they appear."""
    Weights().of(value)


def has_ended_well(node: Json) -> bool:
    """Whether the state of a node has an output."""
    return isinstance(node, Mapping) and node.get("status", "ok") == "ok"


def escape(key: str) -> str:
    """A key as a step of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _resolve(value: Json, scope: Scope, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise ValueProblem("VALUE_TOO_LARGE", f"A value is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        return _resolve_text(value, scope)
    if isinstance(value, Mapping):
        if "$ref" in value:
            return _follow(value, scope, depth)
        return {key: _resolve(part, scope, depth + 1) for key, part in value.items()}
    if isinstance(value, list):
        return [_resolve(part, scope, depth + 1) for part in value]
    return value


def _resolve_text(text: str, scope: Scope) -> Json:
    if "{{" not in text:
        return text
    template = _template(text)
    if len(template.parts) == 1 and isinstance(template.parts[0], Path):
        return find(template.parts[0].name, scope)
    return _render(template, scope)


def _follow(value: Mapping[str, Json], scope: Scope, depth: int) -> Json:
    path = _path_of(value)
    if "default" not in value:
        return find(path, scope)
    found = _find(path.split("."), scope)
    return _resolve(value["default"], scope, depth + 1) if found is _ABSENT else found


def _path_of(value: Mapping[str, Json]) -> str:
    path = value["$ref"]
    if value.keys() - {"$ref", "default"}:
        raise ValueProblem("INVALID_REFERENCE", "Beside $ref there may only be a default.")
    if not isinstance(path, str) or len(path) > MAX_PATH or _PATH.fullmatch(path) is None:
        raise ValueProblem("INVALID_REFERENCE", "$ref is a path such as inputs.ticket or nodes.search.output.hits.0.")
    return path


def _template(text: str) -> SimpleTemplate:
    try:
        return compile_simple(text)
    except TemplateError as error:
        raise ValueProblem("INVALID_TEMPLATE", error.message) from error


def _render(template: SimpleTemplate, scope: Scope) -> str:
    texts: dict[str, str] = {}
    weights = Weights()
    left = MAX_SIZE
    rendered: list[str] = []
    for part in template.parts:
        if isinstance(part, Path) and part.name not in texts:
            value = find(part.name, scope)
            weights.of(value)
            texts[part.name] = to_text(value)
        text = texts[part.name] if isinstance(part, Path) else part
        left -= len(text)
        if left < 0:
            raise ValueProblem("VALUE_TOO_LARGE", f"The text is longer than {MAX_SIZE} characters.")
        rendered.append(text)
    return "".join(rendered)


def _references(value: Json, pointer: str, depth: int) -> Iterator[Reference | ValueProblem]:
    if depth > MAX_DEPTH:
        yield ValueProblem("VALUE_TOO_LARGE", f"Nested deeper than {MAX_DEPTH} levels.", pointer)
    elif (isinstance(value, str) and "{{" in value) or (isinstance(value, Mapping) and "$ref" in value):
        try:
            yield from _own_references(value, pointer)
        except ValueProblem as problem:
            yield ValueProblem(problem.code, problem.message, pointer)
        if isinstance(value, Mapping):
            yield from _references(value.get("default"), f"{pointer}/default", depth + 1)
    elif isinstance(value, Mapping | list):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in parts:
            if isinstance(key, str) and len(key) > MAX_KEY:
                yield ValueProblem("VALUE_TOO_LARGE", f"A key is longer than {MAX_KEY} characters.", pointer)
                return
            yield from _references(part, f"{pointer}/{escape(str(key))}", depth + 1)


def _own_references(value: str | Mapping[str, Json], pointer: str) -> list[Reference]:
    """Of one text, or one object with $ref; without those of its default."""
    if isinstance(value, Mapping):
        return [Reference(_path_of(value), has_default="default" in value, pointer=pointer)]
    paths = [part for part in _template(value).parts if isinstance(part, Path)]
    return [Reference(path.name, has_default=False, pointer=pointer) for path in paths]


def _find(segments: Sequence[str], scope: Scope) -> Json:
    found: Any = scope.roots
    for place, segment in enumerate(segments):
        if place == 2 and segments[0] == "nodes" and segment == "output" and not has_ended_well(found):
            return _ABSENT
        found = _step(found, segment)
        if found is _ABSENT:
            return _ABSENT
    return found


def _step(value: Json, segment: str) -> Json:
    if isinstance(value, Mapping):
        return value.get(segment, _ABSENT)
    is_index = segment.isascii() and segment.isdecimal() and len(segment) < 10
    if isinstance(value, list) and is_index and int(segment) < len(value):
        return value[int(segment)]
    return _ABSENT


def _reason(segments: Sequence[str], scope: Scope) -> str:
    """Why an output is missing, where it is the node that has none."""
    if segments[0] != "nodes" or len(segments) < 3:
        return ""
    status = _find([*segments[:2], "status"], scope)
    return {"skipped": ": the node was skipped", "error": ": the node has failed"}.get(str(status), "")
