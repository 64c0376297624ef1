import math
from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.reading import config
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score, verdict

_TOLERANCE = {"type": "number", "minimum": 0, "maximum": 1e18}


class Numeric(Evaluator):
    """Whether the output is the expected number: |output - expected| ≤ max(tolerance, relative · |expected|)."""

    kind = "numeric"
    needs_expected = True
    config_schema: ClassVar[dict[str, Any]] = config({"tolerance": _TOLERANCE, "relative": _TOLERANCE})

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        expected, output = _number(context.expected), _number(context.output)
        if expected is None:
            raise EvaluationError("INVALID_EXPECTED", "The expected value is no number.")
        if output is None:
            return verdict(passed=False, reason="The output is no number.")
        allowed = max(config.get("tolerance", 0), config.get("relative", 0) * abs(expected))
        off = abs(output - expected)
        passed = off <= allowed
        return verdict(passed=passed, reason="" if passed else f"Off by {off:g}, {allowed:g} is allowed.")


def _number(value: Any) -> float | None:
    """Of numbers and of text that is nothing but one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
