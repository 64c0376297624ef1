from apps.analytics.models.alerts import (
    Alert,
    AlertBaseline,
    AlertDirection,
    AlertEvent,
    AlertLetter,
    AlertMetric,
    AlertState,
)
from apps.analytics.models.ledger import LedgerDay, LedgerMark, LedgerName, LedgerState
from apps.analytics.models.retention import LEAST_EXECUTION_DAYS, MOST_DAYS, RetentionPolicy
from apps.analytics.models.rollups import ExecutionRollup, PendingExecution, PendingScore, ScoreRollup
from apps.analytics.models.statements import Statement

__all__ = [
    "LEAST_EXECUTION_DAYS",
    "MOST_DAYS",
    "Alert",
    "AlertBaseline",
    "AlertDirection",
    "AlertEvent",
    "AlertLetter",
    "AlertMetric",
    "AlertState",
    "ExecutionRollup",
    "LedgerDay",
    "LedgerMark",
    "LedgerName",
    "LedgerState",
    "PendingExecution",
    "PendingScore",
    "RetentionPolicy",
    "ScoreRollup",
    "Statement",
]
