from django.urls import URLPattern, URLResolver, path

from apps.workflows.schedules.views import SchedulesOfWorkflowViewSet, ScheduleViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "workflows/<uuid:pk>/schedules",
        SchedulesOfWorkflowViewSet.as_view({"get": "list", "post": "create"}),
        name="workflow-schedules",
    ),
    path("workflow-schedules", ScheduleViewSet.as_view({"get": "list"}), name="workflow-schedule-list"),
    path(
        "workflow-schedules/<uuid:pk>",
        ScheduleViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
        name="workflow-schedule-detail",
    ),
]
