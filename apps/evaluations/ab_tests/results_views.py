"""What A/B tests show, and how long one would take."""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.ab_tests import results_serializers as shapes
from apps.evaluations.models import ABPoint
from apps.prompts.models import ABTest
from apps.users.tenancy import TenantViewSet

MOST_POINTS = 2_000
_FROZEN = OpenApiParameter(
    "frozen",
    {"type": "string", "enum": ["true", "false"], "default": "true"},
    description="Of a test that has ended: its results at the stop, or with what became known since.",
)


class ABResultsViewSet(TenantViewSet):
    """Results of one A/B test."""

    queryset = ABTest.objects.all()
    serializer_class = shapes.ABResultsSerializer
    permissions = {"results": "abtests:read", "series": "abtests:read", "plan": "abtests:read"}
    query_parameters = {"results": frozenset({"frozen"})}
    further_errors = {"results": (400,)}
    input_serializer_classes: ClassVar[dict[str, Any]] = {"plan": shapes.ABPlanInputSerializer}
    output_serializer_classes: ClassVar[dict[str, Any]] = {
        "series": shapes.ABSeriesSerializer,
        "plan": shapes.ABPlanSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    @extend_schema(parameters=[_FROZEN])
    def results(self, request: Request, **kwargs: Any) -> Response:
        """Read results. What the variants did, what may be concluded from it at this moment, and what not.

        Confidence sequences hold at every look; tests for one look are marked. Computed from running sums: what came in
        the last seconds may not be in them yet.
        """
        from apps.evaluations.ab_tests.results import results_of  # noqa: PLC0415 (numpy, for those who ask)

        is_frozen = request.query_params.get("frozen", "true")
        if is_frozen not in {"true", "false"}:
            raise ValidationError({"frozen": ["true or false is expected."]})
        test = self.get_object()
        kept = test.final_results if is_frozen == "true" else None
        return Response(kept or results_of(test))

    def series(self, request: Request, **kwargs: Any) -> Response:
        """Read series. What the results said over time, oldest first: the confidence sequences for a plot."""
        newest = ABPoint.objects.filter(test=self.get_object()).order_by("-taken_at")[:MOST_POINTS]
        points = shapes.ABPointSerializer(reversed(newest), many=True)
        return Response({"points": points.data})

    def plan(self, request: Request, **kwargs: Any) -> Response:
        """Plan A/B test. How many units are needed before it starts, and how many days that takes; nothing is stored.

        More than for a single look, as the decision may be made at any time. A 400 names what must be given where the
        prompt's calls do not tell it.
        """
        from apps.evaluations.ab_tests.sizing import plan_for  # noqa: PLC0415 (numpy, for those who ask)

        return Response(self.represent(plan_for(**self.validated())))
