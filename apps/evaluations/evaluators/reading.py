"""Outputs as evaluators read them."""

from typing import Any

import orjson

from apps.prompts.rendering.values import to_text

__all__ = ["config", "is_same", "parsed", "to_text"]


def config(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """The JSON Schema of a configuration."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def parsed(value: Any) -> Any:
    """Text as the JSON that it is; anything else is JSON already. Raises ValueError."""
    return orjson.loads(value) if isinstance(value, str) else value


def is_same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, but not true; the order of keys is of no matter."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)
