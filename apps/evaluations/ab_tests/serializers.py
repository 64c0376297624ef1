"""A/B tests as they are asked for and answered. Outputs are built by hand, see `representation`."""

from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.ab_tests import representation
from apps.evaluations.ab_tests.checking import ERROR_RATE, LATENCY_P95
from apps.evaluations.ab_tests.measures import (
    CUSTOM_PREFIX,
    DEFAULT_DIRECTIONS,
    SCORE_PREFIX,
    Aggregation,
    Builtin,
    Direction,
)
from apps.evaluations.ab_tests.variants import VariantWish
from apps.executions.serializers import ObjectField, ParametersField
from apps.prompts.ab_tests.segments import LISTS, MAX_RULES, MAX_TEXT, MAX_VALUES, check_segments
from apps.prompts.models import (
    LABEL,
    LABEL_LENGTH,
    MAX_VARIANTS,
    METRIC_LENGTH,
    PRODUCTION,
    REASON_LENGTH,
    VARIANT_LENGTH,
    ABTest,
    ABTestStatus,
    Prompt,
)
from apps.prompts.serializers import MAX_VERSION
from everquant.api.serializers import (
    JSONObjectField,
    ScopedField,
    StrictBooleanField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MAX_METRICS = 20
MAX_GUARDRAILS = 20
LARGEST = 1e12
DIRECTIONS = [one.value for one in Direction]
SMALLEST_EFFECT = 1e-9
_BUILTIN = "|".join(Builtin)
_OWN = f"({SCORE_PREFIX}|{CUSTOM_PREFIX})" + rf"[^\u0000]{{1,{METRIC_LENGTH}}}"
MEASURE = RegexValidator(rf"\A({_BUILTIN}|{_OWN})\Z", "No such measure.")
GUARDRAIL_MEASURE = RegexValidator(rf"\A({ERROR_RATE}|{LATENCY_P95}|{_BUILTIN}|{_OWN})\Z", "No such measure.")

_TEXT = {"type": "string", "maxLength": MAX_TEXT, "pattern": r"^[^\u0000]*$"}
_KEY = {**_TEXT, "minLength": 1}
_SCALAR = {"oneOf": [_TEXT, {"type": "number"}, {"type": "boolean"}]}
_VALUES = {"type": "array", "items": _SCALAR, "minItems": 1, "maxItems": MAX_VALUES}


def _rule(*operators: str, **value: Any) -> dict[str, Any]:
    properties = {"key": _KEY, "operator": {"type": "string", "enum": list(operators)}, **value}
    return {"type": "object", "required": [*properties], "additionalProperties": False, "properties": properties}


_RULE = {
    "oneOf": [
        _rule("equals", "not_equals", value=_SCALAR),
        _rule("in", "not_in", value=_VALUES),
        _rule("gt", "gte", "lt", "lte", value={"type": "number"}),
        _rule("exists", "not_exists"),
    ]
}
SEGMENTS_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: {"type": "array", "items": _RULE, "maxItems": MAX_RULES} for name in LISTS},
}


@extend_schema_field(SEGMENTS_SCHEMA)
class SegmentsField(JSONObjectField):
    """Rules on a request's metadata: all of `include` must hold, and none of `exclude`."""

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        problems = check_segments(value)
        if problems:
            raise serializers.ValidationError({path: [why] for path, why in problems.items()})
        return value


def _measure(validator: RegexValidator, help_text: str) -> StrictCharField:
    return StrictCharField(trim_whitespace=False, validators=[validator], help_text=help_text)


class ABVariantInputSerializer(StrictSerializer):
    """The control has neither a model nor parameters of its own."""

    name = StrictCharField(max_length=VARIANT_LENGTH, validators=[LABEL])
    is_control = StrictBooleanField(default=False)
    weight = StrictFloatField(min_value=0, max_value=1, help_text="The share of the units; all weights are 1 together.")
    version = StrictIntegerField(min_value=1, max_value=MAX_VERSION, help_text="A version's number.")
    model_id = StrictUUIDField(default=None, allow_null=True, help_text="In place of the version's.")
    parameters = ParametersField(default=dict, help_text="Go before the version's.")


class ABMetricSerializer(StrictSerializer):
    name = StrictCharField(max_length=METRIC_LENGTH)
    measure = _measure(MEASURE, "A built-in one, `score:<name>`, or `custom:<name>` of what is posted later.")
    aggregation = serializers.ChoiceField(
        [one.value for one in Aggregation],
        default=Aggregation.MEAN.value,
        help_text="Of a unit's several values: their mean, their sum, or all units' values together.",
    )
    direction = serializers.ChoiceField(
        DIRECTIONS, required=False, help_text="What is better; of built-in measures it is known."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        usual = DEFAULT_DIRECTIONS.get(attrs["measure"], Direction.INCREASE)
        return {**attrs, "direction": attrs.get("direction", usual.value)}


class ABGuardrailSerializer(StrictSerializer):
    """A variant may not be worse than the control by more than the margin."""

    name = StrictCharField(required=False, max_length=METRIC_LENGTH, help_text="The measure by default.")
    measure = _measure(GUARDRAIL_MEASURE, f"`{ERROR_RATE}`, `{LATENCY_P95}`, or that of a metric.")
    margin = StrictFloatField(min_value=0, max_value=LARGEST)
    is_relative = StrictBooleanField(
        default=False, help_text="Whether the margin is a share of the control's value, and not in the measure's unit."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return {"name": attrs["measure"], **attrs}


_VARIANT, _METRIC, _GUARDRAIL = ABVariantInputSerializer(), ABMetricSerializer(), ABGuardrailSerializer()


# Serializers within serializers would take a PATCH of a list for one of its parts.
@extend_schema_field(ABVariantInputSerializer)
class VariantField(serializers.Field[Any, Any, Any, Any]):
    def to_internal_value(self, data: Any) -> VariantWish:
        return VariantWish(**_VARIANT.run_validation(data))


@extend_schema_field(ABMetricSerializer)
class MetricField(serializers.Field[Any, Any, Any, Any]):
    def to_internal_value(self, data: Any) -> dict[str, Any]:
        return dict(_METRIC.run_validation(data))


@extend_schema_field(ABGuardrailSerializer)
class GuardrailField(serializers.Field[Any, Any, Any, Any]):
    def to_internal_value(self, data: Any) -> dict[str, Any]:
        return dict(_GUARDRAIL.run_validation(data))


class ABTestInputSerializer(StrictSerializer):
    """A draft. Variants must only fit together when it starts."""

    name = StrictCharField(max_length=200)
    hypothesis = StrictCharField(default="", allow_blank=True, max_length=5000)
    prompt_id = ScopedField(queryset=Prompt.objects.alive(), source="prompt")
    label = StrictCharField(  # type: ignore[assignment] # a field's name, not its option
        default=PRODUCTION, max_length=LABEL_LENGTH, validators=[LABEL], help_text="What promotion moves."
    )
    mode = serializers.ChoiceField(
        ABTest.Mode.choices,
        default=ABTest.Mode.FIXED,
        help_text="The weights of a `bandit` follow its results, which biases its estimates.",
    )
    exposed_share = StrictFloatField(
        default=1.0,
        min_value=0,
        max_value=1,
        help_text="The share of units that take part; more later reshuffles none.",
    )
    segments = SegmentsField(default=dict, help_text="Which requests take part, by their metadata.")
    variants = serializers.ListField(child=VariantField(), default=list, max_length=MAX_VARIANTS)
    metrics = serializers.ListField(child=MetricField(), min_length=1, max_length=MAX_METRICS)
    primary_metric = StrictCharField(
        default="", allow_blank=True, max_length=METRIC_LENGTH, help_text="The name of one; the first by default."
    )
    min_effect = StrictFloatField(
        min_value=SMALLEST_EFFECT,
        max_value=LARGEST,
        help_text="The smallest difference of the primary metric that matters, in its own unit.",
    )
    alpha = StrictFloatField(default=0.05, min_value=0.0001, max_value=0.25)
    power = StrictFloatField(default=0.8, min_value=0.5, max_value=0.99)
    guardrails = serializers.ListField(
        child=GuardrailField(),
        default=list,
        max_length=MAX_GUARDRAILS,
        help_text=f"One of {ERROR_RATE} with the margin 0.1 is always there, unless it is said otherwise.",
    )


class ABTestChangeSerializer(ABTestInputSerializer):
    """While it runs or is paused: name, hypothesis, exposed share and weights. Later name and hypothesis."""

    weights = serializers.DictField(
        child=StrictFloatField(min_value=0, max_value=1),
        required=False,
        allow_empty=False,
        help_text="Variant → share, of all variants. New ones begin a phase, by which results are weighed.",
    )
    reason = StrictCharField(required=False, allow_blank=True, max_length=REASON_LENGTH, help_text="Of the weights.")


class ReasonSerializer(StrictSerializer):
    reason = StrictCharField(max_length=REASON_LENGTH)


class ABStartSerializer(StrictSerializer):
    reason = StrictCharField(default="", allow_blank=True, max_length=REASON_LENGTH, help_text="Of the first phase.")


class ForceSerializer(StrictSerializer):
    """To force it needs a reason."""

    reason = StrictCharField(default="", allow_blank=True, max_length=REASON_LENGTH)
    force = StrictBooleanField(default=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["force"] and not attrs["reason"]:
            raise serializers.ValidationError({"reason": ["To force it needs a reason."]})
        return attrs


class ABResumeSerializer(ForceSerializer):
    """A test that was paused by itself goes on only when it is forced."""


class ABPromoteSerializer(ForceSerializer):
    """What speaks against the variant is passed over only when it is forced."""

    variant = StrictCharField(max_length=VARIANT_LENGTH, validators=[LABEL])


class ABVariantSerializer(serializers.Serializer):
    name = serializers.CharField()
    is_control = serializers.BooleanField()
    weight = serializers.FloatField(help_text="The share of new units now.")
    version = serializers.IntegerField()
    version_id = serializers.UUIDField()
    model_id = serializers.UUIDField(allow_null=True)
    parameters = ObjectField()
    planned_units = serializers.IntegerField(allow_null=True, help_text="By the weights of the start.")


@extend_schema_field({"type": "object", "additionalProperties": {"type": "number"}})
class WeightsField(JSONObjectField):
    pass


class ABPhaseSerializer(serializers.Serializer):
    """A while with the same weights."""

    number = serializers.IntegerField(min_value=1)
    weights = WeightsField()
    reason = serializers.CharField()
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    created_by = serializers.UUIDField(allow_null=True)


class ABTestSerializer(serializers.Serializer):
    """`paused_at` and `resumed_at` are of the last time."""

    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    prompt_id = serializers.UUIDField()
    prompt_slug = serializers.CharField()
    name = serializers.CharField()
    hypothesis = serializers.CharField()
    status = serializers.ChoiceField(ABTestStatus.choices)
    mode = serializers.ChoiceField(ABTest.Mode.choices)
    label = serializers.CharField()  # type: ignore[assignment] # a field's name, not its option
    exposed_share = serializers.FloatField()
    segments = SegmentsField()
    variants = ABVariantSerializer(many=True)
    metrics = ABMetricSerializer(many=True)
    primary_metric = serializers.CharField()
    min_effect = serializers.FloatField()
    alpha = serializers.FloatField()
    power = serializers.FloatField()
    guardrails = ABGuardrailSerializer(many=True)
    planned_units = serializers.IntegerField(allow_null=True, help_text="Over all variants; null where it is unknown.")
    phase = serializers.IntegerField(min_value=0)
    phases = ABPhaseSerializer(many=True)
    started_at = serializers.DateTimeField(allow_null=True)
    paused_at = serializers.DateTimeField(allow_null=True)
    pause_reason = serializers.CharField()
    resumed_at = serializers.DateTimeField(allow_null=True)
    resume_reason = serializers.CharField()
    stopped_at = serializers.DateTimeField(allow_null=True)
    stop_reason = serializers.CharField()
    concluded_at = serializers.DateTimeField(allow_null=True)
    conclusion_reason = serializers.CharField()
    winner = serializers.CharField()
    replaced_version = serializers.IntegerField(
        allow_null=True, help_text="Where the label was before the promotion; null where it was not set."
    )
    promoted_version = serializers.IntegerField(allow_null=True)
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: ABTest) -> dict[str, Any]:
        return representation.represent(instance)
