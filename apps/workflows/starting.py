"""Runs that schedules and triggers start, for whoever made them."""

from typing import Any

from apps.users.models import Membership
from apps.workflows.engine.queue import start_run
from apps.workflows.models import RunSource, Workflow, WorkflowRun, WorkflowSchedule, WorkflowTrigger, WorkflowVersion
from apps.workflows.resolution import check_inputs, require_active, resolve_version
from everquant.api.errors import ApiError, BadRequest, Conflict, NotFound

Starter = WorkflowSchedule | WorkflowTrigger
MAX_PER_WORKFLOW = 100
_EXECUTE = "workflows:execute"


def start_for(starter: Starter, *, inputs: dict[str, Any], metadata: dict[str, Any] | None = None) -> WorkflowRun:
    """A run of the version that the label names now, in the caller's transaction.

    Raises Conflict when the workflow is switched off or has no version, or when the creator may not run it any more,
    NotFound for a label that is gone, BadRequest for inputs that do not fit.
    """
    workflow: Workflow = Workflow.objects.with_current().get(id=starter.workflow_id)
    require_active(workflow)
    _require_runner(starter)
    version = resolve_version(workflow, label=starter.label or None)
    is_schedule = isinstance(starter, WorkflowSchedule)
    return start_run(
        workflow=workflow,
        version=version,
        inputs=check_inputs(version, inputs),
        source=RunSource.SCHEDULE if is_schedule else RunSource.TRIGGER,
        created_by_id=starter.created_by_id,
        metadata=metadata,
        schedule_id=starter.id if is_schedule else None,
        trigger_id=None if is_schedule else starter.id,
    )


def _require_runner(starter: Starter) -> None:
    members = Membership.objects.for_organization(starter.organization_id).in_force()
    membership = members.filter(user_id=starter.created_by_id).first()
    if membership is None or _EXECUTE not in membership.permissions:
        raise Conflict("Whoever made it is no longer a member who may run workflows: make it anew.")


def version_now(workflow: Workflow, label: str) -> WorkflowVersion | None:
    """What would run now, None before the first publication; raises BadRequest naming `label`."""
    try:
        return resolve_version(workflow, label=label or None)
    except NotFound as error:
        raise BadRequest(error.message, details=error.details) from None
    except Conflict:
        return None


def refuse_many(workflow: Workflow, model: type[Starter]) -> None:
    """Raises Conflict when the workflow has its share of them; what counts at the same time waits."""
    Workflow.objects.select_for_update(no_key=True).get(id=workflow.id)
    if model.objects.filter(workflow=workflow).count() >= MAX_PER_WORKFLOW:
        raise Conflict(f"A workflow has at most {MAX_PER_WORKFLOW} {model._meta.verbose_name_plural}.")


def reason_of(error: ApiError) -> str:
    """In one line, for `last_error`."""
    details = (f"{path}: {reason}" for path, reason in error.details.items())
    return " ".join([error.message, *details])[: WorkflowSchedule._meta.get_field("last_error").max_length]
