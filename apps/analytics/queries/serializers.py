"""What the endpoints answer, for the description of the API: answers are made as they are sent."""

from typing import Any

from rest_framework import serializers

from apps.analytics.queries.asking import DIMENSIONS, MEASURES
from apps.analytics.queries.measuring import CONFIDENCE, COUNTS, MONEY, PERCENTILES
from apps.analytics.queries.ranges import Interval

_INTERVAL = f"With the {CONFIDENCE:.0%} interval from `low` to `high`"


class AmountField(serializers.RegexField):
    """US dollars as a decimal string, of any size."""

    def __init__(self, **options: Any) -> None:
        super().__init__(r"^[0-9]+(\.[0-9]+)?$", **options)


def _maybe(**options: Any) -> Any:
    return serializers.FloatField(allow_null=True, **options)


def _count() -> Any:
    return serializers.IntegerField(min_value=0)


class RateSerializer(serializers.Serializer[Any]):
    n = _count()
    value = _maybe()
    low = _maybe()
    high = _maybe()


class WaitsSerializer(serializers.Serializer[Any]):
    """Null where nothing was measured; each percentile is off by at most `percentile_error`, as a share of it."""

    n = _count()
    mean_ms = _maybe()

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), **{f"p{share}_ms": _maybe() for share in PERCENTILES}}


class BarSerializer(serializers.Serializer[Any]):
    """So many values are more than `from_ms` and at most `to_ms`; those of 0 have a bar of their own."""

    to_ms = serializers.FloatField()
    count = _count()

    def get_fields(self) -> dict[str, Any]:
        return {"from_ms": serializers.FloatField(), **super().get_fields()}


class DistributionSerializer(WaitsSerializer):
    bars = BarSerializer(many=True)


class MeasuresSerializer(serializers.Serializer[Any]):
    """Of executions that have ended. Tokens are in disjoint buckets; `success_rate` is of what was not cancelled.

    `unpriced` have used tokens at no known price, so that `cost_usd` is without them.
    """

    succeeded = _count()
    success_rate = RateSerializer(help_text=f"{_INTERVAL} by Wilson.")
    latency = WaitsSerializer()
    first_token = WaitsSerializer()

    def get_fields(self) -> dict[str, Any]:
        counts = {name: _count() for name in COUNTS}
        return {**counts, **{name: AmountField() for name in MONEY}, **super().get_fields()}


class PartSerializer(serializers.Serializer[Any]):
    """`name` is what the id of `value` is called, null for what has none and for whom the caller may not see."""

    dimension = serializers.ChoiceField(choices=DIMENSIONS)
    value = serializers.CharField(allow_null=True)
    name = serializers.CharField(allow_null=True)


class FrameSerializer(serializers.Serializer[Any]):
    to = serializers.DateTimeField()
    timezone = serializers.CharField()
    interval = serializers.ChoiceField(choices=Interval.choices, allow_null=True)
    group_by = serializers.ListField(child=serializers.ChoiceField(choices=DIMENSIONS))
    previous_from = serializers.DateTimeField(allow_null=True)
    previous_to = serializers.DateTimeField(allow_null=True)
    percentile_error = serializers.FloatField()

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}


class MeasuresChangeSerializer(serializers.Serializer[Any]):
    """As shares of what was before, null where that was nothing; of the success rate the difference."""

    success_rate = _maybe()
    requests = _maybe()
    errors = _maybe()
    cost_usd = _maybe()
    tokens = _maybe()
    latency_p50_ms = _maybe()
    latency_p95_ms = _maybe()
    first_token_p95_ms = _maybe()


class AnalyticsOverviewSerializer(FrameSerializer):
    totals = MeasuresSerializer()
    previous = MeasuresSerializer(allow_null=True)
    change = MeasuresChangeSerializer(allow_null=True)


class TimesSerializer(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    local_start = serializers.CharField(help_text="The start by the clock of the time zone.")


class PointSerializer(TimesSerializer, MeasuresSerializer):
    pass


class SeriesSerializer(serializers.Serializer[Any]):
    group = PartSerializer(many=True)
    points = PointSerializer(many=True)


class CourseSerializer(serializers.Serializer[Any]):
    """`rest` is what further groups come to, null where there are none."""

    group_count = _count()
    series = SeriesSerializer(many=True)
    rest = PointSerializer(many=True, allow_null=True)


class AnalyticsTimeseriesSerializer(FrameSerializer, CourseSerializer):
    previous = CourseSerializer(allow_null=True)


class RestSerializer(MeasuresSerializer):
    request_share = _maybe()
    cost_share = _maybe()
    previous = MeasuresSerializer(allow_null=True)


class BreakdownGroupSerializer(RestSerializer):
    group = PartSerializer(many=True)


class AnalyticsBreakdownSerializer(FrameSerializer):
    group_count = _count()
    totals = MeasuresSerializer()
    groups = BreakdownGroupSerializer(many=True)
    rest = RestSerializer(allow_null=True)


class LatencyGroupSerializer(serializers.Serializer[Any]):
    group = PartSerializer(many=True)
    requests = _count()
    latency = WaitsSerializer()
    first_token = WaitsSerializer()


class AnalyticsLatencySerializer(FrameSerializer):
    group_count = _count()
    latency = DistributionSerializer()
    first_token = DistributionSerializer()
    groups = LatencyGroupSerializer(many=True)


class CostSerializer(serializers.Serializer[Any]):
    """`saved_cost_usd` is what answers from the cache would have cost; the mean is of requests whose cost is known."""

    mean_cost_usd = AmountField(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        counts = {name: _count() for name in COUNTS if name not in {"errors", "cancelled"}}
        return {**counts, **{name: AmountField() for name in MONEY}, **super().get_fields()}


class CostPointSerializer(TimesSerializer, CostSerializer):
    pass


class CostRestSerializer(CostSerializer):
    cost_share = _maybe()


class CostGroupSerializer(CostRestSerializer):
    group = PartSerializer(many=True)


class ForecastSerializer(serializers.Serializer[Any]):
    """What the current month will have cost: with `confidence` between `low_usd` and `high_usd`, if all goes on so."""

    to = serializers.DateTimeField()
    confidence = serializers.FloatField()
    spent_usd = AmountField()
    expected_usd = AmountField()
    low_usd = AmountField()
    high_usd = AmountField()

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}


class AnalyticsCostsSerializer(FrameSerializer):
    totals = CostSerializer()
    previous = CostSerializer(allow_null=True)
    change = _maybe(help_text="Of `cost_usd`, as a share of what it was before.")
    points = CostPointSerializer(many=True)
    group_count = _count()
    groups = CostGroupSerializer(many=True)
    rest = CostRestSerializer(allow_null=True)
    forecast = ForecastSerializer(
        allow_null=True, help_text="Of the current month, whatever the range is; null in the first week of executions."
    )


class MeanSerializer(RateSerializer):
    deviation = _maybe()


class ScorePointSerializer(TimesSerializer, MeanSerializer):
    pass


class MeanScoreSerializer(MeanSerializer):
    name = serializers.CharField()


class ScoreCourseSerializer(MeanScoreSerializer):
    previous = MeanSerializer(allow_null=True)
    points = ScorePointSerializer(many=True)


class QualityGroupSerializer(serializers.Serializer[Any]):
    group = PartSerializer(many=True)
    requests = _count()
    success_rate = RateSerializer()
    scores = MeanScoreSerializer(many=True)


class AnalyticsQualitySerializer(FrameSerializer):
    success_rate = RateSerializer(help_text=f"{_INTERVAL} by Wilson.")
    scores = ScoreCourseSerializer(many=True, help_text=f"{_INTERVAL} by Student, which two scores are needed for.")
    group_count = _count()
    groups = QualityGroupSerializer(many=True)


class TopGroupSerializer(serializers.Serializer[Any]):
    rank = serializers.IntegerField(min_value=1)
    group = PartSerializer(many=True)
    requests = _count()
    cost_usd = AmountField()
    value = _maybe()
    share = _maybe(help_text="Of the whole, where the measure is a sum.")
    previous_value = _maybe()
    change = _maybe()


class AnalyticsTopSerializer(FrameSerializer):
    by = serializers.ChoiceField(choices=MEASURES)
    group_count = _count()
    groups = TopGroupSerializer(many=True)
