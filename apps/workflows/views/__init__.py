from apps.workflows.views.approvals import ApprovalViewSet
from apps.workflows.views.runs import RunViewSet, StepViewSet, WorkflowExecuteViewSet, WorkflowRunsViewSet
from apps.workflows.views.transfer import WorkflowTransferViewSet
from apps.workflows.views.versions import WorkflowLabelViewSet, WorkflowVersionViewSet
from apps.workflows.views.workflows import DefinitionViewSet, WorkflowViewSet

__all__ = [
    "ApprovalViewSet",
    "DefinitionViewSet",
    "RunViewSet",
    "StepViewSet",
    "WorkflowExecuteViewSet",
    "WorkflowLabelViewSet",
    "WorkflowRunsViewSet",
    "WorkflowTransferViewSet",
    "WorkflowVersionViewSet",
    "WorkflowViewSet",
]
