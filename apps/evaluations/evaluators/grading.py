"""Scores that pass from or up to a threshold, and have no verdict without one."""

from collections.abc import Mapping
from typing import Any

from apps.workflows.evaluating import EvaluationError, Score

AT_LEAST: dict[str, Any] = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "description": "The lowest score that passes; without it there is no verdict.",
}


def graded(score: float, config: Mapping[str, Any]) -> Score:
    """A share from 0 to 1, within what rounding adds to it."""
    share = min(max(score, 0.0), 1.0)
    threshold = config.get("threshold")
    if threshold is None or share >= threshold:
        return Score(share, None if threshold is None else True)
    return Score(share, passed=False, reason=f"{share:.3g} is below {threshold:g}.")


def at_most(unit: str) -> dict[str, Any]:
    """The JSON Schema of such a threshold."""
    described = f"The most that passes, in {unit}; without it there is no verdict."
    return {"type": "number", "minimum": 0, "maximum": 1e12, "description": described}


def measured(number: float | None, config: Mapping[str, Any], what: str) -> Score:
    """A number in its own unit, of which less is better. Raises EvaluationError when it is not known."""
    if number is None:
        raise EvaluationError("NOT_MEASURED", f"No {what} is known of this output.")
    threshold = config.get("threshold")
    if threshold is None or number <= threshold:
        return Score(number, None if threshold is None else True)
    return Score(number, passed=False, reason=f"{number:g} is above {threshold:g}.")
