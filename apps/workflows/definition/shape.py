"""The first step of validation: what the schema says, in words that name what is meant."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from apps.workflows.definition.problems import Problem
from apps.workflows.definition.schema import definition_schema
from apps.workflows.definition.values import escape

_NAMES = {
    "array": "a list", "object": "an object", "string": "a text", "number": "a number", "integer": "a whole number",
    "boolean": "true or false", "null": "null",
}  # fmt: skip


def shape_problems(definition: Any) -> Iterator[Problem]:
    """Each with the pointer of what is wrong: for a missing field the object that it is missing in."""
    for error in _validator().iter_errors(definition):
        yield from _said(error)


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(definition_schema())


def _said(error: Any) -> Iterator[Problem]:
    at = "".join(f"/{escape(str(step))}" for step in error.absolute_path)
    keyword = str(error.validator)
    if keyword == "additionalProperties":
        known = error.schema.get("properties", {})
        for name in error.instance:
            if name not in known:
                yield Problem("UNKNOWN_FIELD", f"{at}/{escape(name)}", f"There is no field {name[:64]!r} here.")
    elif keyword == "required":
        missing = next((name for name in error.validator_value if error.message.startswith(repr(name))), "")
        yield Problem("MISSING_FIELD", at, f"{missing} is missing.")
    elif keyword == "enum" and error.absolute_path and error.absolute_path[-1] == "kind":
        yield Problem("UNKNOWN_KIND", at, f"There is no such kind; there are {', '.join(error.validator_value)}.")
    elif keyword == "type":
        yield Problem("INVALID_TYPE", at, f"{_types(error.validator_value)} is expected.")
    else:
        yield Problem("INVALID_VALUE", at, _LIMITS.get(keyword, _other)(error))


def _types(expected: str | list[str]) -> str:
    names = [_NAMES[one] for one in ([expected] if isinstance(expected, str) else expected)]
    said = ", ".join(names[:-1]) + (" or " if len(names) > 1 else "") + names[-1]
    return said[0].upper() + said[1:]


def _other(error: Any) -> str:
    message: str = error.message
    return message[:300]


def _pattern(error: Any) -> str:
    description = error.schema.get("description") or f"It does not match {error.validator_value}."
    return f"{str(error.instance)[:64]!r} is not valid here. {description}"


_LIMITS: dict[str, Callable[[Any], str]] = {
    "pattern": _pattern,
    "enum": lambda error: f"One of {', '.join(map(str, error.validator_value))} is expected.",
    "const": lambda error: f"{error.validator_value} is expected.",
    "minimum": lambda error: f"At least {error.validator_value}.",
    "maximum": lambda error: f"At most {error.validator_value}.",
    "exclusiveMinimum": lambda error: f"More than {error.validator_value}.",
    "minItems": lambda error: f"At least {error.validator_value} item.",
    "maxItems": lambda error: f"At most {error.validator_value} items.",
    "maxProperties": lambda error: f"At most {error.validator_value} fields.",
    "minLength": lambda error: f"At least {error.validator_value} character.",
    "maxLength": lambda error: f"At most {error.validator_value} characters.",
}
