from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.reading import config, to_text
from apps.workflows.evaluating import Context, Evaluator, Score, verdict

_COUNT = {"type": "integer", "minimum": 0, "maximum": 10_000_000}


class Length(Evaluator):
    """Whether the output is neither too short nor too long; of a list its items are counted."""

    kind = "length"
    config_schema: ClassVar[dict[str, Any]] = config(
        {"min": _COUNT, "max": _COUNT, "unit": {"enum": ["characters", "words"], "default": "characters"}}
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        if "min" not in config and "max" not in config:
            return [("At least one of min and max is expected.", "")]
        if config.get("min", 0) > config.get("max", _COUNT["maximum"]):
            return [("Less than min.", "max")]
        return []

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        counted = context.output
        if not isinstance(counted, list):
            text = to_text(counted)
            counted = text.split() if config.get("unit") == "words" else text
        count = len(counted)
        passed = config.get("min", 0) <= count <= config.get("max", count)
        return verdict(passed=passed, reason="" if passed else f"It has {count}.")
