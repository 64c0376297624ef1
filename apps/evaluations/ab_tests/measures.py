"""What is measured of every exposure, and the metrics and guardrails that a test is judged by.

A measure is a number that an exposure has or lacks. A metric is a measure with a direction and a way to make one
value of a unit's several: `mean` of the unit's own values, their `sum`, or all values of all units over their count
(`ratio`).
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any


class Builtin(StrEnum):
    """Measures that every execution has: 0 and 1, milliseconds, US dollars, tokens.

    `success` counts a failure, and a call that was cancelled, as 0. Latency, time to first token and output tokens are
    those of answers; cost is known of whatever has a price. `schema_valid` is of answers that have a schema.
    """

    SUCCESS = "success"
    LATENCY_MS = "latency_ms"
    FIRST_TOKEN_MS = "first_token_ms"  # noqa: S105 (no password)
    COST_USD = "cost_usd"
    OUTPUT_TOKENS = "output_tokens"
    SCHEMA_VALID = "schema_valid"


class Aggregation(StrEnum):
    MEAN = "mean"
    SUM = "sum"
    RATIO = "ratio"


class Direction(StrEnum):
    INCREASE = "increase"
    DECREASE = "decrease"


SCORE_PREFIX, CUSTOM_PREFIX = "score:", "custom:"
"""`score:helpfulness` is a score of executions by that name; `custom:revenue` is posted as an observation."""
DEFAULT_DIRECTIONS = {
    Builtin.SUCCESS: Direction.INCREASE,
    Builtin.LATENCY_MS: Direction.DECREASE,
    Builtin.FIRST_TOKEN_MS: Direction.DECREASE,
    Builtin.COST_USD: Direction.DECREASE,
    Builtin.OUTPUT_TOKENS: Direction.DECREASE,
    Builtin.SCHEMA_VALID: Direction.INCREASE,
}


def measures_of(metrics: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The measures that a test keeps sums of, in the order of its units' arrays: the built-in ones, then its own."""
    own = dict.fromkeys(metric["measure"] for metric in metrics)
    return (*Builtin, *(name for name in own if name not in set(Builtin)))
