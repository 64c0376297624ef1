from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.ab_tests import exposing_serializers as shapes
from apps.evaluations.ab_tests.exposing import record_exposures, record_observations
from apps.prompts.models import ABTest
from apps.users.tenancy import TenantViewSet


class ExposureViewSet(TenantViewSet):
    """What is told of units by programs that call models themselves: it needs what a call by the platform would."""

    queryset = ABTest.objects.all()
    permissions = {"exposures": "prompts:execute", "observations": "prompts:execute"}
    serializer_class = shapes.RecordedSerializer
    input_serializer_classes = {
        "exposures": shapes.ExposuresSerializer,
        "observations": shapes.ObservationsSerializer,
    }

    def refine(self, queryset: Any) -> Any:
        return queryset.alive()

    def exposures(self, request: Request, **kwargs: Any) -> Response:
        """Record exposures. Units that were exposed to their variants, and how it went; all of them or none.

        A unit without a variant gets one. A 409 when the test does not run.
        """
        count = record_exposures(test=self.get_object(), by=self.principal, **self.validated())
        return Response({"recorded": count})

    def observations(self, request: Request, **kwargs: Any) -> Response:
        """Record later values. Of units that take part, also after the test was stopped; all of them or none."""
        count = record_observations(test=self.get_object(), by=self.principal, **self.validated())
        return Response({"recorded": count})
