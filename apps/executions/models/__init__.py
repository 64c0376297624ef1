from apps.executions.models.executions import (
    COST_DIGITS,
    COST_PLACES,
    INTERRUPTED,
    TERMINAL,
    TRANSITIONS,
    UNIT_ID_LENGTH,
    Execution,
    ExecutionAttempt,
    ExecutionPayload,
    ExecutionQuerySet,
    Source,
    Status,
)
from apps.executions.models.scores import Score, ScoreQuerySet

__all__ = [
    "COST_DIGITS",
    "COST_PLACES",
    "INTERRUPTED",
    "TERMINAL",
    "TRANSITIONS",
    "UNIT_ID_LENGTH",
    "Execution",
    "ExecutionAttempt",
    "ExecutionPayload",
    "ExecutionQuerySet",
    "Score",
    "ScoreQuerySet",
    "Source",
    "Status",
]
