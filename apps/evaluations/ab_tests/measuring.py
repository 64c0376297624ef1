"""How what a test names is measured."""

from collections.abc import Mapping
from typing import Any

from apps.evaluations.ab_tests.measures import DEFAULT_DIRECTIONS, Aggregation, Builtin, Direction
from apps.evaluations.statistics.deciding import Measured
from apps.prompts.models import ABTest

SHARES = frozenset({Builtin.SUCCESS, Builtin.SCHEMA_VALID})
USUAL_UNITS = 10_000
"""Where the sequences are narrowest for a test without a plan."""


def planned_units_of(test: ABTest) -> int:
    return test.planned_units or USUAL_UNITS


def measured(metric: Mapping[str, Any]) -> Measured:
    return Measured(
        aggregation=metric["aggregation"],
        is_share=metric["measure"] in SHARES and metric["aggregation"] == Aggregation.MEAN,
        is_less_better=metric["direction"] == Direction.DECREASE,
    )


def measured_of(test: ABTest, measure: str) -> Measured:
    """As the test's first metric of this measure, or a mean over units with the usual direction."""
    for metric in test.metrics:
        if metric["measure"] == measure:
            return measured(metric)
    direction = DEFAULT_DIRECTIONS.get(Builtin(measure), Direction.INCREASE)
    return measured({"measure": measure, "aggregation": Aggregation.MEAN, "direction": direction})
