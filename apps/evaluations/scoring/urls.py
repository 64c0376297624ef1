from typing import Any

from django.urls import URLPattern, path

from apps.evaluations.scoring import views

_all: dict[str, Any] = {"get": "list", "post": "create"}
_one: dict[str, Any] = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
_versions = views.EvaluatorVersionViewSet

urlpatterns: list[URLPattern] = [
    path("evaluators", views.EvaluatorViewSet.as_view(_all), name="evaluator-list"),
    path("evaluators/kinds", views.KindViewSet.as_view({"get": "kinds"}), name="evaluator-kinds"),
    path("evaluators/test", views.KindViewSet.as_view({"post": "test"}), name="evaluator-kind-test"),
    path("evaluators/<uuid:pk>", views.EvaluatorViewSet.as_view(_one), name="evaluator-detail"),
    path("evaluators/<uuid:pk>/test", views.EvaluatorViewSet.as_view({"post": "test"}), name="evaluator-test"),
    path("evaluators/<uuid:pk>/versions", _versions.as_view({"get": "list"}), name="evaluator-version-list"),
    path(
        "evaluators/<uuid:pk>/versions/<int:number>",
        _versions.as_view({"get": "retrieve"}),
        name="evaluator-version-detail",
    ),
    path("score-configs", views.ScoreConfigViewSet.as_view(_all), name="score-config-list"),
    path("score-configs/<uuid:pk>", views.ScoreConfigViewSet.as_view(_one), name="score-config-detail"),
]
