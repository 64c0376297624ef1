"""Comparisons of what has ended, and gates."""

import re
from typing import Any

from django.http import Http404
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.evaluations.comparing import serializers as shapes
from apps.evaluations.comparing.choosing import choose
from apps.evaluations.comparing.gate import run_gate
from apps.evaluations.models import NAME_LENGTH, Evaluation, GateResult
from apps.users.tenancy import ListMixin, TenantViewSet
from everquant.api.pagination import KeysetPagination
from everquant.api.serializers import EmptySerializer, StrictUUIDField

LOWEST_CONFIDENCE, HIGHEST_CONFIDENCE, CONFIDENCE = 0.5, 0.9999, 0.95
_NUMBER = re.compile(r"[0-9.eE+-]{1,40}")


def _parameter(name: str, schema: dict[str, Any], description: str) -> OpenApiParameter:
    return OpenApiParameter(name, schema, description=description)


_COMPARE = [
    _parameter("baseline", shapes.SUBJECT_NAME, "A subject's name or position; the first one by default."),
    _parameter("candidate", shapes.SUBJECT_NAME, "A subject's name or position; all but the baseline by default."),
    _parameter("against", {"type": "string", "format": "uuid"}, "The evaluation that the baseline is of."),
    _parameter(
        "confidence",
        {"type": "number", "minimum": LOWEST_CONFIDENCE, "maximum": HIGHEST_CONFIDENCE, "default": CONFIDENCE},
        "Of intervals; and 1 - confidence is the level of tests.",
    ),
]


class ComparisonViewSet(TenantViewSet):
    """What one evaluation says of its subjects, or of those of another one."""

    queryset = Evaluation.objects.all()
    serializer_class = EmptySerializer
    permissions = {"compare": "evaluations:read", "gate": "evaluations:execute"}
    query_parameters = {"compare": frozenset({"baseline", "candidate", "against", "confidence"})}
    further_errors = {"compare": (400, 409), "gate": (409,)}
    input_serializer_classes = {"gate": shapes.GateSerializer}
    output_serializer_classes = {"compare": shapes.ComparisonSerializer, "gate": shapes.GateResultSerializer}

    @extend_schema(parameters=_COMPARE)
    def compare(self, request: Request, **kwargs: Any) -> Response:
        """Compare subjects on the items that both have. An error is never a score: pairs with one are missing.

        Yes and no by McNemar's exact test, numbers by a permutation test and a BCa bootstrap interval; p by Holm over
        all tests. Repeats of an item are averaged first. An evaluation that has not ended is a 409.
        """
        from apps.evaluations.comparing.comparison import compare  # noqa: PLC0415 (numpy, for those who compare)

        evaluation = self.get_object()
        contest = choose(
            evaluation=evaluation,
            candidate=_subject(request, "candidate"),
            baseline=_subject(request, "baseline"),
            against=self._against(request),
        )
        return Response(compare(contest, confidence=_confidence(request)))

    def gate(self, request: Request, **kwargs: Any) -> Response:
        """Put a candidate through rules. Each is pass, fail or inconclusive by the bounds of an interval, and so is the
        gate: fail where one fails, else inconclusive where one is.

        An evaluation that has not ended is a 409. The result is kept.
        """
        result = run_gate(evaluation=self.get_object(), by=self.principal, **self.validated())
        return Response(self.represent(result))

    def _against(self, request: Request) -> Evaluation | None:
        raw = request.query_params.get("against")
        if raw is None:
            return None
        try:
            key = StrictUUIDField().run_validation(raw)
        except ValidationError as error:
            raise ValidationError({"against": error.detail}) from error
        mine = Evaluation.objects.for_organization(self.principal.organization_id)
        found: Evaluation | None = mine.filter(id=key).first()
        if found is None:
            raise ValidationError({"against": ["No such object."]})
        return found


class GateViewSet(ListMixin, TenantViewSet):
    """What gates said of one evaluation, newest first."""

    queryset = GateResult.objects.all()
    serializer_class = shapes.GateResultSerializer
    pagination_class = KeysetPagination
    permissions = {"list": "evaluations:read"}

    def refine(self, queryset: Any) -> Any:
        return queryset.filter(evaluation_id=self.kwargs["pk"]).select_related("evaluation", "against")

    def list(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        mine = Evaluation.objects.for_organization(self.principal.organization_id)
        if not mine.filter(id=self.kwargs["pk"]).exists():
            raise Http404
        return super().list(request, *args, **kwargs)


def _subject(request: Request, name: str) -> str | None:
    raw = request.query_params.get(name)
    if raw is not None and not 0 < len(raw) <= NAME_LENGTH:
        raise ValidationError({name: [f"1 to {NAME_LENGTH} characters are expected."]})
    return raw


def _confidence(request: Request) -> float:
    raw = request.query_params.get("confidence")
    if raw is None:
        return CONFIDENCE
    try:
        found = float(raw) if _NUMBER.fullmatch(raw) else 0.0
    except ValueError:
        found = 0.0
    if not LOWEST_CONFIDENCE <= found <= HIGHEST_CONFIDENCE:
        said = f"A number from {LOWEST_CONFIDENCE} to {HIGHEST_CONFIDENCE} is expected."
        raise ValidationError({"confidence": [said]})
    return found
