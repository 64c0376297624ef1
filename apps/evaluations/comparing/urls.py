from django.urls import URLPattern, URLResolver, path

from apps.evaluations.comparing.views import ComparisonViewSet, GateViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path("evaluations/<uuid:pk>/compare", ComparisonViewSet.as_view({"get": "compare"}), name="evaluation-compare"),
    path("evaluations/<uuid:pk>/gate", ComparisonViewSet.as_view({"post": "gate"}), name="evaluation-gate"),
    path("evaluations/<uuid:pk>/gates", GateViewSet.as_view({"get": "list"}), name="evaluation-gates"),
]
