from typing import Any

from django.urls import URLPattern, path

from apps.evaluations.judging.views import AgreementViewSet, StandingViewSet

_standing: dict[str, Any] = {"get": "standing", "post": "create"}

urlpatterns: list[URLPattern] = [
    path("evaluators/<uuid:pk>/agreement", StandingViewSet.as_view(_standing), name="evaluator-agreement"),
    path("judge-agreements", AgreementViewSet.as_view({"get": "list"}), name="judge-agreement-list"),
    path("judge-agreements/<uuid:pk>", AgreementViewSet.as_view({"get": "retrieve"}), name="judge-agreement-detail"),
]
