from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.reading import config, parsed
from apps.workflows.evaluating import Context, Evaluator, Score, verdict


class JsonValid(Evaluator):
    """Whether the output is JSON. One that is a value already is."""

    kind = "json_valid"
    config_schema: ClassVar[dict[str, Any]] = config({})

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        try:
            parsed(context.output)
        except ValueError as error:
            return verdict(passed=False, reason=f"Not JSON: {error}"[:500])
        return verdict(passed=True)
