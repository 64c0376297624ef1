"""What a configuration says in a run: its values with what they refer to."""

from typing import Any

from apps.workflows.definition.values import ValueProblem, resolve
from apps.workflows.nodes.base import NodeCall, NodeFailure


def resolved(call: NodeCall, key: str, default: Any = None) -> Any:
    """The value of a key, or the default where the configuration has none. Raises NodeFailure."""
    if key not in call.config:
        return default
    try:
        return resolve(call.config[key], call.scope)
    except ValueProblem as problem:
        raise NodeFailure(problem.code, f"{key}: {problem.message}") from problem


def resolved_text(call: NodeCall, key: str, default: str = "") -> str:
    """Raises NodeFailure, also for what is no text."""
    found = resolved(call, key, default)
    if not isinstance(found, str):
        raise NodeFailure("INVALID_CONFIG", f"{key}: A text is expected.")
    return found


def resolved_object(call: NodeCall, key: str) -> dict[str, Any]:
    """Raises NodeFailure, also for what is no object."""
    found = resolved(call, key, {})
    if not isinstance(found, dict):
        raise NodeFailure("INVALID_CONFIG", f"{key}: An object is expected.")
    return found
