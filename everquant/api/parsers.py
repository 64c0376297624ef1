"""Request bodies: strict JSON with nothing in it that PostgreSQL could not store."""

from typing import Any

import orjson
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser

from everquant.api.bulkhead import BODIES

MAX_DEPTH = 64
MAX_TOLD = 1_000
_MAX_INTEGER = 2**63 - 1

# A path as its last key and what is before it: written out for every value, one long key alone would fill the memory.
Trail = tuple["Trail", str | int] | None


class StrictJSONParser(BaseParser):
    """UTF-8 JSON. Refused with a 400: NUL characters, lone surrogates, nesting deeper than 64, NaN and Infinity,
    whole numbers beyond 64 bits (`jsonb` gives 1e20 back as an integer that orjson cannot write)."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        with BODIES.enter():
            body = stream.read()
        return parse_json(body)


def parse_json(body: bytes) -> Any:
    """Raises ParseError, and ValidationError for what cannot be stored."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ParseError(f"The body is not JSON: {error}") from None
    check_json(data)
    return data


def check_json(data: Any) -> None:
    """Raises ValidationError naming the path of the first value that cannot be stored."""
    stack: list[tuple[Any, Trail, int]] = [(data, None, 1)]
    while stack:
        value, trail, depth = stack.pop()
        if isinstance(value, str):
            if "\x00" in value:
                raise _unstorable(trail, "NUL characters are not allowed.")
        elif isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise _unstorable(trail, f"Nested deeper than {MAX_DEPTH} levels.")
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, child in items:
                if isinstance(key, str) and "\x00" in key:
                    raise _unstorable(trail, "NUL characters are not allowed in names.")
                stack.append((child, (trail, key), depth + 1))
        elif isinstance(value, int | float) and abs(value) > _MAX_INTEGER:
            raise _unstorable(trail, "Numbers may have 64 bits at most before the point.")


def dotted(trail: Trail) -> str:
    """The path of a trail, at most MAX_TOLD characters of it."""
    keys: list[str] = []
    while trail is not None:
        trail, key = trail
        keys.append(str(key))
    return ".".join(reversed(keys))[:MAX_TOLD]


def _unstorable(trail: Trail, reason: str) -> ValidationError:
    return ValidationError({dotted(trail): [reason]})
