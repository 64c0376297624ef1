"""Comparisons and gates as they are asked for and answered."""

from typing import Any, cast

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.comparing.rules import RULES_SCHEMA, Rule, parse_rules
from apps.evaluations.models import MAX_SUBJECTS, NAME_LENGTH, Direction, Evaluation, GateResult, Verdict
from everquant.api.errors import BadRequest
from everquant.api.serializers import ScopedField, StrictSerializer

SUBJECT_NAME = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH, "pattern": r"^[^\u0000]+$"}
INTERVAL_METHODS = ["clopper_pearson", "tango_score", "bca_bootstrap", "student"]
TESTS = ["mcnemar_exact", "permutation_exact", "permutation_monte_carlo", "permutation_normal"]
VERDICTS = ["better", "worse", "different", "no_difference_shown"]
RULING_CODES = [
    "NOT_SHOWN", "TOO_FEW_ITEMS", "TOO_MANY_MISSING", "JUDGE_NOT_TRUSTED", "NO_RATIO", "NO_INTERVAL",
]  # fmt: skip


@extend_schema_field(RULES_SCHEMA)
class RulesField(serializers.Field[Any, Any, Any, Any]):
    """The rules of a gate, answered with every default said."""

    def to_internal_value(self, data: Any) -> list[Rule]:
        try:
            return parse_rules(data, at="")
        except BadRequest as error:
            details = {path.lstrip("."): [why] for path, why in error.details.items()}
            raise serializers.ValidationError(details) from error

    def to_representation(self, value: Any) -> Any:
        return value


_SUBJECT = {"oneOf": [{"type": "integer", "minimum": 0, "maximum": MAX_SUBJECTS - 1}, SUBJECT_NAME]}


@extend_schema_field(_SUBJECT)
class SubjectField(serializers.Field[Any, Any, Any, Any]):
    """A subject by its position or name."""

    def to_internal_value(self, data: Any) -> int | str:
        is_position = isinstance(data, int) and not isinstance(data, bool) and 0 <= data < MAX_SUBJECTS
        is_name = isinstance(data, str) and 0 < len(data) <= NAME_LENGTH and "\0" not in data
        if not (is_position or is_name):
            raise serializers.ValidationError("A subject's position or name is expected.")
        return cast("int | str", data)


class GateSerializer(StrictSerializer):
    """`against` is an evaluation whose subject is the baseline. Every rule must pass for the gate to pass."""

    rules = RulesField()
    candidate = SubjectField(required=False, help_text="The only other subject than the baseline by default.")
    baseline = SubjectField(required=False, help_text="The first one by default.")
    against = ScopedField(queryset=Evaluation.objects.all(), required=False, allow_null=True)


class IntervalSerializer(serializers.Serializer[Any]):
    """`is_degenerate`: all values were the same, so that nothing is known of how they vary."""

    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    interval_method = serializers.ChoiceField(choices=INTERVAL_METHODS, allow_null=True)
    is_degenerate = serializers.BooleanField()


class MissingSerializer(serializers.Serializer[Any]):
    """Items without a value, by the first reason that applies. An `absent` one was never given to the subject."""

    absent = serializers.IntegerField()
    failed = serializers.IntegerField()
    score_error = serializers.IntegerField()
    unfinished = serializers.IntegerField()
    no_value = serializers.IntegerField()


class RulingMissingSerializer(serializers.Serializer[Any]):
    baseline = MissingSerializer(required=False)
    candidate = MissingSerializer()


class RulingSerializer(IntervalSerializer):
    """What one rule said: `estimate` is what its limits are about, and the interval has two bounds of its confidence.

    For no_worse_than and better_than, more is better whatever the metric's direction is.
    """

    rule = serializers.JSONField()
    metric = serializers.CharField(allow_null=True)
    verdict = serializers.ChoiceField(choices=Verdict.choices)
    code = serializers.ChoiceField(choices=RULING_CODES, allow_null=True)
    reason = serializers.CharField(allow_blank=True)
    n = serializers.IntegerField()
    estimate = serializers.FloatField(allow_null=True)
    baseline_mean = serializers.FloatField(allow_null=True)
    candidate_mean = serializers.FloatField(allow_null=True)
    missing = RulingMissingSerializer(allow_null=True)


class GateResultSerializer(serializers.ModelSerializer[GateResult]):
    """`is_current` until an evaluation that was looked at goes on."""

    against_id = serializers.UUIDField(allow_null=True)
    evaluation_id = serializers.UUIDField()
    report = RulingSerializer(many=True)
    is_current = serializers.BooleanField()
    created_by = serializers.UUIDField(source="created_by_id", allow_null=True)

    class Meta:
        model = GateResult
        fields = [
            "id", "evaluation_id", "candidate", "against_id", "baseline", "verdict", "report", "is_current",
            "created_by", "created_at",
        ]  # fmt: skip


class SubjectSerializer(serializers.Serializer[Any]):
    position = serializers.IntegerField()
    name = serializers.CharField()


class ItemCountsSerializer(serializers.Serializer[Any]):
    paired = serializers.IntegerField()
    baseline_only = serializers.IntegerField()
    candidate_only = serializers.IntegerField()


class BothMissingSerializer(serializers.Serializer[Any]):
    baseline = MissingSerializer()
    candidate = MissingSerializer()


class BothSharesSerializer(serializers.Serializer[Any]):
    baseline = serializers.FloatField()
    candidate = serializers.FloatField()


class EffectSerializer(serializers.Serializer[Any]):
    name = serializers.ChoiceField(choices=["cohen_h", "cohen_dz"])
    size = serializers.FloatField(allow_null=True)


class ChangesSerializer(serializers.Serializer[Any]):
    """Items that went from no to yes and from yes to no; `odds` is their ratio, null where it is infinite."""

    gained = serializers.IntegerField()
    lost = serializers.IntegerField()
    odds = serializers.FloatField(allow_null=True)
    odds_low = serializers.FloatField(allow_null=True)
    odds_high = serializers.FloatField(allow_null=True)


class WorstCaseSerializer(serializers.Serializer[Any]):
    n = serializers.IntegerField()
    difference = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()
    p_value = serializers.FloatField()


class PassSerializer(serializers.Serializer[Any]):
    """The chance that one of k answers passes, and that all do."""

    k = serializers.IntegerField()
    any = serializers.FloatField(allow_null=True)
    all = serializers.FloatField(allow_null=True)


class RepeatedSerializer(serializers.Serializer[Any]):
    """How repeats of one item vary, and the share of that in how everything varies."""

    within_variance = serializers.FloatField(allow_null=True)
    within_share = serializers.FloatField(allow_null=True)
    icc = serializers.FloatField(allow_null=True)
    pass_at_k = PassSerializer(many=True)


class RepeatsSerializer(serializers.Serializer[Any]):
    baseline = RepeatedSerializer(allow_null=True)
    candidate = RepeatedSerializer(allow_null=True)


class LabelCountSerializer(serializers.Serializer[Any]):
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment] # the stubs take it for the field's own
    baseline = serializers.IntegerField()
    candidate = serializers.IntegerField()


class ComparedMetricSerializer(IntervalSerializer):
    """`difference` is the candidate's mean less the baseline's, over the `n` items that both have a value of."""

    metric = serializers.CharField()
    type = serializers.ChoiceField(choices=["boolean", "numeric", "categorical"])
    direction = serializers.ChoiceField(choices=Direction.choices)
    unit = serializers.CharField(allow_null=True)
    n = serializers.IntegerField()
    missing = BothMissingSerializer()
    missing_share = BothSharesSerializer()
    baseline_mean = serializers.FloatField(allow_null=True)
    candidate_mean = serializers.FloatField(allow_null=True)
    difference = serializers.FloatField(allow_null=True)
    test = serializers.ChoiceField(choices=TESTS, allow_null=True)
    p_value = serializers.FloatField(allow_null=True)
    p_adjusted = serializers.FloatField(allow_null=True, help_text="By Holm, over all tests of the comparison.")
    effect = EffectSerializer(allow_null=True)
    minimum_detectable_effect = serializers.FloatField(
        allow_null=True, help_text="The smallest true difference that so many items show with a power of 0.8."
    )
    changes = ChangesSerializer(allow_null=True)
    worst_case = WorstCaseSerializer(
        allow_null=True, help_text="As if the candidate had been wrong wherever an answer is missing."
    )
    repeats = RepeatsSerializer(allow_null=True)
    categories = LabelCountSerializer(many=True, allow_null=True)
    verdict = serializers.ChoiceField(choices=VERDICTS, allow_null=True)


class ComparedSubjectSerializer(serializers.Serializer[Any]):
    candidate = SubjectSerializer()
    items = ItemCountsSerializer()
    metrics = ComparedMetricSerializer(many=True)


class NotComparedSerializer(serializers.Serializer[Any]):
    metric = serializers.CharField()
    reason = serializers.CharField()


class ComparisonSerializer(serializers.Serializer[Any]):
    evaluation_id = serializers.UUIDField()
    against_id = serializers.UUIDField(allow_null=True)
    baseline = SubjectSerializer()
    confidence = serializers.FloatField()
    tests = serializers.IntegerField(help_text="Over which p is adjusted.")
    not_compared = NotComparedSerializer(many=True)
    comparisons = ComparedSubjectSerializer(many=True)
