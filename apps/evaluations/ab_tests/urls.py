from django.urls import URLPattern, URLResolver, path

from apps.evaluations.ab_tests.assigning import AssignViewSet
from apps.evaluations.ab_tests.exposing_views import ExposureViewSet
from apps.evaluations.ab_tests.results_views import ABResultsViewSet
from apps.evaluations.ab_tests.views import ABTestViewSet

_TEST = "ab-tests/<uuid:pk>"
_ACTIONS = ("start", "stop", "pause", "resume", "promote", "rollback")

urlpatterns: list[URLPattern | URLResolver] = [
    path("ab-tests", ABTestViewSet.as_view({"get": "list", "post": "create"}), name="ab-test-list"),
    path("ab-tests/plan", ABResultsViewSet.as_view({"post": "plan"}), name="ab-test-plan"),
    path(
        _TEST,
        ABTestViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}),
        name="ab-test-detail",
    ),
    *(
        path(f"{_TEST}/{action}", ABTestViewSet.as_view({"post": action}), name=f"ab-test-{action}")
        for action in _ACTIONS
    ),
    path(f"{_TEST}/assign", AssignViewSet.as_view({"post": "assign"}), name="ab-test-assign"),
    path(f"{_TEST}/results", ABResultsViewSet.as_view({"get": "results"}), name="ab-test-results"),
    path(f"{_TEST}/series", ABResultsViewSet.as_view({"get": "series"}), name="ab-test-series"),
    *(
        path(f"{_TEST}/{action}", ExposureViewSet.as_view({"post": action}), name=f"ab-test-{action}")
        for action in ("exposures", "observations")
    ),
]
