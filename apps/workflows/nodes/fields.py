"""Pieces of the kinds' JSON Schemas. What may be a value has besides its own type those of references and templates."""

from typing import Any

from apps.prompts.models import LABEL_LENGTH, LABEL_PATTERN, SLUG_LENGTH, SLUG_PATTERN

Json = dict[str, Any]

# `error` is how failures leave, and no name of a case.
HANDLE_PATTERN = "(?!error$)[a-z][a-z0-9_]{0,63}"
MODEL_PATTERN = "[a-z0-9]+([._:/-]+[a-z0-9]+)*"
MAX_TEXT = 200_000
MAX_EXPRESSION = 1_000
BODY: Json = {"$ref": "#/$defs/body"}


def config(description: str, properties: Json, *required: str) -> Json:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def value(description: str) -> Json:
    """Anything: a constant, or what refers to the run."""
    return {"description": description}


def value_of(*types: str, description: str) -> Json:
    """A constant of these types, or a text or object that refers to the run."""
    return {"type": list(dict.fromkeys([*types, "string", "object"])), "description": description}


def text(description: str, longest: int = MAX_TEXT, shortest: int = 0) -> Json:
    return {"type": "string", "minLength": shortest, "maxLength": longest, "description": description}


def name(pattern: str, longest: int, description: str) -> Json:
    """The whole text; Python's `$` alone would let a line's end through."""
    whole_text = rf"^(?:{pattern})$(?!\n)"
    return {"type": "string", "pattern": whole_text, "maxLength": longest, "description": description}


def handle(description: str) -> Json:
    return name(HANDLE_PATTERN, 64, description)


def slug(description: str) -> Json:
    return name(SLUG_PATTERN, SLUG_LENGTH, description)


def label(description: str) -> Json:
    return name(LABEL_PATTERN, LABEL_LENGTH, description)


def model() -> Json:
    return name(MODEL_PATTERN, 100, "The slug of a model; without it the version's own, or the default model.")


def whole(lowest: int, highest: int, description: str, default: int | None = None) -> Json:
    schema: Json = {"type": "integer", "minimum": lowest, "maximum": highest, "description": description}
    return schema if default is None else {**schema, "default": default}


def choice(*choices: str, description: str, default: str | None = None) -> Json:
    schema: Json = {"enum": list(choices), "description": description}
    return schema if default is None else {**schema, "default": default}


def has_placeholder(given: Any) -> bool:
    """Whether something in it is only known in a run, so that it cannot be checked before."""
    if isinstance(given, str):
        return "{{" in given
    if isinstance(given, dict):
        return "$ref" in given or any(has_placeholder(one) for one in given.values())
    return isinstance(given, list) and any(has_placeholder(one) for one in given)
