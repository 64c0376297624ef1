"""Outputs and expected values as evaluators read them."""

from typing import Any

import orjson

from apps.prompts.rendering.values import to_text
from apps.workflows.evaluating import Context, EvaluationError

__all__ = ["MAX_TEXT", "bounded_text", "compared_texts", "config", "is_same", "parsed", "to_text"]

MAX_TEXT = 50_000
MAX_REFERENCES = 100


def config(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """The JSON Schema of a configuration."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def parsed(value: Any) -> Any:
    """Text as the JSON that it is; anything else is JSON already. Raises ValueError."""
    return orjson.loads(value) if isinstance(value, str) else value


def bounded_text(context: Context, limit: int = MAX_TEXT) -> str:
    """The output as text. Raises EvaluationError when it has more characters than the limit."""
    text = to_text(context.output)
    if len(text) > limit:
        raise EvaluationError("TOO_LARGE", f"The output has more than {limit:,} characters.")
    return text


def compared_texts(context: Context) -> tuple[str, list[str]]:
    """The output, and the references that it is compared with: a list of texts has several, any other value is one.

    Raises EvaluationError: without a reference, and when the output, or all references together, have more than
    MAX_TEXT characters.
    """
    expected = context.expected
    is_several = isinstance(expected, list) and all(isinstance(one, str) for one in expected)
    references = expected if is_several else [to_text(expected)]
    if not references:
        raise EvaluationError("NOTHING_EXPECTED", "The list of expected texts is empty.")
    if len(references) > MAX_REFERENCES or sum(map(len, references)) > MAX_TEXT:
        why = f"There are more than {MAX_REFERENCES} expected texts, or more than {MAX_TEXT:,} characters of them."
        raise EvaluationError("TOO_LARGE", why)
    return bounded_text(context), references


def is_same(one: Any, other: Any) -> bool:
    """Equal as JSON, however deep: 1 is 1.0, but not true; the order of keys is of no matter."""
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
            pairs.extend((left[key], right[key]) for key in left)
        elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            pairs.extend(zip(left, right, strict=True))
        elif isinstance(left, dict | list | bool) or isinstance(right, dict | list | bool):
            if left is not right:
                return False
        elif left != right:
            return False
    return True
