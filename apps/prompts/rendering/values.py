"""JSON values: their size, their text, and whether PostgreSQL can store them."""

import json
import math
import re
from typing import Any

from apps.prompts.rendering.errors import RenderError

MAX_DEPTH = 64
MAX_INT_BITS = 4096
MAX_PATH = 1_000
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

# The last key and what is before it: paths written out for every part fill the memory where one key is long.
_Trail = tuple["_Trail", str | int] | None


def to_text(value: Any) -> str:
    """The text a value has in a prompt: strings as they are, everything else as compact JSON in the order given."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=True)


def measure(value: Any, limit: int) -> int:
    """The size of a value written out: one per number, key or item, and one per character.

    Shared parts count as often as they appear, so that a value built of itself cannot hide its size.
    Raises RenderError above `limit`, MAX_DEPTH or MAX_INT_BITS.
    """
    total = 0
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        total += 1
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, dict):
            stack.extend((part, depth + 1) for pair in item.items() for part in pair)
        elif isinstance(item, list | tuple):
            stack.extend((part, depth + 1) for part in item)
        elif isinstance(item, int) and item.bit_length() > MAX_INT_BITS:
            raise RenderError("A number is too large.")
        if total > limit:
            raise RenderError(f"A value is larger than {limit} characters.")
        if depth > MAX_DEPTH:
            raise RenderError(f"A value is nested deeper than {MAX_DEPTH} levels.")
    return total


def find_problem(value: Any, path: str = "") -> tuple[str, str] | None:
    """The first part of a value that is not storable JSON, as (dotted path, reason)."""
    stack: list[tuple[Any, _Trail, int]] = [(value, None, 0)]
    while stack:
        item, trail, depth = stack.pop()
        reason = _scalar_problem(item)
        if reason is None and depth > MAX_DEPTH:
            reason = f"Nested deeper than {MAX_DEPTH} levels."
        if reason is not None:
            return _dotted(path, trail), reason
        if isinstance(item, dict):
            bad_key = next((key for key in item if not isinstance(key, str) or UNSTORABLE.search(key)), None)
            if bad_key is not None:
                return _dotted(path, trail), "A key is not storable text."
            stack.extend((part, (trail, key), depth + 1) for key, part in item.items())
        elif isinstance(item, list | tuple):
            stack.extend((part, (trail, index), depth + 1) for index, part in enumerate(item))
    return None


def _dotted(path: str, trail: _Trail) -> str:
    keys: list[str] = []
    while trail is not None:
        trail, key = trail
        keys.append(str(key))
    return ".".join([*([path] if path else []), *reversed(keys)])[:MAX_PATH]


def _scalar_problem(item: Any) -> str | None:
    if isinstance(item, str):
        return "NUL characters and lone surrogates are not allowed." if UNSTORABLE.search(item) else None
    if isinstance(item, float):
        return None if math.isfinite(item) else "NaN and infinity are not JSON."
    if isinstance(item, int):
        return "The number is too large." if item.bit_length() > MAX_INT_BITS else None
    if item is None or isinstance(item, dict | list | tuple):
        return None
    return "Not a JSON value."
