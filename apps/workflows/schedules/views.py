from typing import Any, ClassVar

from apps.workflows.models import Workflow, WorkflowSchedule
from apps.workflows.schedules.serializers import ScheduleInputSerializer, ScheduleSerializer
from apps.workflows.schedules.services import create_schedule, update_schedule
from apps.workflows.starter_views import OfWorkflowViewSet, StarterViewSet, require_runner


class SchedulesOfWorkflowViewSet(OfWorkflowViewSet):
    """Runs of this workflow by the clock."""

    model = WorkflowSchedule
    collection = "workflow-schedules"
    serializer_class = ScheduleSerializer
    input_serializer_classes: ClassVar[dict[str, Any]] = {"create": ScheduleInputSerializer}

    def make(self, workflow: Workflow, data: dict[str, Any]) -> WorkflowSchedule:
        return create_schedule(workflow=workflow, created_by_id=self.principal.user_id, **data)


class ScheduleViewSet(StarterViewSet):
    """Runs of workflows by the clock."""

    queryset = WorkflowSchedule.objects.all()
    serializer_class = ScheduleSerializer
    ordering_fields = [*StarterViewSet.ordering_fields, "next_run_at"]
    input_serializer_classes: ClassVar[dict[str, Any]] = dict.fromkeys(
        ["update", "partial_update"], ScheduleInputSerializer
    )

    def perform_update(self, instance: WorkflowSchedule, data: dict[str, Any]) -> WorkflowSchedule:
        require_runner(self.principal)
        return update_schedule(schedule=instance, **data)
