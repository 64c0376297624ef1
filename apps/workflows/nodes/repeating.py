"""Attempts that were cut off with their worker are made again: to the outside both are one."""

from apps.workflows.models import StepStatus, WorkflowStep
from apps.workflows.nodes.base import NodeCall


def stable_key(call: NodeCall) -> str:
    """The same for an attempt and for those that make it again; an attempt after a failure has a new one."""
    first = call.attempt
    if first > 1:
        steps = WorkflowStep.objects.filter(run_id=call.run.id, path=call.path, attempt__lt=first)
        statuses = dict(steps.values_list("attempt", "status"))
        while statuses.get(first - 1) == StepStatus.INTERRUPTED:
            first -= 1
    return f"{call.run.id}:{call.path}:{first}"
