"""Parameters of a call: OpenAI's names with the values that any provider takes; other names pass through."""

import math
from typing import Any

import orjson

MAX_PARAMETERS_BYTES = 16_384
# Said elsewhere in a request, or the adapter's own affair.
RESERVED_PARAMETERS = frozenset(
    {"model", "messages", "system", "stream", "stream_options", "n", "tools", "response_format"}
)
_NUMBERS = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
}
_COUNTS = ("max_tokens", "max_completion_tokens", "top_k")
PARAMETERS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "propertyNames": {"not": {"enum": sorted(RESERVED_PARAMETERS)}},
    "properties": {
        **{name: {"type": "number", "minimum": low, "maximum": high} for name, (low, high) in _NUMBERS.items()},
        **{name: {"type": "integer", "minimum": 1, "maximum": 2**31} for name in _COUNTS},
    },
    "additionalProperties": True,
}


def parameter_problems(parameters: dict[str, Any]) -> dict[str, str]:
    """What is wrong with each parameter, by its name; an empty name is about all of them."""
    if len(orjson.dumps(parameters)) > MAX_PARAMETERS_BYTES:
        return {"": f"At most {MAX_PARAMETERS_BYTES} bytes of JSON."}
    problems = {}
    for name, value in parameters.items():
        if problem := _problem(name, value):
            problems[name] = problem
    return problems


def _problem(name: str, value: Any) -> str:
    if name in RESERVED_PARAMETERS:
        return "Not a parameter: it is said elsewhere."
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return "" if is_number and low <= value <= high else f"Must be a number from {low:g} to {high:g}."
    if name in _COUNTS and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**31):
        return "Must be a whole number from 1."
    return ""
