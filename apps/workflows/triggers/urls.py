from django.urls import URLPattern, URLResolver, path

from apps.workflows.triggers.views import FireViewSet, TriggersOfWorkflowViewSet, TriggerViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "workflows/<uuid:pk>/triggers",
        TriggersOfWorkflowViewSet.as_view({"get": "list", "post": "create"}),
        name="workflow-triggers",
    ),
    path("workflow-triggers", TriggerViewSet.as_view({"get": "list"}), name="workflow-trigger-list"),
    path(
        "workflow-triggers/<uuid:pk>",
        TriggerViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
        name="workflow-trigger-detail",
    ),
    path(
        "workflow-triggers/<uuid:pk>/rotate-secret",
        TriggerViewSet.as_view({"post": "rotate_secret"}),
        name="workflow-trigger-rotate-secret",
    ),
    path("workflow-triggers/<uuid:pk>/fire", FireViewSet.as_view({"post": "fire"}), name="workflow-trigger-fire"),
]
