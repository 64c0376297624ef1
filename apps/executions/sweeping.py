"""What is put right every fifteen seconds: nothing of it happens while every process lives."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from apps.executions.keys import id_bound
from apps.executions.models import INTERRUPTED, Batch, Execution, ExecutionEvent, Status
from apps.executions.orchestrator import progress, queueing
from apps.executions.orchestrator.cases import take_back_calls
from apps.executions.orchestrator.idempotency import INTERRUPTED_MESSAGE
from apps.executions.orchestrator.telling import tell_of_end

logger = structlog.get_logger(__name__)

EXPIRED = "EXPIRED"
EVENTS_KEPT_FOR = timedelta(days=1)
_AT_ONCE = 500


def sweep_up() -> None:
    fail_interrupted()
    fail_expired()
    call_missing_runners()
    finish_batches()
    purge_events()


def fail_interrupted() -> int:
    """End what still runs after its lease: its process is gone, and no answer was recorded. Gives how many.

    It is not made again: whether the provider answered, and charged, is not known. What was to be cancelled is. Only
    calls of evaluations go back to the queue: their driver waits for one answer to each.
    """
    cancelled = _end(
        lambda: Execution.objects.interrupted().filter(cancel_requested_at__isnull=False), status=Status.CANCELLED
    )
    take_back_calls()
    failed = _end(
        Execution.objects.interrupted,
        status=Status.FAILED,
        error_code=INTERRUPTED,
        error_message=INTERRUPTED_MESSAGE,
    )
    if cancelled or failed:
        logger.warning("executions_interrupted", count=cancelled + failed)
    return cancelled + failed


def fail_expired() -> int:
    """Fail what no worker has come to in a week."""
    return _end(
        lambda: Execution.objects.filter(
            status=Status.QUEUED, id__lt=id_bound(timezone.now() - queueing.WAITS_AT_MOST)
        ),
        status=Status.FAILED,
        error_code=EXPIRED,
        error_message="No worker came to it in time.",
    )


def _end(wanted: Any, **changes: Any) -> int:
    count = 0
    while True:
        with transaction.atomic():
            found = list(wanted().select_for_update(skip_locked=True).order_by("id")[:_AT_ONCE])
            changes["finished_at"] = timezone.now()
            Execution.objects.filter(id__in=[execution.id for execution in found]).update(**changes)
            for execution in found:
                for name, value in changes.items():
                    setattr(execution, name, value)
                tell_of_end(execution)
        count += len(found)
        if len(found) < _AT_ONCE:
            return count


def call_missing_runners() -> int:
    """Jobs for queued executions that have fewer than they could have; gives how many."""
    organizations = queueing.waiting_organizations()
    if not organizations:
        return 0
    missing = max(0, settings.QUEUE_RUNNERS - _runners())
    with transaction.atomic():
        for organization_id, share in _shares(organizations, missing):
            queueing.call_runners(organization_id, share)
    return missing


def _runners() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s AND status IN ('todo', 'doing')",
            [queueing.TASK],
        )
        return int(cursor.fetchone()[0])


def _shares(organizations: list[UUID], jobs: int) -> list[tuple[UUID, int]]:
    whole, rest = divmod(jobs, len(organizations))
    shares = [(key, whole + (number < rest)) for number, key in enumerate(organizations)]
    return [(key, share) for key, share in shares if share]


def finish_batches() -> int:
    """Those whose last executions ended without anybody noticing."""
    unfinished = Batch.objects.filter(finished_at__isnull=True).values_list("id", flat=True)
    return sum(progress.finish_if_done(batch_id) for batch_id in list(unfinished))


def purge_events() -> int:
    """Pieces of answers that have been whole for long."""
    old = ExecutionEvent.objects.filter(execution_id__lt=id_bound(timezone.now() - EVENTS_KEPT_FOR))
    return int(old._raw_delete(old.db))
