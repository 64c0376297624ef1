"""Request bodies: strict JSON with nothing in it that PostgreSQL could not store."""

from typing import Any

import orjson
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser

from everquant.api.bulkhead import BODIES

MAX_DEPTH = 64
_MAX_INTEGER = 2**63 - 1


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
    stack: list[tuple[Any, str, int]] = [(data, "", 1)]
    while stack:
        value, path, depth = stack.pop()
        if isinstance(value, str):
            if "\x00" in value:
                raise ValidationError({path: ["NUL characters are not allowed."]})
        elif isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise ValidationError({path: [f"Nested deeper than {MAX_DEPTH} levels."]})
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, child in items:
                if isinstance(key, str) and "\x00" in key:
                    raise ValidationError({path: ["NUL characters are not allowed in names."]})
                stack.append((child, f"{path}.{key}" if path else str(key), depth + 1))
        elif isinstance(value, int | float) and abs(value) > _MAX_INTEGER:
            raise ValidationError({path: ["Numbers may have 64 bits at most before the point."]})
