from typing import Any

from django.urls import URLPattern, URLResolver, path

from apps.evaluations.runs.result_views import DiffViewSet, ResultViewSet, RowsViewSet
from apps.evaluations.runs.views import EvaluationViewSet

_ONE: Any = {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}

urlpatterns: list[URLPattern | URLResolver] = [
    path("evaluations", EvaluationViewSet.as_view({"get": "list", "post": "create"}), name="evaluation-list"),
    path("evaluations/estimate", EvaluationViewSet.as_view({"post": "estimate"}), name="evaluation-estimate"),
    path("evaluations/replay", EvaluationViewSet.as_view({"post": "replay"}), name="evaluation-replay"),
    path("evaluations/<uuid:pk>", EvaluationViewSet.as_view(_ONE), name="evaluation-detail"),
    path("evaluations/<uuid:pk>/cancel", EvaluationViewSet.as_view({"post": "cancel"}), name="evaluation-cancel"),
    path("evaluations/<uuid:pk>/resume", EvaluationViewSet.as_view({"post": "resume"}), name="evaluation-resume"),
    path(
        "evaluations/<uuid:pk>/retry-errors",
        EvaluationViewSet.as_view({"post": "retry_errors"}),
        name="evaluation-retry-errors",
    ),
    path("evaluations/<uuid:pk>/summary", ResultViewSet.as_view({"get": "summary"}), name="evaluation-summary"),
    path("evaluations/<uuid:pk>/export", ResultViewSet.as_view({"get": "export"}), name="evaluation-export"),
    path("evaluations/<uuid:pk>/cases/<int:case_id>", ResultViewSet.as_view({"get": "case"}), name="evaluation-case"),
    path("evaluations/<uuid:pk>/results", RowsViewSet.as_view({"get": "list"}), name="evaluation-results"),
    path("evaluations/<uuid:pk>/diff", DiffViewSet.as_view({"get": "list"}), name="evaluation-diff"),
]
