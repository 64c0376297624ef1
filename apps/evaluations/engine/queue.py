"""Evaluations that are to be driven: the rows are the queue, and jobs empty it.

Whoever makes an evaluation ready calls a driver in the same transaction. Which one is next is decided when a worker is
free: one that is to be cancelled, one whose driver died (its lease is over), then of the organizations below their
limit the one with the fewest running evaluations, and of its own the oldest.
"""

from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from apps.evaluations.engine import ending
from apps.evaluations.engine.jobs import call_drivers
from apps.evaluations.models import Evaluation, EvaluationStatus, Reopening
from apps.executions.orchestrator.leases import lease_end
from everquant.api.errors import Conflict, NotFound

# Counting and taking are one for all workers, so that the limit holds exactly.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('evaluations.queue'))"
_URGENT = """
SELECT id FROM evaluations_evaluation WHERE status = 'queued' AND cancel_requested_at IS NOT NULL
UNION ALL
(SELECT id FROM evaluations_evaluation WHERE status = 'running' AND lease_expires_at < %(now)s
 ORDER BY lease_expires_at LIMIT 1)
LIMIT 1
"""
_NEXT = """
WITH busy AS (
    SELECT organization_id, count(*) AS evaluations FROM evaluations_evaluation
    WHERE status = 'running' GROUP BY organization_id
)
SELECT e.id FROM evaluations_evaluation e LEFT JOIN busy USING (organization_id)
WHERE e.status = 'queued' AND coalesce(busy.evaluations, 0) < %(limit)s
ORDER BY coalesce(busy.evaluations, 0), e.queued_at, e.id LIMIT 1
"""


def enqueue(evaluation: Evaluation) -> None:
    """Have a driver come for a queued evaluation; in the transaction that stores it, its subjects and its metrics."""
    call_drivers()


@transaction.atomic
def request_cancel(*, evaluation: Evaluation) -> Evaluation:
    """One that was never begun is cancelled at once, another by its driver: what is asked for now is stopped first.

    Gives the evaluation as it is then; raises Conflict when it has ended.
    """
    current = _locked(evaluation)
    if current.is_finished:
        raise Conflict("The evaluation has ended.", details={"status": current.status})
    if current.cancel_requested_at is None:
        current.cancel_requested_at = timezone.now()
        current.save_fields("cancel_requested_at")
    if current.fence == 0:
        ending.finish(current, EvaluationStatus.CANCELLED)
    elif current.status == EvaluationStatus.QUEUED:
        call_drivers()
    return current


@transaction.atomic
def resume(*, evaluation: Evaluation, retry_errors: bool) -> Evaluation:
    """Have an evaluation that FAILED or was CANCELLED go on. With `retry_errors` its failed cases are asked again and
    its scores that erred are made again, also of one that SUCCEEDED; nothing else is touched.

    Raises Conflict when it has not ended, or when there is nothing to do.
    """
    current = _locked(evaluation)
    has_errors = bool(current.failed_count or current.score_error_count)
    if not current.is_finished:
        raise Conflict("The evaluation has not ended yet.", details={"status": current.status})
    if current.status == EvaluationStatus.SUCCEEDED and not (retry_errors and has_errors):
        raise Conflict("No case has failed." if retry_errors else "The evaluation has succeeded.")
    current.status, current.queued_at = EvaluationStatus.QUEUED, timezone.now()
    current.finished_at = current.cancel_requested_at = None
    current.error_code = current.error_message = ""
    if retry_errors:
        current.round += 1
    # Errors that are still to be opened again since the last time stay so.
    current.reopening = Reopening.ERRORS if retry_errors else current.reopening or Reopening.CANCELLED
    current.save_fields(
        "status", "queued_at", "finished_at", "cancel_requested_at", "error_code", "error_message", "round",
        "reopening",
    )  # fmt: skip
    call_drivers()
    return current


def _locked(evaluation: Evaluation) -> Evaluation:
    """Raises NotFound for one that is being deleted."""
    rows = Evaluation.objects.filter(id=evaluation.id, deleted_at__isnull=True)
    found: Evaluation | None = rows.select_for_update(of=("self",)).first()
    if found is None:
        raise NotFound("No such object.")
    return found


def take() -> Evaluation | None:
    """The next evaluation, running from now on under a new fence; committed. None when none may be driven now."""
    with transaction.atomic():
        now = timezone.now()
        with connection.cursor() as cursor:
            cursor.execute(_LOCK)
        evaluation_id = _next(now)
        if evaluation_id is None:
            return None
        # The row itself is changed under the lock of the queue, and by those who cancel and resume.
        row = Evaluation.objects.filter(id=evaluation_id)
        evaluation: Evaluation = row.select_for_update(of=("self",)).get()
        if evaluation.is_finished:
            return None
        evaluation.started_at = evaluation.started_at or now
        row.update(
            status=EvaluationStatus.RUNNING,
            fence=F("fence") + 1,
            started_at=evaluation.started_at,
            lease_expires_at=lease_end(),
        )
        evaluation.fence += 1
        evaluation.status = EvaluationStatus.RUNNING
    return evaluation


def _next(now: datetime) -> UUID | None:
    with connection.cursor() as cursor:
        for query in (_URGENT, _NEXT):
            cursor.execute(query, {"now": now, "limit": settings.EVALUATIONS_PER_ORGANIZATION})
            row = cursor.fetchone()
            if row:
                return UUID(str(row[0]))
    return None


def has_ready() -> bool:
    """Whether an evaluation may be driven that nobody drives."""
    return _next(timezone.now()) is not None


def hand_back(evaluation: Evaluation) -> bool:
    """One that this worker has no time for any more is ready for another, after those that wait already.

    False when it is no longer ours.
    """
    with transaction.atomic():
        ours = Evaluation.objects.filter(id=evaluation.id, fence=evaluation.fence, status=EvaluationStatus.RUNNING)
        changed = ours.update(status=EvaluationStatus.QUEUED, lease_expires_at=None, queued_at=timezone.now())
        if changed:
            call_drivers()
    return bool(changed)
