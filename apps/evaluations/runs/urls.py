from typing import Any

from django.urls import URLPattern, URLResolver, path

from apps.evaluations.runs.views import EvaluationViewSet

_ONE: Any = {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}

urlpatterns: list[URLPattern | URLResolver] = [
    path("evaluations", EvaluationViewSet.as_view({"get": "list", "post": "create"}), name="evaluation-list"),
    path("evaluations/<uuid:pk>", EvaluationViewSet.as_view(_ONE), name="evaluation-detail"),
    path("evaluations/<uuid:pk>/cancel", EvaluationViewSet.as_view({"post": "cancel"}), name="evaluation-cancel"),
    path("evaluations/<uuid:pk>/resume", EvaluationViewSet.as_view({"post": "resume"}), name="evaluation-resume"),
    path(
        "evaluations/<uuid:pk>/retry-errors",
        EvaluationViewSet.as_view({"post": "retry_errors"}),
        name="evaluation-retry-errors",
    ),
]
