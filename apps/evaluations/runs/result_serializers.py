"""What came of an evaluation, for the description of the API: the values themselves are made in `result_rows`."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.models import CaseStatus, EvaluationStatus, ScoreType
from apps.executions.serializers import FailureSerializer, ObjectField


@extend_schema_field({"type": ["object", "array", "string", "number", "boolean", "null"]})
class ValueField(serializers.JSONField):
    """Any JSON."""


class Plain(serializers.Serializer):
    """Answers what it is given as it is."""

    def to_representation(self, instance: Any) -> Any:
        return instance


def _dollars(**options: Any) -> serializers.CharField:
    return serializers.CharField(allow_null=True, **options)


def _number() -> serializers.FloatField:
    return serializers.FloatField(allow_null=True)


class CaseScoreSerializer(Plain):
    """A value, or an error: never both."""

    metric = serializers.CharField()
    value = _number()
    passed = serializers.BooleanField(allow_null=True)
    label = serializers.CharField(allow_null=True)  # type: ignore[assignment] # a field's name, not its option
    reason = serializers.CharField()
    is_reason_cut = serializers.BooleanField()
    error = FailureSerializer(allow_null=True)
    cost_usd = _dollars(help_text="Of the evaluator's own calls.")
    execution_ids = serializers.ListField(child=serializers.UUIDField())
    details = ValueField(help_text="The evaluator's own, such as the votes of a judge; null in lists.")


class CaseAnswerSerializer(Plain):
    case_id = serializers.IntegerField(min_value=1)
    subject = serializers.CharField()
    status = serializers.ChoiceField(CaseStatus.choices)
    output = ValueField(help_text="Of one that is cut, the beginning of its text.")
    is_output_cut = serializers.BooleanField()
    error = FailureSerializer(allow_null=True)
    latency_ms = serializers.IntegerField(allow_null=True)
    input_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True)
    cost_usd = _dollars()
    execution_id = serializers.UUIDField(allow_null=True)
    workflow_run_id = serializers.UUIDField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    scores = CaseScoreSerializer(many=True)


class ItemFieldsSerializer(Plain):
    item_id = serializers.UUIDField()
    position = serializers.IntegerField()
    split = serializers.CharField()
    input = ValueField()
    is_input_cut = serializers.BooleanField()
    has_expected = serializers.BooleanField()
    expected = ValueField()
    is_expected_cut = serializers.BooleanField()
    metadata = ObjectField()
    source_execution_id = serializers.UUIDField(allow_null=True)
    repeat = serializers.IntegerField(min_value=0)


class EvaluationResultSerializer(ItemFieldsSerializer):
    """An item in one repeat, with what each subject answered, in the order of the subjects."""

    answers = CaseAnswerSerializer(many=True)


class EvaluationCaseSerializer(ItemFieldsSerializer):
    """One item given to one subject once, as a whole."""

    answer = CaseAnswerSerializer()


class SummaryIntervalSerializer(Plain):
    low = serializers.FloatField()
    high = serializers.FloatField()
    confidence = serializers.FloatField()
    method = serializers.CharField()


class ByKSerializer(Plain):
    k = serializers.IntegerField(min_value=1)
    pass_at_k = serializers.FloatField(help_text="The chance that one of k answers passes.")
    pass_hat_k = serializers.FloatField(help_text="The chance that all of k answers pass.")


class MetricSummarySerializer(Plain):
    """Over the items: repeats of one are averaged first. Cases without a score are in none of the figures."""

    metric = serializers.CharField()
    score_type = serializers.ChoiceField(ScoreType.choices)
    n = serializers.IntegerField(min_value=0, help_text="Scores.")
    n_items = serializers.IntegerField(min_value=0, help_text="Items with a score.")
    n_errors = serializers.IntegerField(min_value=0, help_text="Scores that could not be made.")
    n_missing = serializers.IntegerField(min_value=0, help_text="Cases without a score: failed, or not ended.")
    mean = _number()
    mean_interval = SummaryIntervalSerializer(allow_null=True)
    pass_rate = _number()
    pass_rate_interval = SummaryIntervalSerializer(allow_null=True)
    labels = serializers.DictField(child=serializers.IntegerField(), help_text="Category → how often.")
    within_item_variance = _number()
    by_k = ByKSerializer(many=True, help_text="With repeats: for k of 1 to so many.")


class LatencySummarySerializer(Plain):
    p50 = _number()
    p95 = _number()


class SubjectSummarySerializer(Plain):
    subject = serializers.CharField()
    cases = serializers.IntegerField(min_value=0)
    succeeded = serializers.IntegerField(min_value=0)
    failed = serializers.IntegerField(min_value=0)
    failure_rate = _number()
    errors = serializers.DictField(  # type: ignore[assignment] # a field's name
        child=serializers.IntegerField(), help_text="Code → how often, the ten commonest."
    )
    latency_ms = LatencySummarySerializer()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.CharField()
    n_unpriced = serializers.IntegerField(min_value=0, help_text="Answers whose cost is not known.")
    metrics = MetricSummarySerializer(many=True)


class EvaluationSummarySerializer(Plain):
    status = serializers.ChoiceField(EvaluationStatus.choices)
    items = serializers.IntegerField()
    repeats = serializers.IntegerField()
    cost_usd = serializers.CharField()
    evaluator_cost_usd = serializers.CharField()
    subjects = SubjectSummarySerializer(many=True)


_HUNK = {
    "type": "object",
    "required": ["from_line", "from_count", "to_line", "to_count", "lines"],
    "properties": {
        **{name: {"type": "integer"} for name in ("from_line", "from_count", "to_line", "to_count")},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["op", "text"],
                "properties": {"op": {"type": "string", "enum": [" ", "-", "+"]}, "text": {"type": "string"}},
            },
        },
    },
}


@extend_schema_field({"type": "array", "items": _HUNK})
class HunksField(serializers.JSONField):
    pass


class ScoreChangeSerializer(Plain):
    metric = serializers.CharField()
    baseline = _number()
    candidate = _number()
    difference = _number()


class DiffRowSerializer(Plain):
    item_id = serializers.UUIDField()
    position = serializers.IntegerField()
    repeat = serializers.IntegerField()
    input = ValueField()
    is_input_cut = serializers.BooleanField()
    baseline = CaseAnswerSerializer(allow_null=True)
    candidate = CaseAnswerSerializer(allow_null=True)
    is_same = serializers.BooleanField(allow_null=True, help_text="Null when one of them has no answer.")
    hunks = HunksField(allow_null=True, help_text="From baseline to candidate by lines; null where it is too large.")
    scores = ScoreChangeSerializer(many=True)
    cost_difference_usd = _dollars()
    latency_difference_ms = serializers.IntegerField(allow_null=True)


class MetricTotalSerializer(Plain):
    metric = serializers.CharField()
    n = serializers.IntegerField(help_text="Pairs in which both have a score.")
    baseline = _number()
    candidate = _number()
    difference = _number()
    higher = serializers.IntegerField(help_text="Pairs in which the candidate's value is higher.")
    lower = serializers.IntegerField(help_text="Pairs in which it is lower.")


class DiffTotalsSerializer(Plain):
    """Of pairs in which both have answered, but for the counts of those that have not."""

    pairs = serializers.IntegerField()
    same = serializers.IntegerField()
    changed = serializers.IntegerField()
    only_baseline = serializers.IntegerField()
    only_candidate = serializers.IntegerField()
    neither = serializers.IntegerField()
    baseline_cost_usd = _dollars()
    candidate_cost_usd = _dollars()
    baseline_latency_ms = _number()
    candidate_latency_ms = _number()
    metrics = MetricTotalSerializer(many=True)


class AnswerDiffSerializer(Plain):
    baseline = serializers.CharField()
    candidate = serializers.CharField()
    totals = DiffTotalsSerializer()
    rows = DiffRowSerializer(many=True)
