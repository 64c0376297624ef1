"""How judges agree with people."""

from typing import Any, ClassVar, cast

from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.judging import serializers as shapes
from apps.evaluations.judging.agreement import newest_agreement, reason_not_to_gate
from apps.evaluations.judging.filters import AgreementFilter
from apps.evaluations.judging.measuring import measure_agreement
from apps.evaluations.judging.representation import represent_standing
from apps.evaluations.models import Evaluator, JudgeAgreement
from apps.users.tenancy import ListMixin, RetrieveMixin, TenantViewSet


class StandingViewSet(TenantViewSet):
    """Whether a judge may gate, and the measurement that decides it; the object in the path is the evaluator."""

    queryset = Evaluator.objects.all()
    serializer_class = shapes.AgreementSerializer
    permissions = {"standing": "evaluations:read", "create": "evaluations:execute"}
    tagged_actions = TenantViewSet.tagged_actions | {"standing"}
    further_errors = {"create": (404, 409)}
    input_serializer_classes = {"create": shapes.MeasureSerializer}
    output_serializer_classes = {"standing": shapes.StandingSerializer}

    def refine(self, queryset: Any) -> Any:
        return queryset.alive().select_related("current_version__evaluator")

    def standing(self, request: Request, **kwargs: Any) -> Response:
        """Show whether an evaluator may gate. A judge may when its newest agreement with people is good for certain."""
        version = self.get_object().current_version
        return self.answer(represent_standing(version, reason_not_to_gate(version), newest_agreement(version)))

    def create(self, request: Request, **kwargs: Any) -> Response:
        """Measure a judge. Cohen's kappa between its scores and the labels that people gave the same outputs.

        The evaluation is one that has succeeded, of recorded outputs that are labelled in their items' metadata, with
        the judge among its evaluators. Nothing is called. The newest measurement decides whether the judge may gate.
        """
        evaluator = self.get_object()
        agreement = measure_agreement(evaluator=evaluator, created_by=cast("Any", request.user), **self.validated())
        headers = {"Location": f"/api/v1/judge-agreements/{agreement.id}"}
        return self.answer(agreement, status=201, headers=headers)


class AgreementViewSet(ListMixin, RetrieveMixin, TenantViewSet):
    """Measurements of judges, newest first."""

    queryset = JudgeAgreement.objects.all()
    serializer_class = shapes.AgreementSerializer
    filterset_class = AgreementFilter
    ordering_fields: ClassVar[list[str]] = ["created_at", "kappa", "ci_low", "n"]
    permissions = {"list": "evaluations:read", "retrieve": "evaluations:read"}

    def refine(self, queryset: Any) -> Any:
        return queryset.select_related("evaluator_version")
