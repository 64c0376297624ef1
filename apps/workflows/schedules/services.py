"""Schedules as people change them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.workflows.models import Missed, Overlap, Workflow, WorkflowSchedule
from apps.workflows.resolution import check_inputs
from apps.workflows.schedules.times import next_time
from apps.workflows.starting import refuse_many, version_now
from everquant.api.errors import BadRequest

_WHEN = {"cron", "timezone", "is_active"}


@transaction.atomic
def create_schedule(*, workflow: Workflow, created_by_id: UUID, **values: Any) -> WorkflowSchedule:
    """Raises BadRequest naming the field, Conflict when the workflow has as many as it may."""
    refuse_many(workflow, WorkflowSchedule)
    schedule = WorkflowSchedule(
        organization_id=workflow.organization_id, workflow=workflow, created_by_id=created_by_id, **values
    )
    _check(schedule, workflow)
    _set_next(schedule, timezone.now())
    schedule.save(force_insert=True)
    return schedule


def update_schedule(*, schedule: WorkflowSchedule, **values: Any) -> WorkflowSchedule:
    """Its times are counted anew when they change: what has not started by then does not start.

    Raises BadRequest naming the field.
    """
    changed = {name for name, value in values.items() if getattr(schedule, name) != value}
    for name in changed:
        setattr(schedule, name, values[name])
    if not changed:
        return schedule
    _check(schedule, Workflow.objects.with_current().get(id=schedule.workflow_id))
    if changed & _WHEN:
        _set_next(schedule, timezone.now())
    if changed & _WHEN or schedule.overlap != Overlap.QUEUE:
        schedule.queued_times = []
    schedule.last_error = ""
    schedule.save_fields(*changed, "next_run_at", "queued_times", "last_error")
    return schedule


def _check(schedule: WorkflowSchedule, workflow: Workflow) -> None:
    if schedule.missed == Missed.RUN_ALL and schedule.overlap != Overlap.QUEUE:
        reason = "Runs of all missed times need the overlap 'queue': they run one after the other."
        raise BadRequest(reason, details={"missed": reason})
    version = version_now(workflow, schedule.label)
    if version is not None:
        check_inputs(version, schedule.inputs)


def _set_next(schedule: WorkflowSchedule, now: datetime) -> None:
    schedule.next_run_at = next_time(schedule.cron, schedule.timezone, now) if schedule.is_active else None
    if schedule.is_active and schedule.next_run_at is None:
        raise BadRequest("cron: This time never comes.", details={"cron": "This time never comes."})
