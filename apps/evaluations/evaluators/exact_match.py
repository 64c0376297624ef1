from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.reading import config, is_same
from apps.workflows.evaluating import Context, Evaluator, Score, verdict


class ExactMatch(Evaluator):
    """Whether the output is the expected one: text is compared as text, everything else as JSON."""

    kind = "exact_match"
    needs_expected = True
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "ignore_case": {"type": "boolean", "default": False},
            "trim": {"type": "boolean", "default": True, "description": "Without spaces around it."},
        }
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        output, expected = (_normal(value, config) for value in (context.output, context.expected))
        passed = is_same(output, expected)
        return verdict(passed=passed, reason="" if passed else "The output is not the expected one.")


def _normal(value: Any, config: Mapping[str, Any]) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip() if config.get("trim", True) else value
    return text.casefold() if config.get("ignore_case", False) else text
