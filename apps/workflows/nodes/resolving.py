"""What a configuration says in a run: its values with what they refer to."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from apps.prompts.rendering.values import MAX_DEPTH, UNSTORABLE, find_problem, to_text
from apps.workflows.definition.values import Scope, ValueProblem, has_ended_well, resolve
from apps.workflows.nodes.base import NodeCall, NodeFailure


def resolved(call: NodeCall, key: str, default: Any = None) -> Any:
    """The value of a key, or the default where the configuration has none. Raises NodeFailure."""
    if key not in call.config:
        return default
    try:
        return resolve(call.config[key], call.scope)
    except ValueProblem as problem:
        raise NodeFailure(problem.code, f"{key}: {problem.message}") from problem


def resolved_text(call: NodeCall, key: str) -> str:
    """What is no text as compact JSON. Raises NodeFailure."""
    return to_text(resolved(call, key, ""))


def resolved_object(call: NodeCall, key: str) -> dict[str, Any]:
    """Raises NodeFailure, also for what is no object."""
    found = resolved(call, key, {})
    if not isinstance(found, dict):
        raise NodeFailure("INVALID_CONFIG", f"{key}: An object is expected.")
    return found


def resolved_list(call: NodeCall, key: str) -> list[Any]:
    """Raises NodeFailure, also for what is no list."""
    found = resolved(call, key, [])
    if not isinstance(found, list):
        raise NodeFailure("INVALID_CONFIG", f"{key}: A list is expected.")
    return found


def pinned_id(call: NodeCall, key: str) -> UUID | None:
    return UUID(call.pin[key]) if key in call.pin else None


def visible_roots(scope: Scope) -> dict[str, Any]:
    """All that may be referred to: nodes that have not ended well have no output."""
    roots = dict(scope.roots)
    nodes = roots.get("nodes")
    if isinstance(nodes, Mapping):
        roots["nodes"] = {key: _visible(node) for key, node in nodes.items()}
    return roots


def _visible(node: Any) -> Any:
    return node if has_ended_well(node) else {key: value for key, value in node.items() if key != "output"}


def storable(value: Any) -> Any:
    """JSON from outside as the database can keep it: what it cannot is replaced in texts.

    Raises NodeFailure for what is nested too deeply, and for numbers that are none.
    """
    if find_problem(value) is None:
        return value
    cleaned = _cleaned(value, 0)
    problem = find_problem(cleaned)
    if problem is not None:
        raise NodeFailure("INVALID_OUTPUT", " ".join(problem).strip()[:500])
    return cleaned


def _cleaned(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, str):
        return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_cleaned(one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {_cleaned(key, depth): _cleaned(one, depth + 1) for key, one in value.items()}
    return value
