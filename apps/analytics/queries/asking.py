"""What a question about executions consists of."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.analytics.queries.ranges import Interval, Range

# Named by ids, and by what else.
ID_DIMENSIONS = ("prompt", "version", "model", "provider", "user", "api_key", "ab_test", "workflow")
DIMENSIONS = (
    "prompt", "version", "model", "provider", "status", "source", "tag", "user", "api_key", "ab_test", "ab_variant",
    "workflow",
)  # fmt: skip
# What groups are ordered by, from the most.
MEASURES = (
    "requests", "errors", "error_rate", "cost_usd", "saved_cost_usd", "tokens", "latency_p50_ms", "latency_p95_ms",
    "latency_p99_ms", "first_token_p95_ms",
)  # fmt: skip
FORMATS = ("json", "csv", "parquet")
MAX_GROUP_BY = 2
MAX_FILTER_VALUES = 100
SCORE_NAME_LENGTH = 100
DEFAULT_LIMIT, MAX_LIMIT = 10, 1000
# Of an answer: groups times intervals.
MAX_CELLS = 20_000


@dataclass(frozen=True, slots=True)
class Query:
    """`starts` are where the intervals of the range begin, and its end; those of the whole range without `interval`.

    `previous_starts` are the same of the range before it, empty where nothing is compared. `filters` have the values
    of each dimension, of which an execution must have one.
    """

    organization_id: UUID
    span: Range
    starts: list[datetime]
    file_format: str = "json"
    interval: Interval | None = None
    previous_starts: list[datetime] = field(default_factory=list)
    group_by: tuple[str, ...] = ()
    filters: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    by: str = "requests"
    limit: int = DEFAULT_LIMIT
    scores: tuple[str, ...] = ()

    @property
    def whole(self) -> list[datetime]:
        return [self.span.start, self.span.end]

    @property
    def previous_whole(self) -> list[datetime]:
        """Empty where nothing is compared."""
        return [self.previous_starts[0], self.previous_starts[-1]] if self.previous_starts else []
