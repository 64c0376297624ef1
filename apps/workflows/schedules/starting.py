"""Runs of schedules whose time has come. A time and what becomes of it are one transaction: no time is run twice, and
none is lost, however many workers look at the same moment."""

from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction

from apps.workflows.engine.ending import request_cancel
from apps.workflows.models import Missed, Overlap, WorkflowRun, WorkflowSchedule
from apps.workflows.models.starters import MAX_QUEUED
from apps.workflows.schedules.times import latest_times, next_time
from apps.workflows.starting import reason_of, start_for
from everquant.api.errors import ApiError, Conflict
from everquant.workers import STOPPING

logger = structlog.get_logger(__name__)

# Later than this a time counts as missed: workers look every minute, and a deploy takes a while.
MISSED_AFTER = timedelta(minutes=5)


def start_due_schedules(now: datetime) -> int:
    """Start what is due; gives how many runs. What fails unexpectedly stays due, and does not hold up the others."""
    due = WorkflowSchedule.objects.due(now).order_by("next_run_at", "id").values_list("id", flat=True)
    runs = 0
    for schedule_id in list(due):
        if STOPPING.is_set():
            break
        try:
            runs += start_due(schedule_id, now) is not None
        except Exception:
            logger.exception("schedule_failed", schedule_id=str(schedule_id))
    return runs


@transaction.atomic
def start_due(schedule_id: UUID, now: datetime) -> WorkflowRun | None:
    """None when another worker has it, and when none of its times becomes a run now."""
    due = WorkflowSchedule.objects.due(now).select_for_update(of=("self",), skip_locked=True)
    schedule: WorkflowSchedule | None = due.filter(id=schedule_id).first()
    if schedule is None:
        return None
    before = list(WorkflowRun.objects.live().filter(schedule_id=schedule.id))
    time = _choose(schedule, _due_times(schedule, now), is_busy=bool(before))
    run = _start(schedule, time, now) if time else None
    if run is not None and schedule.overlap == Overlap.CANCEL_PREVIOUS:
        _cancel(before)
    _advance(schedule, now)
    return run


def _due_times(schedule: WorkflowSchedule, now: datetime) -> list[datetime]:
    """Those that have come and are to be run by the policy for missed ones, oldest first."""
    first = schedule.next_run_at
    if first is None or first > now:
        return []
    count = MAX_QUEUED if schedule.missed == Missed.RUN_ALL else 1
    times = latest_times(schedule.cron, schedule.timezone, first, now, count)
    if times and schedule.missed == Missed.SKIP and times[-1] < now - MISSED_AFTER:
        schedule.last_skipped_at = times.pop()
    return times


def _choose(schedule: WorkflowSchedule, due: list[datetime], *, is_busy: bool) -> datetime | None:
    """The time that becomes a run now, by the policy for overlaps; the others wait in `queued_times`, or are gone."""
    if is_busy and schedule.overlap == Overlap.SKIP:
        schedule.last_skipped_at = due[-1] if due else schedule.last_skipped_at
        return None
    waiting = [*schedule.queued_times, *due][-MAX_QUEUED:]
    if is_busy and schedule.overlap == Overlap.QUEUE:
        schedule.queued_times = waiting
        return None
    schedule.queued_times = waiting[1:]
    return waiting[0] if waiting else None


def _start(schedule: WorkflowSchedule, time: datetime, now: datetime) -> WorkflowRun | None:
    try:
        with transaction.atomic():
            run = start_for(schedule, inputs=schedule.inputs, metadata={"scheduled_at": time.isoformat()})
    except ApiError as error:
        schedule.last_error = reason_of(error)
        logger.warning("schedule_not_started", schedule_id=str(schedule.id), reason=schedule.last_error)
        return None
    schedule.last_run_at, schedule.last_run_id, schedule.last_error = now, run.id, ""
    return run


def _cancel(runs: list[WorkflowRun]) -> None:
    for run in runs:
        with suppress(Conflict):  # it has ended meanwhile
            request_cancel(run=run)


def _advance(schedule: WorkflowSchedule, now: datetime) -> None:
    if schedule.next_run_at is not None and schedule.next_run_at <= now:
        schedule.next_run_at = next_time(schedule.cron, schedule.timezone, now)
        schedule.is_active = schedule.next_run_at is not None
    schedule.save_fields(
        "next_run_at", "is_active", "queued_times", "last_run_at", "last_run_id", "last_skipped_at", "last_error"
    )
