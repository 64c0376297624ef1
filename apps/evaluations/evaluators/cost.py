from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.grading import at_most, measured
from apps.evaluations.evaluators.reading import config
from apps.workflows.evaluating import Context, Evaluator, Score


class Cost(Evaluator):
    """What the call cost that gave the output, in US dollars. It is no share from 0 to 1; less is better.

    A call of a model without a price is an error, not one that costs nothing.
    """

    kind = "cost"
    score_type = "numeric"
    direction = "lower"
    measures_call = True
    config_schema: ClassVar[dict[str, Any]] = config({"threshold": at_most("US dollars")})

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        number = None if context.cost_usd is None else float(context.cost_usd)
        return measured(number, config, "cost")
