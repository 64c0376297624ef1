"""Datasets, versions, items and imports as they are read and written. Outputs are built by hand."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.datasets.items import InvalidItem, NewItem, parse_item, said_of
from apps.evaluations.datasets.services.executions import MAX_EXECUTIONS
from apps.evaluations.datasets.services.versions import content_of
from apps.evaluations.models import (
    SPLIT_LENGTH,
    Dataset,
    DatasetImport,
    DatasetItem,
    DatasetVersion,
    ImportFormat,
    ImportStatus,
    OnDuplicate,
)
from apps.executions.models import UNIT_ID_LENGTH, Source, Status
from apps.executions.serializers import AnyField
from apps.prompts.models import SLUG, SLUG_LENGTH, VARIANT_LENGTH
from apps.prompts.serializers import ObjectField, SchemaField, tags_field
from everquant.api.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MAX_GIVEN = 1_000
MAX_SHARES = 20
_ANY: dict[str, Any] = {}
_NOT_NULL = {"type": ["object", "array", "string", "number", "boolean"]}
_SPLIT = {"type": "string", "maxLength": SPLIT_LENGTH, "pattern": r"^[^\u0000]*$"}
_ITEM = {
    "type": "object",
    "required": ["input"],
    "additionalProperties": False,
    "properties": {
        "input": _NOT_NULL,
        "expected": _ANY,
        "output": _ANY,
        "metadata": {"type": "object", "additionalProperties": True},
        "split": _SPLIT,
    },
}


class DatasetInputSerializer(StrictSerializer):
    slug = StrictCharField(required=False, max_length=SLUG_LENGTH, validators=[SLUG])
    name = StrictCharField(max_length=200)
    description = StrictCharField(default="", allow_blank=True, max_length=5000)
    tags = tags_field(default=list)
    input_schema = SchemaField(default=None, allow_null=True, help_text="A JSON Schema of every item's input.")
    expected_schema = SchemaField(default=None, allow_null=True, help_text="A JSON Schema of what is expected.")


class DatasetSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    input_schema = SchemaField(allow_null=True)
    expected_schema = SchemaField(allow_null=True)
    version = serializers.IntegerField(allow_null=True, help_text="The number of the newest version.")
    item_count = serializers.IntegerField(help_text="Items of the newest version.")
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    deleted_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Dataset) -> dict[str, Any]:
        version = instance.current_version
        return {
            "id": instance.id,
            "organization_id": instance.organization_id,
            "slug": instance.slug,
            "name": instance.name,
            "description": instance.description,
            "tags": instance.tags,
            "input_schema": instance.input_schema,
            "expected_schema": instance.expected_schema,
            "version": version.version_number if version else None,
            "item_count": version.item_count if version else 0,
            "created_by": instance.created_by_id,
            "created_at": instance.created_at,
            "updated_at": instance.updated_at,
            "deleted_at": instance.deleted_at,
        }


class DatasetVersionSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    dataset_id = serializers.UUIDField()
    version_number = serializers.IntegerField()
    item_count = serializers.IntegerField()
    input_schema = SchemaField(allow_null=True)
    expected_schema = SchemaField(allow_null=True)
    message = serializers.CharField()
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: DatasetVersion) -> dict[str, Any]:
        return {
            "id": instance.id,
            "dataset_id": instance.dataset_id,
            "version_number": instance.version_number,
            "item_count": instance.item_count,
            "input_schema": instance.input_schema,
            "expected_schema": instance.expected_schema,
            "message": instance.message,
            "created_by": instance.created_by_id,
            "created_at": instance.created_at,
        }


class DatasetItemSerializer(serializers.Serializer):
    """`expected` and `output` are left out where there are none: null is a value."""

    id = serializers.UUIDField(help_text="Names this content in every version that has it.")
    dataset_id = serializers.UUIDField()
    input = AnyField()
    expected = AnyField(required=False)
    output = AnyField(required=False, help_text="A recorded answer, which needs no call to be evaluated.")
    metadata = ObjectField()
    split = serializers.CharField(allow_blank=True)
    since_version = serializers.IntegerField()
    until_version = serializers.IntegerField(allow_null=True, help_text="The first version without it.")
    source_execution_id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: DatasetItem) -> dict[str, Any]:
        return {
            "id": instance.id,
            "dataset_id": instance.dataset_id,
            "metadata": {},
            "split": "",
            **said_of(content_of(instance)),
            "since_version": instance.since,
            "until_version": instance.until,
            "source_execution_id": instance.source_execution_id,
            "created_at": instance.created_at,
        }


@extend_schema_field(_NOT_NULL)
class NotNullField(serializers.JSONField):
    pass


@extend_schema_field({"type": [*_NOT_NULL["type"], "null"]})
class NullableField(serializers.JSONField):
    pass


class ItemInputSerializer(StrictSerializer):
    """Checked as a whole by `parse_item`, once what is not given is known."""

    input = NotNullField()
    expected = NullableField(required=False, allow_null=True)
    output = NullableField(required=False, allow_null=True)
    metadata = ObjectField(required=False)
    split = StrictCharField(required=False, allow_blank=True, trim_whitespace=False, max_length=SPLIT_LENGTH)


@extend_schema_field({"type": "array", "minItems": 1, "maxItems": MAX_GIVEN, "items": _ITEM})
class ItemsField(serializers.Field[Any, Any, Any, Any]):
    """A thousand items, without a serializer for each."""

    def to_internal_value(self, data: Any) -> list[NewItem]:
        if not isinstance(data, list) or not 1 <= len(data) <= MAX_GIVEN:
            raise serializers.ValidationError(f"Must be a list of 1 to {MAX_GIVEN} items.")
        problems: dict[str, Any] = {}
        items = []
        for number, given in enumerate(data):
            try:
                items.append(parse_item(given))
            except InvalidItem as error:
                problems |= {f"{number}.{path}".rstrip("."): [why] for path, why in error.problems}
        if problems:
            raise serializers.ValidationError(problems)
        return items


def _duplicates_field() -> serializers.ChoiceField:
    return serializers.ChoiceField(
        OnDuplicate.choices,
        default=OnDuplicate.SKIP,
        help_text="Items with the input and expected value of another one: leave them out, or keep them.",
    )


def _message_field() -> StrictCharField:
    return StrictCharField(default="", allow_blank=True, max_length=500)


class AddItemsSerializer(StrictSerializer):
    items = ItemsField()
    message = _message_field()
    on_duplicate = _duplicates_field()


class DeleteItemsSerializer(StrictSerializer):
    ids = serializers.ListField(child=StrictUUIDField(), min_length=1, max_length=MAX_GIVEN)
    message = _message_field()


class WrittenSerializer(serializers.Serializer):
    """What a write has come to."""

    version = serializers.IntegerField(allow_null=True, help_text="The newest version, new or not.")
    changed_count = serializers.IntegerField(help_text="Items that were added, changed or deleted.")
    duplicate_count = serializers.IntegerField(help_text="Items that were left out.")
    item_count = serializers.IntegerField(help_text="Items of the newest version.")


@extend_schema_field(
    {
        "type": "object",
        "minProperties": 1,
        "maxProperties": MAX_SHARES,
        "propertyNames": {"type": "string", "minLength": 1, "maxLength": SPLIT_LENGTH, "pattern": r"^[^\u0000]+$"},
        "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000},
    }
)
class SharesField(ObjectField):
    def to_internal_value(self, data: Any) -> Any:
        shares = super().to_internal_value(data)
        if not 1 <= len(shares) <= MAX_SHARES:
            raise serializers.ValidationError(f"1 to {MAX_SHARES} splits.")
        for name, share in shares.items():
            if not 1 <= len(name) <= SPLIT_LENGTH:
                raise serializers.ValidationError({name: [f"A name has 1 to {SPLIT_LENGTH} characters."]})
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1_000_000:
                raise serializers.ValidationError({name: ["Must be a number above 0, at most a million."]})
        return shares


class SplitsSerializer(StrictSerializer):
    shares = SharesField(help_text="Split → its share of their sum: 0.8 and 0.2, or 80 and 20.")
    seed = StrictCharField(default="", allow_blank=True, trim_whitespace=False, max_length=200)
    message = _message_field()


def _count(lowest: int = 0) -> StrictIntegerField:
    return StrictIntegerField(required=False, min_value=lowest, max_value=2**31 - 1)


def _cost() -> serializers.FloatField:
    return serializers.FloatField(required=False, min_value=0, max_value=10**12)


def _text(longest: int) -> StrictCharField:
    return StrictCharField(required=False, allow_blank=True, trim_whitespace=False, max_length=longest)


class ExecutionCriteriaSerializer(StrictSerializer):
    """The filters of the list of executions, as JSON."""

    status = serializers.ChoiceField(Status.choices, required=False)
    source = serializers.ChoiceField(Source.choices, required=False)  # type: ignore[assignment] # a field's name, not its option
    is_streamed = StrictBooleanField(required=False)
    is_background = StrictBooleanField(required=False)
    is_cached = StrictBooleanField(required=False)
    batch_id = StrictUUIDField(required=False)
    retry_of_id = StrictUUIDField(required=False)
    workflow_id = StrictUUIDField(required=False)
    workflow_run_id = StrictUUIDField(required=False)
    prompt_id = StrictUUIDField(required=False)
    prompt_version_id = StrictUUIDField(required=False)
    version_number = _count(1)
    model_id = StrictUUIDField(required=False)
    provider_model = _text(200)
    created_by = StrictUUIDField(required=False)
    api_key_id = StrictUUIDField(required=False)
    ab_test_id = StrictUUIDField(required=False)
    ab_variant = _text(VARIANT_LENGTH)
    unit_id = _text(UNIT_ID_LENGTH)
    finish_reason = _text(32)
    error_code = _text(40)
    min_cost_usd = _cost()
    max_cost_usd = _cost()
    min_latency_ms = _count()
    max_latency_ms = _count()
    min_attempt_count = _count()
    created_after = serializers.DateTimeField(required=False)
    created_before = serializers.DateTimeField(required=False)
    metadata = _text(500)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """As query parameters."""
        checked = super().to_internal_value(data)
        return {name: _as_parameter(value) for name, value in checked.items()}


def _as_parameter(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


class FromExecutionsSerializer(StrictSerializer):
    filter = ExecutionCriteriaSerializer(default=dict)
    limit = StrictIntegerField(default=1000, min_value=1, max_value=MAX_EXECUTIONS, help_text="The newest so many.")
    with_output = StrictBooleanField(default=True, help_text="Record what came as `output`.")
    expected = serializers.ChoiceField(
        ["none", "output"], default="none", help_text="`output`: what came is what is expected from now on."
    )
    split = StrictCharField(default="", allow_blank=True, trim_whitespace=False, max_length=SPLIT_LENGTH)
    message = _message_field()
    on_duplicate = _duplicates_field()


class DatasetDiffCountsSerializer(serializers.Serializer):
    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    changed = serializers.IntegerField()


class DatasetChangeSerializer(serializers.Serializer):
    change = serializers.ChoiceField(["added", "removed", "changed"])
    before = DatasetItemSerializer(allow_null=True)
    after = DatasetItemSerializer(allow_null=True)


class DatasetDiffSerializer(serializers.Serializer):
    from_version = serializers.IntegerField(allow_null=True, help_text="Null: compared with nothing.")
    to_version = serializers.IntegerField()
    counts = DatasetDiffCountsSerializer()
    changes = DatasetChangeSerializer(many=True, help_text="One page, in the order of the items.")


class ImportErrorSerializer(serializers.Serializer):
    row = serializers.IntegerField(allow_null=True, help_text="Counted from 1; null for the file as a whole.")
    column = serializers.CharField(allow_blank=True, help_text="Of a CSV file, else the path within the item.")
    message = serializers.CharField()


class DatasetImportSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    dataset_id = serializers.UUIDField()
    file_name = serializers.CharField(allow_blank=True)
    format = serializers.ChoiceField(ImportFormat.choices)
    is_dry_run = serializers.BooleanField()
    status = serializers.ChoiceField(ImportStatus.choices)
    error_code = serializers.CharField(allow_null=True)
    error_message = serializers.CharField(allow_null=True)
    total_bytes = serializers.IntegerField()
    read_bytes = serializers.IntegerField(help_text="Of total_bytes: the progress.")
    row_count = serializers.IntegerField(help_text="Rows read so far.")
    item_count = serializers.IntegerField(help_text="Rows that became items, or would in a dry run.")
    duplicate_count = serializers.IntegerField(help_text="Rows left out because there is the same item already.")
    error_count = serializers.IntegerField(help_text="Rows that are not valid.")
    errors = ImportErrorSerializer(many=True, help_text="The first 100.")  # type: ignore[assignment] # a field's name
    version = serializers.IntegerField(allow_null=True, help_text="The version that it made.")
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: DatasetImport) -> dict[str, Any]:
        return {
            "id": instance.id,
            "dataset_id": instance.dataset_id,
            "file_name": instance.file_name,
            "format": instance.format,
            "is_dry_run": instance.is_dry_run,
            "status": instance.status,
            "error_code": instance.error_code or None,
            "error_message": instance.error_message or None,
            "total_bytes": instance.total_bytes,
            "read_bytes": instance.read_bytes,
            "row_count": instance.row_count,
            "item_count": instance.item_count,
            "duplicate_count": instance.duplicate_count,
            "error_count": instance.error_count,
            "errors": instance.errors,
            "version": instance.version.version_number if instance.version else None,
            "created_by": instance.created_by_id,
            "created_at": instance.created_at,
            "started_at": instance.started_at,
            "finished_at": instance.finished_at,
        }
