"""Evaluators and score configs as they are read and written. Outputs are built by hand, see `representation`."""

import re
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.models import NAME_LENGTH, Direction, ScoreConfig, ScoreType
from apps.evaluations.scoring import representation
from apps.executions.serializers import AnyField, FailureSerializer, MetadataField, ObjectField
from apps.prompts.models import SLUG, SLUG_LENGTH
from apps.prompts.serializers import MAX_VERSION
from everquant.api.envelope import dumps
from everquant.api.serializers import ScopedField, StrictCharField, StrictIntegerField, StrictSerializer

MAX_CONFIG_BYTES = 64 * 1024
MAX_CATEGORIES = 100
MAX_CATEGORY_LABEL = 200
MAX_NUMBER = 1e18
_KIND_LENGTH = 64
_COST = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10})?")


class ConfigField(ObjectField):
    """In the form of the kind's `config_schema`."""

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if len(dumps(value)) > MAX_CONFIG_BYTES:
            raise serializers.ValidationError(f"At most {MAX_CONFIG_BYTES} bytes of JSON.")
        return value


class NumberField(serializers.FloatField):
    """A JSON number: DRF would take strings and booleans too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_value": -MAX_NUMBER, "max_value": MAX_NUMBER, **options})

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return float(super().to_internal_value(data))


@extend_schema_field({"type": "string", "pattern": f"^{_COST.pattern}$"})
class CostField(serializers.Field):
    """USD as a decimal string."""

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str) or not _COST.fullmatch(data):
            raise serializers.ValidationError("Must be a string of at most 10 digits, and 10 after the point.")
        return Decimal(data)

    def to_representation(self, value: Decimal) -> str:
        return f"{value:f}"


class KindSerializer(serializers.Serializer):
    kind = serializers.CharField()
    version = serializers.IntegerField(help_text="Grows when the same output may be scored otherwise than before.")
    description = serializers.CharField()
    config_schema = ObjectField(help_text="The JSON Schema of a configuration.")
    score_type = serializers.ChoiceField(
        ScoreType.choices, help_text="Never text; the usual one, where the configuration decides."
    )
    direction = serializers.ChoiceField(Direction.choices, help_text="Which numbers are better.")
    needs_expected = serializers.BooleanField()
    calls_models = serializers.BooleanField(help_text="Its calls are recorded and paid for.")
    compares_two = serializers.BooleanField(help_text="Compares with the baseline's output.")
    measures_call = serializers.BooleanField(help_text="Measures the call that gave the output.")


class KindsSerializer(serializers.Serializer):
    kinds = KindSerializer(many=True)


class EvaluatorInputSerializer(StrictSerializer):
    """Without a slug it is made of the name. The kind is fixed."""

    slug = StrictCharField(required=False, max_length=SLUG_LENGTH, validators=[SLUG])
    name = StrictCharField(max_length=200)
    description = StrictCharField(default="", allow_blank=True, max_length=5000)
    kind = StrictCharField(max_length=_KIND_LENGTH)
    config = ConfigField(default=dict, help_text="Another one makes a new version.")
    score_config_id = ScopedField(
        queryset=ScoreConfig.objects.alive(), source="score_config", default=None, allow_null=True
    )
    message = StrictCharField(default="", allow_blank=True, max_length=500, help_text="Of the new version.")


class EvaluatorSummarySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    kind = serializers.CharField()
    version = serializers.IntegerField(help_text="The number of the current version.")
    score_type = serializers.ChoiceField(ScoreType.choices, help_text="Never text.")
    direction = serializers.ChoiceField(Direction.choices)
    score_config_id = serializers.UUIDField(allow_null=True)
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return representation.summarize_evaluator(instance)


class EvaluatorSerializer(EvaluatorSummarySerializer):
    config = ObjectField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return representation.represent_evaluator(instance)


class EvaluatorVersionSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    evaluator_id = serializers.UUIDField()
    version_number = serializers.IntegerField()
    kind_version = serializers.IntegerField(help_text="The version that the kind had.")
    config = ObjectField()
    score_config_id = serializers.UUIDField(allow_null=True)
    message = serializers.CharField()
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return representation.represent_version(instance)


class MaterialSerializer(StrictSerializer):
    """What is scored. An `expected` or `other_output` that is not given is not there, which is not null."""

    output = AnyField(allow_null=True)
    expected = AnyField(required=False, allow_null=True)
    input = AnyField(required=False, allow_null=True)
    metadata = MetadataField(default=dict)
    other_output = AnyField(required=False, allow_null=True, help_text="The baseline's.")
    latency_ms = StrictIntegerField(default=None, allow_null=True, min_value=0, max_value=2**31 - 1)
    cost_usd = CostField(default=None, allow_null=True)


class TryEvaluatorSerializer(MaterialSerializer):
    """Of the current version, of `version`, or of a configuration that is not stored."""

    version = StrictIntegerField(default=None, allow_null=True, min_value=1, max_value=MAX_VERSION)
    config = ConfigField(default=None, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["version"] is not None and attrs["config"] is not None:
            raise serializers.ValidationError({"config": ["Either a version or a configuration."]})
        return attrs


class TryKindSerializer(MaterialSerializer):
    kind = StrictCharField(max_length=_KIND_LENGTH)
    config = ConfigField(default=dict)


class TriedScoreSerializer(serializers.Serializer):
    score = serializers.FloatField()
    passed = serializers.BooleanField(allow_null=True)
    label = serializers.CharField(allow_null=True)  # type: ignore[assignment] # a field's name, not its option
    reason = serializers.CharField(allow_blank=True)
    details = AnyField(help_text="The evaluator's own.")


class TrialSerializer(serializers.Serializer):
    """Either a score, or the error that there is instead of one."""

    score = TriedScoreSerializer(allow_null=True)
    error = FailureSerializer(allow_null=True)
    cost_usd = serializers.CharField(allow_null=True, help_text="Of the models that the evaluator called.")
    execution_ids = serializers.ListField(child=serializers.UUIDField())

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return representation.represent_trial(instance)


class CategorySerializer(StrictSerializer):
    label = StrictCharField(max_length=MAX_CATEGORY_LABEL)  # type: ignore[assignment] # a field's name, not its option
    value = NumberField(default=None, allow_null=True, help_text="What the category counts as.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A part of a PATCH is whole all the same."""
        if "label" not in attrs:
            raise serializers.ValidationError({"label": [self.fields["label"].error_messages["required"]]})
        return {"value": None, **attrs}


class ScoreConfigInputSerializer(StrictSerializer):
    """The ends of the range are in it. Categories are for categorical scores only, a range for numeric ones."""

    name = StrictCharField(max_length=NAME_LENGTH)
    description = StrictCharField(default="", allow_blank=True, max_length=5000)
    type = serializers.ChoiceField(ScoreType.choices)
    minimum = NumberField(default=None, allow_null=True)
    maximum = NumberField(default=None, allow_null=True)
    categories = serializers.ListField(child=CategorySerializer(), default=list, max_length=MAX_CATEGORIES)
    direction = serializers.ChoiceField(Direction.choices, default=Direction.HIGHER)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        names = ("type", "minimum", "maximum", "categories")
        whole = {name: attrs.get(name, getattr(self.instance, name, None)) for name in names}
        problems = _problems_of(whole)
        if problems:
            raise serializers.ValidationError({name: [why] for name, why in problems.items()})
        if "categories" in attrs:
            attrs["categories"] = [dict(category) for category in attrs["categories"]]
        return attrs


def _problems_of(config: dict[str, Any]) -> dict[str, str]:
    problems = {}
    minimum, maximum, categories = config["minimum"], config["maximum"], config["categories"] or []
    if config["type"] != ScoreType.NUMERIC:
        problems = {
            name: "Only numeric scores have a range." for name in ("minimum", "maximum") if config[name] is not None
        }
    elif minimum is not None and maximum is not None and minimum >= maximum:
        problems["maximum"] = "Must be more than the minimum."
    labels = {category["label"] for category in categories}
    if config["type"] != ScoreType.CATEGORICAL and categories:
        problems["categories"] = "Only categorical scores have categories."
    elif config["type"] == ScoreType.CATEGORICAL and not categories:
        problems["categories"] = "At least one category is needed."
    elif len(labels) < len(categories):
        problems["categories"] = "Two categories have the same label."
    return problems


class StoredCategorySerializer(serializers.Serializer):
    label = serializers.CharField()  # type: ignore[assignment] # a field's name, not its option
    value = serializers.FloatField(allow_null=True)


class ScoreConfigSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    type = serializers.ChoiceField(ScoreType.choices)
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    categories = StoredCategorySerializer(many=True)
    direction = serializers.ChoiceField(Direction.choices)
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return representation.represent_score_config(instance)
