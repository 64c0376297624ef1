from apps.analytics.models.ledger import LedgerDay, LedgerMark, LedgerName, LedgerState
from apps.analytics.models.retention import LEAST_EXECUTION_DAYS, MOST_DAYS, RetentionPolicy
from apps.analytics.models.statements import Statement

__all__ = [
    "LEAST_EXECUTION_DAYS",
    "MOST_DAYS",
    "LedgerDay",
    "LedgerMark",
    "LedgerName",
    "LedgerState",
    "RetentionPolicy",
    "Statement",
]
