"""Operators' pages of workflows, their runs, and what waits for a decision."""

from apps.workflows.admin.approvals import ApprovalAdmin
from apps.workflows.admin.runs import WorkflowRunAdmin
from apps.workflows.admin.workflows import LabelEventAdmin, VersionAdmin, WorkflowAdmin
from apps.workflows.starter_admin import ScheduleAdmin, TriggerAdmin

__all__ = [
    "ApprovalAdmin",
    "LabelEventAdmin",
    "ScheduleAdmin",
    "TriggerAdmin",
    "VersionAdmin",
    "WorkflowAdmin",
    "WorkflowRunAdmin",
]
