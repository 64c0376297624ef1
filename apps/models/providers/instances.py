"""JSON that fits a JSON Schema, made of a text: what the offline model answers where a schema is asked for. Pure."""

import math
import re
from collections.abc import Mapping
from typing import Any

from orjson import JSONDecodeError, dumps, loads

Json = Any
MOST_DEPTH = 20
MOST_VALUES = 2_000
LONGEST_TEXT = 2_000

_FORMATS = {
    "date-time": "1970-01-01T00:00:00Z",
    "date": "1970-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "nobody@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def instance_text(schema: Json, text: str) -> str:
    """The text itself when it is a JSON object or list, else a small instance of the schema.

    Of an object only what is required; of choices the first that the text names as a word, else the first; of texts
    the text, cut or filled up to their length; of numbers the one nearest to 0. Patterns are not kept.
    """
    try:
        if isinstance(loads(text), dict | list):
            return text
    except JSONDecodeError:
        pass
    return dumps(_Maker(schema, text).value(schema, 0)).decode()


class _Maker:
    def __init__(self, root: Json, text: str) -> None:
        self._root, self._text = root, text[:LONGEST_TEXT].encode(errors="replace").decode()
        self._values_left = MOST_VALUES

    def value(self, schema: Json, depth: int) -> Json:
        self._values_left -= 1
        if not isinstance(schema, dict) or depth > MOST_DEPTH or self._values_left < 0:
            return None
        schema = self._whole(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return self._choice(schema["enum"])
        return self._of_type(_type(schema), schema, depth)

    def _whole(self, schema: Mapping[str, Json]) -> dict[str, Json]:
        """With what it refers to and consists of; of alternatives the first that is not null."""
        whole = dict(schema)
        for _ in range(MOST_DEPTH):
            parts = [self._referred(whole.pop("$ref", None)), *_dicts(whole.pop("allOf", None))]
            for keyword in ("anyOf", "oneOf"):
                options = _dicts(whole.pop(keyword, None))
                parts += [one for one in options if one.get("type") != "null"][:1] or options[:1]
            if not any(parts):
                break
            for part in parts:
                whole = _merged(whole, part)
        return whole

    def _referred(self, reference: Json) -> dict[str, Json]:
        found = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            return {}
        for key in reference[1:].split("/")[1:]:
            found = found.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def _choice(self, choices: list[Json]) -> Json:
        named = (one for one in choices if isinstance(one, str) and self._names(one))
        return next(named, choices[0])

    def _names(self, word: str) -> bool:
        return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", self._text, re.IGNORECASE) is not None

    def _of_type(self, kind: str, schema: Mapping[str, Json], depth: int) -> Json:
        if kind == "object":
            properties = schema.get("properties")
            known: Mapping[str, Json] = properties if isinstance(properties, dict) else {}
            required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
            in_order = [
                *(name for name in known if name in required),
                *(name for name in required if name not in known),
            ]
            return {name: self.value(known.get(name, {}), depth + 1) for name in in_order}
        if kind == "array":
            first = _list(schema.get("prefixItems"))
            count = min(_whole_number(schema.get("minItems")), max(0, self._values_left))
            return [self.value(first[i] if i < len(first) else schema.get("items"), depth + 1) for i in range(count)]
        if kind in {"integer", "number"}:
            return _number(schema, is_whole=kind == "integer")
        return {"boolean": False, "null": None}.get(kind, self._string(schema))

    def _string(self, schema: Mapping[str, Json]) -> str:
        text = _FORMATS.get(str(schema.get("format")), self._text)
        if "maxLength" in schema:
            text = text[: _whole_number(schema["maxLength"])]
        return text.ljust(min(_whole_number(schema.get("minLength")), LONGEST_TEXT), ".")


def _type(schema: Mapping[str, Json]) -> str:
    """What it says, else what its keywords speak of."""
    said = schema.get("type")
    kinds = [kind for kind in _list(said) if kind != "null"] or [said]
    if isinstance(kinds[0], str):
        return kinds[0]
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _merged(one: Mapping[str, Json], other: Mapping[str, Json]) -> dict[str, Json]:
    merged = {**other, **one}
    if isinstance(one.get("properties"), dict) and isinstance(other.get("properties"), dict):
        merged["properties"] = {**other["properties"], **one["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = [*_list(other["required"]), *_list(one["required"])]
    return merged


def _number(schema: Mapping[str, Json], *, is_whole: bool) -> float:
    """The one nearest to 0 that keeps to the limits."""
    step = abs(_finite(schema.get("multipleOf")) or (1.0 if is_whole else 0.0))
    nudge = step or 1.0
    lows = [_finite(schema.get("minimum")), _plus(_finite(schema.get("exclusiveMinimum")), nudge)]
    highs = [_finite(schema.get("maximum")), _plus(_finite(schema.get("exclusiveMaximum")), -nudge)]
    low = max((one for one in lows if one is not None), default=-math.inf)
    high = min((one for one in highs if one is not None), default=math.inf)
    found = min(max(0.0, low), high) if low <= high else (low - nudge + high + nudge) / 2
    if step:
        found = (math.ceil if found > 0 else math.floor)(found / step) * step
    return int(found) if is_whole or found.is_integer() else found


def _plus(number: float | None, nudge: float) -> float | None:
    return None if number is None else number + nudge


def _finite(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _whole_number(value: Json) -> int:
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _dicts(value: Json) -> list[dict[str, Json]]:
    return [one for one in _list(value) if isinstance(one, dict)]
