"""Everything that writes workflows; runs are started by `services.runs`, approvals answered by `services.approvals`."""

from apps.workflows.services.publishing import InvalidWorkflow, check_definition, publish, restore_version
from apps.workflows.services.transfer import import_workflow
from apps.workflows.services.workflows import (
    create_workflow,
    delete_workflow,
    duplicate_workflow,
    undelete_workflow,
    update_workflow,
)

__all__ = [
    "InvalidWorkflow",
    "check_definition",
    "create_workflow",
    "delete_workflow",
    "duplicate_workflow",
    "import_workflow",
    "publish",
    "restore_version",
    "undelete_workflow",
    "update_workflow",
]
