"""Which requests an A/B test is for: rules on their metadata."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apps.prompts.rendering.values import UNSTORABLE

MAX_RULES = 20
MAX_VALUES = 100
MAX_TEXT = 200
MAX_BITS = 63
LISTS = ("include", "exclude")
_ABSENT = object()


def _equals(found: Any, value: Any) -> bool:
    """As JSON: 1 is 1.0, and neither `true` nor "1"."""
    return isinstance(found, bool) == isinstance(value, bool) and found == value


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= MAX_BITS


def _compares(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda found, value: _is_number(found) and compare(found, value)


# null is as if the key were not there, to which only the negations apply
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": _equals,
    "not_equals": lambda found, value: not _equals(found, value),
    "in": lambda found, values: any(_equals(found, value) for value in values),
    "not_in": lambda found, values: not any(_equals(found, value) for value in values),
    "exists": lambda found, _: found is not _ABSENT,
    "not_exists": lambda found, _: found is _ABSENT,
    "gt": _compares(lambda found, value: found > value),
    "gte": _compares(lambda found, value: found >= value),
    "lt": _compares(lambda found, value: found < value),
    "lte": _compares(lambda found, value: found <= value),
}
_WITHOUT_VALUE = frozenset({"exists", "not_exists"})
_OF_LISTS = frozenset({"in", "not_in"})
_OF_NUMBERS = frozenset({"gt", "gte", "lt", "lte"})


def matches(segments: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether every rule of `include` holds and none of `exclude`. The segments are checked ones."""
    included = all(_holds(rule, metadata) for rule in segments.get("include", ()))
    return included and not any(_holds(rule, metadata) for rule in segments.get("exclude", ()))


def _holds(rule: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    found = metadata.get(rule["key"])
    return OPERATORS[rule["operator"]](_ABSENT if found is None else found, rule.get("value"))


def check_segments(value: Any) -> dict[str, str]:
    """Dotted path → what is wrong there; empty for segments that `matches` takes."""
    if not isinstance(value, dict):
        return {"": "Must be a JSON object."}
    problems = {str(name): "Unknown field." for name in value if name not in LISTS}
    for name in LISTS:
        rules = value.get(name, [])
        if not isinstance(rules, list) or len(rules) > MAX_RULES:
            problems[name] = f"Must be a list of at most {MAX_RULES} rules."
            continue
        for number, rule in enumerate(rules):
            problems |= {f"{name}.{number}{path}": why for path, why in _rule_problems(rule).items()}
    return problems


def _rule_problems(rule: Any) -> dict[str, str]:
    if not isinstance(rule, dict):
        return {"": "Must be a JSON object."}
    problems = {f".{name}": "Unknown field." for name in rule if name not in {"key", "operator", "value"}}
    key, operator = rule.get("key"), rule.get("operator")
    if not isinstance(key, str) or not key or _text_problem(key):
        problems[".key"] = f"Must be text of 1 to {MAX_TEXT} characters."
    if not isinstance(operator, str) or operator not in OPERATORS:
        return {**problems, ".operator": f"Must be one of {', '.join(OPERATORS)}."}
    why = _value_problem(operator, rule.get("value", _ABSENT))
    return {**problems, ".value": why} if why else problems


def _value_problem(operator: str, value: Any) -> str | None:
    if operator in _WITHOUT_VALUE:
        return None if value is _ABSENT else f"{operator} takes no value."
    if operator in _OF_NUMBERS:
        return None if _is_number(value) else "Must be a number of at most 64 bits."
    if operator not in _OF_LISTS:
        return _scalar_problem(value)
    if not _is_sequence(value) or not 1 <= len(value) <= MAX_VALUES:
        return f"Must be a list of 1 to {MAX_VALUES} values."
    return next(filter(None, map(_scalar_problem, value)), None)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _scalar_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return _text_problem(value)
    return None if isinstance(value, bool) or _is_number(value) else "Must be text, a number, true or false."


def _text_problem(text: str) -> str | None:
    if len(text) > MAX_TEXT or UNSTORABLE.search(text):
        return f"Must be text of at most {MAX_TEXT} characters, without NUL and lone surrogates."
    return None
