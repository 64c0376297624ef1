from django.urls import URLPattern, URLResolver, path

from apps.executions.batch_views import BatchViewSet
from apps.executions.budgets.views import BudgetViewSet
from apps.executions.views import ExecuteViewSet, ExecutionViewSet, ScoreViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path("prompts/<uuid:pk>/execute", ExecuteViewSet.as_view({"post": "execute"}), name="prompt-execute"),
    path("executions", ExecutionViewSet.as_view({"get": "list"}), name="execution-list"),
    path("executions/<uuid:pk>", ExecutionViewSet.as_view({"get": "retrieve"}), name="execution-detail"),
    path("executions/batch", BatchViewSet.as_view({"post": "create"}), name="batch-create"),
    path("executions/batches", BatchViewSet.as_view({"get": "list"}), name="batch-list"),
    path("executions/batches/<uuid:pk>", BatchViewSet.as_view({"get": "retrieve"}), name="batch-detail"),
    path("executions/batches/<uuid:pk>/cancel", BatchViewSet.as_view({"post": "cancel"}), name="batch-cancel"),
    path("executions/batches/<uuid:pk>/retry", BatchViewSet.as_view({"post": "retry"}), name="batch-retry"),
    path("executions/<uuid:pk>/cancel", ExecutionViewSet.as_view({"post": "cancel"}), name="execution-cancel"),
    path("executions/<uuid:pk>/events", ExecutionViewSet.as_view({"get": "events"}), name="execution-events"),
    path("executions/<uuid:pk>/retry", ExecutionViewSet.as_view({"post": "retry"}), name="execution-retry"),
    path(
        "executions/<uuid:pk>/scores",
        ScoreViewSet.as_view({"get": "list", "post": "create"}),
        name="execution-score-list",
    ),
    path("billing/budgets", BudgetViewSet.as_view({"get": "list", "post": "create"}), name="budget-list"),
    path(
        "billing/budgets/<uuid:pk>",
        BudgetViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
        name="budget-detail",
    ),
]
