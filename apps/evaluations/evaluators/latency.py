from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.grading import at_most, measured
from apps.evaluations.evaluators.reading import config
from apps.workflows.evaluating import Context, Evaluator, Score


class Latency(Evaluator):
    """How long the call took that gave the output, in milliseconds. It is no share from 0 to 1; less is better."""

    kind = "latency"
    score_type = "numeric"
    direction = "lower"
    measures_call = True
    config_schema: ClassVar[dict[str, Any]] = config({"threshold": at_most("milliseconds")})

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        number = None if context.latency_ms is None else float(context.latency_ms)
        return measured(number, config, "latency")
