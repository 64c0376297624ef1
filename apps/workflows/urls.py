from typing import Any

from django.urls import URLPattern, URLResolver, include, path

from apps.workflows import views

_one: dict[str, Any] = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}


def _of_workflow(name: str, **methods: Any) -> URLPattern:
    """An action of one workflow, by the name of its last segment."""
    view = views.WorkflowViewSet.as_view(methods)
    return path(f"workflows/<uuid:pk>/{name}", view, name=f"workflow-{name}")


def _of_run(name: str, **methods: Any) -> URLPattern:
    return path(f"workflow-runs/<uuid:pk>/{name}", views.RunViewSet.as_view(methods), name=f"workflow-run-{name}")


_workflows: list[URLPattern | URLResolver] = [
    path("workflows", views.WorkflowViewSet.as_view({"get": "list", "post": "create"}), name="workflow-list"),
    path("workflows/schema", views.DefinitionViewSet.as_view({"get": "read_schema"}), name="workflow-schema"),
    path("workflows/validate", views.DefinitionViewSet.as_view({"post": "validate"}), name="workflow-validate"),
    path("workflows/import", views.WorkflowTransferViewSet.as_view({"post": "import_"}), name="workflow-import"),
    path("workflows/<uuid:pk>", views.WorkflowViewSet.as_view(_one), name="workflow-detail"),
    _of_workflow("restore", post="undelete"),
    _of_workflow("duplicate", post="duplicate"),
    _of_workflow("publish", post="publish"),
    _of_workflow("diagram", get="diagram"),
    path(
        "workflows/<uuid:pk>/export", views.WorkflowTransferViewSet.as_view({"get": "export"}), name="workflow-export"
    ),
    path(
        "workflows/<uuid:pk>/execute",
        views.WorkflowExecuteViewSet.as_view({"post": "execute"}),
        name="workflow-execute",
    ),
    path("workflows/<uuid:pk>/runs", views.WorkflowRunsViewSet.as_view({"get": "list"}), name="workflow-runs"),
    path(
        "workflows/<uuid:pk>/versions",
        views.WorkflowVersionViewSet.as_view({"get": "list"}),
        name="workflow-version-list",
    ),
    path(
        "workflows/<uuid:pk>/versions/<int:number>",
        views.WorkflowVersionViewSet.as_view({"get": "retrieve"}),
        name="workflow-version-detail",
    ),
    path(
        "workflows/<uuid:pk>/versions/<int:number>/diff",
        views.WorkflowVersionViewSet.as_view({"get": "diff"}),
        name="workflow-version-diff",
    ),
    path(
        "workflows/<uuid:pk>/versions/<int:number>/restore",
        views.WorkflowVersionViewSet.as_view({"post": "restore"}),
        name="workflow-version-restore",
    ),
    path(
        "workflows/<uuid:pk>/labels/<str:label>",
        views.WorkflowLabelViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}),
        name="workflow-label",
    ),
]
_runs: list[URLPattern | URLResolver] = [
    path("workflow-runs", views.RunViewSet.as_view({"get": "list"}), name="workflow-run-list"),
    path("workflow-runs/<uuid:pk>", views.RunViewSet.as_view({"get": "retrieve"}), name="workflow-run-detail"),
    path("workflow-runs/<uuid:pk>/steps", views.StepViewSet.as_view({"get": "list"}), name="workflow-run-steps"),
    _of_run("events", get="events"),
    _of_run("diagram", get="diagram"),
    _of_run("cancel", post="cancel"),
    _of_run("retry", post="retry"),
    _of_run("fork", post="fork"),
    _of_run("resume", post="resume"),
    path("workflow-approvals", views.ApprovalViewSet.as_view({"get": "list"}), name="workflow-approval-list"),
    path(
        "workflow-approvals/<uuid:pk>",
        views.ApprovalViewSet.as_view({"get": "retrieve"}),
        name="workflow-approval-detail",
    ),
]
urlpatterns: list[URLPattern | URLResolver] = [
    *_workflows,
    *_runs,
    path("", include("apps.workflows.schedules.urls")),
    path("", include("apps.workflows.triggers.urls")),
]
