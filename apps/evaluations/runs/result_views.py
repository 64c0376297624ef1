"""What evaluations came to: summaries, results by item, differences of two subjects, files."""

from collections.abc import Sequence
from typing import Any

from django.http import Http404
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from apps.evaluations.models import NAME_LENGTH, Evaluation, EvaluationCase
from apps.evaluations.runs import result_serializers as shapes
from apps.evaluations.runs.diffing import diff_rows, totals
from apps.evaluations.runs.exporting import CONTENT_TYPES, export
from apps.evaluations.runs.paging import CasePagination, DiffPagination
from apps.evaluations.runs.representation import with_parts
from apps.evaluations.runs.result_filters import ResultFilter
from apps.evaluations.runs.result_rows import Cut, Key, Names, names_of, read_rows
from apps.evaluations.runs.summarizing import summarize
from apps.users.tenancy import TenantViewSet
from everquant.api.bulkhead import WAITING_CALLS
from everquant.api.sse import event_stream

LIST_CUT = Cut(text=2000, reason=300)
_FORMAT = OpenApiParameter("format", {"type": "string", "enum": list(CONTENT_TYPES), "default": "jsonl"})
_TEXT = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH, "pattern": r"^[^\u0000]*$"}
_BASELINE = OpenApiParameter("baseline", _TEXT, description="A subject's name; the first one by default.")
_CANDIDATE = OpenApiParameter("candidate", _TEXT, description="A subject's name; the second one by default.")


class ResultViewSet(TenantViewSet):
    """Results of one evaluation; the object in the path is the evaluation."""

    queryset = Evaluation.objects.all()
    serializer_class = shapes.EvaluationResultSerializer
    pagination_class = CasePagination
    permissions = {"summary": "evaluations:read", "export": "evaluations:read", "case": "evaluations:read"}
    query_parameters = {"export": frozenset({"format"})}
    output_serializer_classes = {"summary": shapes.EvaluationSummarySerializer, "case": shapes.EvaluationCaseSerializer}
    tagged_actions = frozenset({"summary", "case"})

    def refine(self, queryset: Any) -> Any:
        return with_parts(queryset) if self.action == "summary" else queryset

    def summary(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        """Summarize an evaluation. By subject and metric, with intervals; an error is in no mean, and counted."""
        return self.answer(summarize(self.get_object()))

    def case(self, request: Request, case_id: int, **kwargs: Any) -> HttpResponseBase:
        """Read a case. Everything of it, whole, with the ids of its executions."""
        evaluation = self.get_object()
        place = evaluation.cases.filter(id=case_id).values_list("item_id", "repeat", "subject").first()
        if place is None:
            raise Http404
        item_id, repeat, subject = place
        row = read_rows(evaluation, names_of(evaluation), [(item_id, repeat)], Cut(), [subject])[0]
        return self.answer({**row, "answer": row.pop("answers")[0]})

    @extend_schema(
        parameters=[_FORMAT],
        responses={(200, kind.partition(";")[0]): {"type": "string"} for kind in CONTENT_TYPES.values()},
    )
    def export(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        """Download the results. A line for each item and repeat, sent while it is read."""
        file_format = request.query_params.get("format", "jsonl")
        if file_format not in CONTENT_TYPES:
            raise ValidationError({"format": [f"One of: {', '.join(CONTENT_TYPES)}."]})
        evaluation = self.get_object()
        slot = WAITING_CALLS.enter()
        answer = event_stream(export(evaluation, file_format), slot.release)
        answer.headers["Content-Type"] = CONTENT_TYPES[file_format]
        answer.headers["Content-Disposition"] = f'attachment; filename="evaluation-{evaluation.id}.{file_format}"'
        return answer


class RowsViewSet(TenantViewSet):
    """Rows of one evaluation, an item in a repeat each; the object in the path is the evaluation."""

    queryset = Evaluation.objects.all()
    serializer_class: Any = shapes.EvaluationResultSerializer
    pagination_class: Any = CasePagination
    filterset_class: Any = ResultFilter
    permissions = {"list": "evaluations:read"}

    def refine(self, queryset: Any) -> Any:
        return EvaluationCase.objects.filter(evaluation__in=queryset.filter(id=self.kwargs["pk"]), subject=0)

    def list(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        """List results. A row for each item and repeat, with what every subject answered. Long texts are cut, and
        say so.
        """
        evaluation = self.evaluation()
        return self.get_paginated_response(read_rows(evaluation, names_of(evaluation), self.keys(), LIST_CUT))

    def evaluation(self) -> Evaluation:
        """The one in the path; raises Http404."""
        mine = Evaluation.objects.for_organization(self.principal.organization_id)
        found: Evaluation | None = mine.filter(id=self.kwargs["pk"]).first()
        if found is None:
            raise Http404
        return found

    def keys(self) -> Sequence[Key]:
        """Of the page that is asked for."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset().only("item_id", "repeat")))
        return [(case.item_id, case.repeat) for case in page or ()]


class DiffViewSet(RowsViewSet):
    serializer_class = shapes.AnswerDiffSerializer
    pagination_class = DiffPagination
    filterset_class = None
    query_parameters = {"list": frozenset({"baseline", "candidate"})}

    @extend_schema(parameters=[_BASELINE, _CANDIDATE], summary="Compare answers")
    def list(self, request: Request, **kwargs: Any) -> HttpResponseBase:
        """Compare answers. Two subjects side by side: what the output says otherwise, by lines, and the differences
        of scores, cost and latency; `totals` are of all pairs. What noise explains is told by `compare`.
        """
        evaluation = self.evaluation()
        names = names_of(evaluation)
        baseline = self._position(names, "baseline", 0)
        candidate = self._position(names, "candidate", 1)
        return self.get_paginated_response(
            {
                "baseline": names.subjects[baseline],
                "candidate": names.subjects[candidate],
                "totals": totals(evaluation, names, baseline, candidate),
                "rows": diff_rows(evaluation, names, self.keys(), baseline, candidate),
            }
        )

    def _position(self, names: Names, parameter: str, default: int) -> int:
        name = self.request.query_params.get(parameter)
        found = [position for position, known in names.subjects.items() if name in {known, None}]
        if name is None and default in names.subjects:
            return default
        if name is None or not found:
            raise ValidationError({parameter: ["The evaluation has no such subject."]})
        return found[0]
