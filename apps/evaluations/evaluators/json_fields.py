from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.reading import config, is_same, parsed
from apps.workflows.evaluating import ABSENT, Context, EvaluationError, Evaluator, Score


class JsonFields(Evaluator):
    """The share of fields that are as expected: those named by dotted paths, else all at the top of the expected."""

    kind = "json_fields"
    score_type = "numeric"
    needs_expected = True
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "fields": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 200},
                "minItems": 1,
                "maxItems": 200,
            }
        }
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        expected = _object(context.expected)
        paths = config.get("fields") or list(expected)
        if not paths:
            raise EvaluationError("NOTHING_EXPECTED", "The expected object has no fields.")
        absent = [path for path in paths if "fields" in config and _at(expected, path) is ABSENT]
        if absent:
            raise EvaluationError("NOTHING_EXPECTED", f"The expected value has no {absent[0]}.")
        try:
            output = parsed(context.output)
        except ValueError as error:
            return Score(0.0, passed=False, reason=f"Not JSON: {error}"[:500])
        find = _at if "fields" in config else _top
        wrong = [path for path in paths if not is_same(find(output, path), find(expected, path))]
        reason = f"Other than expected: {', '.join(wrong)}"[:500] if wrong else ""
        return Score(1 - len(wrong) / len(paths), not wrong, reason=reason)


def _object(value: Any) -> dict[str, Any]:
    try:
        found = parsed(value)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EvaluationError("INVALID_EXPECTED", "The expected value is no object.")
    return found


def _top(value: Any, key: str) -> Any:
    return value.get(key, ABSENT) if isinstance(value, dict) else ABSENT


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(value, list) and step.isdecimal() and step.isascii() and len(step) < 10:
            value = value[int(step)] if int(step) < len(value) else ABSENT
        else:
            value = _top(value, step)
    return value
