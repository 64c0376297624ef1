"""Questions about executions: sums and percentiles of any range, from rollups."""

from collections.abc import Callable
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics.queries import answering
from apps.analytics.queries import parameters as asked
from apps.analytics.queries import serializers as shapes
from apps.analytics.queries.asking import Query
from apps.analytics.queries.costing import costs
from apps.analytics.queries.exporting import CONTENT_TYPES, as_file
from apps.analytics.queries.scoring import quality
from apps.analytics.rollups.reading import MOST_CELLS, TooManyCells
from apps.users.principal import Principal
from apps.users.tenancy import PermissionViewSet

_ASKED: dict[str, type[asked.RangeSerializer]] = {
    "overview": asked.ComparedSerializer,
    "timeseries": asked.TimeseriesQuerySerializer,
    "breakdown": asked.BreakdownQuerySerializer,
    "latency": asked.LatencyQuerySerializer,
    "costs": asked.CostsQuerySerializer,
    "quality": asked.QualityQuerySerializer,
    "top": asked.TopQuerySerializer,
}


def _described(action: str, answer: Any) -> Callable[[Any], Any]:
    files: Any = {(200, kind): {"type": "string"} for kind in CONTENT_TYPES.values()}
    return extend_schema(parameters=[_ASKED[action]], responses={(200, "application/json"): answer, **files})


class AnalyticsViewSet(PermissionViewSet):
    """Executions that have ended, counted by when they were made. Exact up to the moment of the question; percentiles
    are within 2 %. A filter that is given several times means any of its values.
    """

    serializer_class = shapes.FrameSerializer
    permissions = dict.fromkeys(_ASKED, "analytics:read")
    query_parameters = {action: asked.names_of(serializer) for action, serializer in _ASKED.items()}
    list_parameters = {action: asked.list_parameters(serializer) for action, serializer in _ASKED.items()}

    @_described("overview", shapes.AnalyticsOverviewSerializer)
    def overview(self, request: Request) -> HttpResponseBase:
        """Sum up a range. The last 24 hours by default; `compare=previous` adds the range before it."""
        return self._answer(answering.overview)

    @_described("timeseries", shapes.AnalyticsTimeseriesSerializer)
    def timeseries(self, request: Request) -> HttpResponseBase:
        """Follow executions in time. Every interval of the range is there, also those without executions; the first
        and last one are cut off where the range is. Groups beyond `limit` are in `rest`.
        """
        return self._answer(answering.timeseries)

    @_described("breakdown", shapes.AnalyticsBreakdownSerializer)
    def breakdown(self, request: Request) -> HttpResponseBase:
        """Split executions by one or two dimensions. By prompt unless `group_by` says otherwise. An execution of a
        prompt with several tags is in the group of each.
        """
        return self._answer(answering.breakdown)

    @_described("latency", shapes.AnalyticsLatencySerializer)
    def latency(self, request: Request) -> HttpResponseBase:
        """How long executions took. And until the first token, where answers were streamed; with bars to draw."""
        return self._answer(answering.latency)

    @_described("costs", shapes.AnalyticsCostsSerializer)
    def costs(self, request: Request) -> HttpResponseBase:
        """What executions have cost. The last 30 days by default, in time and by group."""
        return self._answer(costs)

    @_described("quality", shapes.AnalyticsQualitySerializer)
    def quality(self, request: Request) -> HttpResponseBase:
        """How good executions were. Success rates and means of numeric and boolean scores with their intervals; a
        score counts when its execution was made.
        """
        return self._answer(quality)

    @_described("top", shapes.AnalyticsTopSerializer)
    def top(self, request: Request) -> HttpResponseBase:
        """The greatest groups by a measure. `error_rate` is ordered by the lower end of its interval, so that one
        failure of one request does not come first.
        """
        return self._answer(answering.top)

    def _answer(self, make: Callable[[Query, Principal], dict[str, Any]]) -> HttpResponseBase:
        query = asked.query_of(_ASKED[self.action], self.request, self.principal.organization_id)
        try:
            answer = make(query, self.principal)
        except TooManyCells:
            asked_too_much = "group_by" if query.group_by else "interval"
            problem = f"Groups times intervals come to more than {MOST_CELLS}: ask for a shorter range, or filter."
            raise ValidationError({asked_too_much: [problem]}) from None
        if query.file_format == "json":
            return Response(answer)
        file = as_file(self.action, answer, query.file_format)
        response = StreamingHttpResponse([file], content_type=CONTENT_TYPES[query.file_format])
        name = f"{self.action}-{query.span.start:%Y%m%dT%H%M}-{query.span.end:%Y%m%dT%H%M}.{query.file_format}"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response
