"""Batches as they are asked for and answered."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.executions.models import MAX_ROWS, UNIT_ID_LENGTH, Batch
from apps.executions.orchestrator.command import Row
from apps.executions.orchestrator.resolution import MOST_PROBLEMS
from apps.executions.serializers import MAX_CACHE_TTL_S, MAX_METADATA_KEYS, MetadataField, ParametersField
from apps.prompts.models import LABEL, LABEL_LENGTH, SLUG, SLUG_LENGTH
from everquant.api.serializers import StrictCharField, StrictIntegerField, StrictSerializer, StrictUUIDField

_FREE = {"type": "object", "additionalProperties": True}
_ROW: dict[str, Any] = {
    "type": "object",
    "properties": {
        "variables": _FREE,
        "metadata": {**_FREE, "maxProperties": MAX_METADATA_KEYS},
        "unit_id": {"type": "string", "maxLength": UNIT_ID_LENGTH, "pattern": r"^[^\u0000]*$"},
    },
    "additionalProperties": False,
}
_METADATA = MetadataField()


@extend_schema_field({"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": _ROW})
class RowsField(serializers.Field[Any, Any, Any, Any]):
    """Ten thousand rows, without a serializer for each."""

    def to_internal_value(self, data: Any) -> list[Row]:
        if not isinstance(data, list) or not 1 <= len(data) <= MAX_ROWS:
            raise serializers.ValidationError(f"Must be a list of 1 to {MAX_ROWS} rows.")
        problems: dict[str, Any] = {}
        rows = []
        for number, given in enumerate(data):
            try:
                rows.append(_row(given))
            except serializers.ValidationError as error:
                problems[str(number)] = error.detail
                if len(problems) >= MOST_PROBLEMS:
                    break
        if problems:
            raise serializers.ValidationError(problems)
        return rows


def _row(given: Any) -> Row:
    if not isinstance(given, dict):
        raise serializers.ValidationError("Must be a JSON object.")
    unknown = given.keys() - _ROW["properties"].keys()
    if unknown:
        raise serializers.ValidationError({name: ["Unknown field."] for name in sorted(unknown)})
    variables, unit_id = given.get("variables", {}), given.get("unit_id", "")
    if not isinstance(variables, dict):
        raise serializers.ValidationError({"variables": ["Must be a JSON object."]})
    if not isinstance(unit_id, str) or len(unit_id) > UNIT_ID_LENGTH:
        raise serializers.ValidationError({"unit_id": [f"Must be text of at most {UNIT_ID_LENGTH} characters."]})
    # as it is in a single execution: the same unit
    return Row(variables=variables, unit_id=unit_id.strip(), metadata=_metadata(given))


def _metadata(given: dict[str, Any]) -> Any:
    try:
        return _METADATA.run_validation(given["metadata"]) if "metadata" in given else {}
    except serializers.ValidationError as error:
        raise serializers.ValidationError({"metadata": error.detail}) from None


class BatchInputSerializer(StrictSerializer):
    """What all rows have in common, and the rows. Exactly one of `prompt_id` and `slug` names the prompt.

    Version, label, parameters and `cache_ttl_s` are as in an execution.
    """

    name = StrictCharField(default="", allow_blank=True, max_length=200)
    prompt_id = StrictUUIDField(required=False)
    slug = StrictCharField(required=False, max_length=SLUG_LENGTH, validators=[SLUG])
    version = StrictIntegerField(default=None, allow_null=True, min_value=1, max_value=2**31 - 1)
    label = StrictCharField(default=None, allow_null=True, max_length=LABEL_LENGTH, validators=[LABEL])  # type: ignore[assignment] # a field's name, not its option
    model_id = StrictUUIDField(default=None, allow_null=True)
    parameters = ParametersField(default=dict)
    cache_ttl_s = StrictIntegerField(default=None, allow_null=True, min_value=1, max_value=MAX_CACHE_TTL_S)
    rows = RowsField()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("prompt_id" in attrs) == ("slug" in attrs):
            raise serializers.ValidationError({"prompt_id": ["Give either this or slug."]})
        return attrs


class BatchFileSerializer(BatchInputSerializer):
    """As a form: `parameters` is JSON, and the rows come in a file."""

    rows: Any = None
    file = serializers.FileField(
        help_text="CSV with a header of variables (.csv), or JSON Lines with a row object each (.jsonl)."
    )


class BatchInputExtension(OpenApiSerializerExtension):
    """What the fields alone cannot say: the prompt is named once."""

    target_class = BatchInputSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        schema["oneOf"] = [{"required": ["prompt_id"]}, {"required": ["slug"]}]
        return schema


class BatchCountsSerializer(serializers.Serializer):
    queued = serializers.IntegerField(min_value=0)
    running = serializers.IntegerField(min_value=0)
    succeeded = serializers.IntegerField(min_value=0)
    failed = serializers.IntegerField(min_value=0)
    cancelled = serializers.IntegerField(min_value=0)


class BatchSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prompt_id = serializers.UUIDField()
    version_number = serializers.IntegerField(
        allow_null=True, help_text="Null where an A/B test gave the rows several versions."
    )
    model_id = serializers.UUIDField(allow_null=True, help_text="Null where an A/B test gave the rows several models.")
    row_count = serializers.IntegerField(min_value=1)
    counts = BatchCountsSerializer()
    cost_usd = serializers.CharField(help_text="So far, in decimals.")
    retry_of_id = serializers.UUIDField(allow_null=True)
    created_by = serializers.UUIDField(allow_null=True)
    api_key_id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    cancel_requested_at = serializers.DateTimeField(allow_null=True)
    estimated_end_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Batch) -> dict[str, Any]:
        return instance.summary()
