"""What a gate may demand: rules as JSON, checked the same way wherever they come from."""

import math
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from apps.evaluations.models import NAME_LENGTH
from everquant.api.errors import BadRequest

Json = Any
Rule = dict[str, Json]

MAX_RULES = 50
CONFIDENCE, MAX_MISSING, MIN_ITEMS = 0.95, 0.05, 20
_LARGEST = 1e15

_METRIC = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH, "pattern": r"^[^\u0000]+$"}
_NUMBER = {"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_MARGIN = {"type": "number", "minimum": 0, "maximum": _LARGEST}
_MARGIN_TYPE = {"type": "string", "enum": ["absolute", "relative"], "default": "absolute"}
_STATISTICAL: dict[str, Json] = {
    "confidence": {
        "type": "number",
        "minimum": 0.5,
        "maximum": 0.9999,
        "default": CONFIDENCE,
        "description": "Of each bound: a rule that is not met passes with a chance of about 1 - confidence.",
    },
    "max_missing": {
        **_SHARE,
        "default": MAX_MISSING,
        "description": "The share of scores that may be missing on either side; beyond it the rule does not pass.",
    },
    "min_items": {
        "type": "integer",
        "minimum": 2,
        "maximum": 1_000_000,
        "default": MIN_ITEMS,
        "description": "With fewer items the rule is inconclusive.",
    },
}


def _shape(kind: str, description: str, required: list[str], **properties: Json) -> Json:
    return {
        "type": "object",
        "description": description,
        "required": ["type", *required],
        "additionalProperties": False,
        "properties": {"type": {"type": "string", "const": kind}, **properties},
    }


_ABSOLUTE = _shape(
    "absolute",
    "The candidate's mean, or the share that passed, is within the limits.",
    ["metric"],
    metric=_METRIC,
    min=_NUMBER,
    max=_NUMBER,
    **_STATISTICAL,
)
SHAPES: dict[str, Json] = {
    "absolute": {**_ABSOLUTE, "anyOf": [{"required": ["min"]}, {"required": ["max"]}]},
    "no_worse_than": _shape(
        "no_worse_than",
        "The candidate is worse than the baseline by the margin at most; a relative one is a share of its mean.",
        ["metric", "margin"],
        metric=_METRIC,
        margin=_MARGIN,
        margin_type=_MARGIN_TYPE,
        **_STATISTICAL,
    ),
    "better_than": _shape(
        "better_than",
        "The candidate is better than the baseline by more than the margin.",
        ["metric"],
        metric=_METRIC,
        margin={**_MARGIN, "default": 0},
        margin_type=_MARGIN_TYPE,
        **_STATISTICAL,
    ),
    "ratio": _shape(
        "ratio",
        "The candidate's mean is at most so many times the baseline's.",
        ["metric", "max"],
        metric=_METRIC,
        max={"type": "number", "exclusiveMinimum": 0, "maximum": _LARGEST},
        **_STATISTICAL,
    ),
    "max_failure_rate": _shape(
        "max_failure_rate",
        "At most this share of the candidate's cases fails.",
        ["max"],
        max=_SHARE,
        **_STATISTICAL,
    ),
    "max_missing": _shape(
        "max_missing",
        "At most this share of the candidate's scores is missing: of one metric, or of the one that misses most.",
        ["max"],
        metric=_METRIC,
        max=_SHARE,
    ),
}
RULES_SCHEMA: Json = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_RULES,
    "items": {"oneOf": list(SHAPES.values())},
}
COMPARING_TYPES = frozenset({"no_worse_than", "better_than", "ratio"})
"""Of the rules that need a baseline."""


def parse_rules(value: Json, at: str = "rules") -> list[Rule]:
    """The rules with every default said. Raises BadRequest naming what is wrong by its dotted path from `at`."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_RULES:
        raise _refusal({at: f"A list of 1 to {MAX_RULES} rules is expected."})
    problems: dict[str, str] = {}
    for number, rule in enumerate(value):
        problems.update(_problems(rule, f"{at}.{number}"))
    if problems:
        raise _refusal(problems)
    return [_completed(rule) for rule in value]


def _refusal(problems: dict[str, str]) -> BadRequest:
    path, why = next(iter(problems.items()))
    return BadRequest(f"{path}: {why}", details=problems)


def _problems(rule: Json, at: str) -> dict[str, str]:
    if not isinstance(rule, dict):
        return {at: "A rule is an object."}
    kind = rule.get("type")
    if not isinstance(kind, str) or kind not in SHAPES:
        return {f"{at}.type": f"One of {', '.join(SHAPES)} is expected."}
    found: dict[str, str] = {}
    for error in _validator(kind).iter_errors(rule):
        found.update(_said(error, at))
    for name, value in rule.items():
        if isinstance(value, float) and not math.isfinite(value):
            found[f"{at}.{name}"] = "A finite number is expected."
    if not found and kind == "absolute" and rule.get("min", -math.inf) > rule.get("max", math.inf):
        found[f"{at}.max"] = "Not below min."
    return found


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(SHAPES[kind])


def _said(error: Any, at: str) -> dict[str, str]:
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return {f"{at}.{name}": "This field is required." for name in missing}
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        return {f"{at}.{str(name)[:64]}": "Unknown field." for name in error.instance if name not in known}
    if error.validator == "anyOf":
        return {f"{at}.min": "min, max or both are expected."}
    path = ".".join([at, *map(str, error.absolute_path)])
    return {path: error.message[:300]}


def _completed(rule: Rule) -> Rule:
    shape = SHAPES[rule["type"]]["properties"]
    defaults = {name: one["default"] for name, one in shape.items() if "default" in one}
    whole = {**defaults, **rule}
    return {name: whole[name] for name in shape if name in whole}
