"""Writes beside the orchestrator's."""

from typing import Any

import structlog
from django.utils import timezone

from apps.executions.models import INTERRUPTED, Execution, Score, Status
from apps.executions.orchestrator.idempotency import INTERRUPTED_MESSAGE
from apps.users.principal import Principal

logger = structlog.get_logger(__name__)


def fail_interrupted() -> int:
    """Fail what still runs after its lease: its process is gone, and no answer was recorded. Gives how many.

    It is not made again: whether the provider answered, and charged, is not known.
    """
    count: int = Execution.objects.interrupted().update(
        status=Status.FAILED,
        error_code=INTERRUPTED,
        error_message=INTERRUPTED_MESSAGE,
        finished_at=timezone.now(),
    )
    if count:
        logger.warning("executions_interrupted", count=count)
    return count


def add_score(
    *,
    execution: Execution,
    name: str,
    type: str,  # noqa: A002 (the field's name in the API)
    value: float | bool | str,
    comment: str,
    by: Principal,
) -> Score:
    """Raises IntegrityError for a value that does not fit its type."""
    columns: dict[str, Any] = {"text": value} if isinstance(value, str) else {"number": float(value)}
    return Score.objects.create(
        organization_id=execution.organization_id,
        execution_id=execution.id,
        name=name,
        type=type,
        comment=comment,
        source=Score.Source.API if by.api_key_id else Score.Source.HUMAN,
        created_by_id=by.user_id,
        **columns,
    )
