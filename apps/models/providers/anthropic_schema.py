"""A JSON Schema as Anthropic takes it for structured output.

Objects are closed; what else is refused there is said in the description, where the model may heed it. Answers are held
against the whole schema afterwards. https://docs.claude.com/en/docs/build-with-claude/structured-outputs
"""

from typing import Any

import orjson

Json = dict[str, Any]

_TAKEN = frozenset({"$ref", "const", "default", "description", "enum", "required", "title", "type"})
_DROPPED = frozenset({"$schema", "additionalProperties"})
_MAPS = frozenset({"$defs", "properties"})
_LISTS = {"allOf": "allOf", "anyOf": "anyOf", "oneOf": "anyOf"}
_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"},
)


def accepted_schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept: Json = {}
    told: Json = {}
    for name, value in schema.items():
        if name in _MAPS and isinstance(value, dict):
            kept[name] = {key: accepted_schema(part) for key, part in value.items()}
        elif name in _LISTS:
            kept[_LISTS[name]] = [accepted_schema(part) for part in value]
        elif name == "items":
            kept[name] = accepted_schema(value)
        elif _is_taken(name, value):
            kept[name] = value
        elif name not in _DROPPED:
            told[name] = value
    if kept.get("type") == "object":
        kept["additionalProperties"] = False
    if told:
        said = [kept.get("description"), orjson.dumps(told).decode()]
        kept["description"] = "\n\n".join(part for part in said if part)
    return kept


def _is_taken(name: str, value: Any) -> bool:
    if name == "format":
        return value in _FORMATS
    return name in _TAKEN or (name == "minItems" and value in {0, 1})
