from apps.workflows.models.runs import (
    LIVE,
    TERMINAL,
    Approval,
    ApprovalStatus,
    RunEvent,
    RunSource,
    RunStatus,
    StepStatus,
    WorkflowRun,
    WorkflowRunQuerySet,
    WorkflowStep,
)
from apps.workflows.models.starters import Missed, Overlap, WorkflowSchedule, WorkflowTrigger
from apps.workflows.models.workflows import (
    Workflow,
    WorkflowLabel,
    WorkflowLabelEvent,
    WorkflowQuerySet,
    WorkflowVersion,
)

__all__ = [
    "LIVE",
    "TERMINAL",
    "Approval",
    "ApprovalStatus",
    "Missed",
    "Overlap",
    "RunEvent",
    "RunSource",
    "RunStatus",
    "StepStatus",
    "Workflow",
    "WorkflowLabel",
    "WorkflowLabelEvent",
    "WorkflowQuerySet",
    "WorkflowRun",
    "WorkflowRunQuerySet",
    "WorkflowSchedule",
    "WorkflowStep",
    "WorkflowTrigger",
    "WorkflowVersion",
]
