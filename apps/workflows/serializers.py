"""Workflows and their versions as they are read and written. Outputs are built by hand, see `representation`."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.executions.serializers import AnyField
from apps.prompts.models import LABEL, LABEL_LENGTH, SLUG, SLUG_LENGTH
from apps.prompts.serializers import LabelsField, tags_field
from apps.workflows import representation
from apps.workflows.definition.transfer import KIND
from apps.workflows.models import Workflow, WorkflowVersion
from everquant.api.envelope import dumps
from everquant.api.serializers import (
    JSONObjectField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
)

MAX_DEFINITION_BYTES = 1024 * 1024
MAX_CONCURRENT_RUNS = 10_000
MAX_PUBLISHED_LABELS = 10
ANY_OBJECT = {"type": "object", "additionalProperties": True}


@extend_schema_field(ANY_OBJECT)
class ObjectField(JSONObjectField):
    pass


@extend_schema_field(ANY_OBJECT)
class DefinitionField(JSONObjectField):
    """Stored as it is given, valid or not."""

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if len(dumps(value)) > MAX_DEFINITION_BYTES:
            raise serializers.ValidationError(f"At most {MAX_DEFINITION_BYTES} bytes of JSON.")
        return value


@extend_schema_field(
    {
        "type": "object",
        "required": ["from", "to", "handle"],
        "properties": {name: {"type": "string"} for name in ("from", "to", "handle")},
    }
)
class EdgeField(serializers.JSONField):
    pass


class WorkflowInputSerializer(StrictSerializer):
    slug = StrictCharField(required=False, max_length=SLUG_LENGTH, validators=[SLUG])
    name = StrictCharField(max_length=200)
    description = StrictCharField(default="", allow_blank=True, max_length=5000)
    tags = tags_field(default=list)
    definition = DefinitionField(source="draft", help_text="The draft. It may be invalid until it is published.")
    is_active = StrictBooleanField(default=True)
    max_concurrent_runs = StrictIntegerField(
        default=None,
        allow_null=True,
        min_value=1,
        max_value=MAX_CONCURRENT_RUNS,
        help_text="Null: no own limit.",
    )


class WorkflowSummarySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    version = serializers.IntegerField(allow_null=True, help_text="The number of the current version.")
    labels = LabelsField(help_text="Label → version number.")
    has_unpublished_changes = serializers.BooleanField(help_text="The draft is not what the current version says.")
    tags = serializers.ListField(child=serializers.CharField())
    is_active = serializers.BooleanField()
    max_concurrent_runs = serializers.IntegerField(allow_null=True)
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    deleted_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Workflow) -> dict[str, Any]:
        return representation.summarize_workflow(instance)


class WorkflowSerializer(WorkflowSummarySerializer):
    definition = ObjectField(help_text="The draft.")

    def to_representation(self, instance: Workflow) -> dict[str, Any]:
        return representation.represent_workflow(instance)


class WorkflowVersionSummarySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    workflow_id = serializers.UUIDField()
    version_number = serializers.IntegerField()
    message = serializers.CharField()
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: WorkflowVersion) -> dict[str, Any]:
        return representation.summarize_version(instance)


class WorkflowVersionSerializer(WorkflowVersionSummarySerializer):
    definition = ObjectField()
    pins = ObjectField(help_text="Node id → what its references were resolved to when it was published.")

    def to_representation(self, instance: WorkflowVersion) -> dict[str, Any]:
        return representation.represent_version(instance)


class PublishSerializer(StrictSerializer):
    message = StrictCharField(default="", allow_blank=True, max_length=500)
    labels = serializers.ListField(
        child=StrictCharField(max_length=LABEL_LENGTH, validators=[LABEL]),
        default=list,
        max_length=MAX_PUBLISHED_LABELS,
        help_text="Are moved to the version.",
    )


class ValidateSerializer(StrictSerializer):
    definition = DefinitionField()


class ProblemSerializer(serializers.Serializer):
    code = serializers.CharField()
    pointer = serializers.CharField(allow_blank=True, help_text="The JSON pointer of the place in the definition.")
    message = serializers.CharField()


class ValidatedSerializer(serializers.Serializer):
    is_valid = serializers.BooleanField()  # type: ignore[assignment] # a field's name, not the method
    problems = ProblemSerializer(many=True)


class ChangeSerializer(serializers.Serializer):
    """Without `before` it was added, without `after` removed."""

    pointer = serializers.CharField(allow_blank=True)
    before = AnyField(required=False)
    after = AnyField(required=False)


class ChangedNodeSerializer(serializers.Serializer):
    id = serializers.CharField()
    changes = ChangeSerializer(many=True)


class ChangedNodesSerializer(serializers.Serializer):
    added = serializers.ListField(child=serializers.CharField())
    removed = serializers.ListField(child=serializers.CharField())
    changed = ChangedNodeSerializer(many=True)


class ChangedEdgesSerializer(serializers.Serializer):
    added = serializers.ListField(child=EdgeField())
    removed = serializers.ListField(child=EdgeField())


class WorkflowDiffSerializer(serializers.Serializer):
    from_version = serializers.IntegerField(allow_null=True, help_text="Null: compared with nothing.")
    to_version = serializers.IntegerField()
    nodes = ChangedNodesSerializer()
    edges = ChangedEdgesSerializer()
    inputs = ChangeSerializer(many=True)
    settings = ChangeSerializer(many=True)
    outputs = ChangeSerializer(many=True)
    is_layout_changed = serializers.BooleanField()


class DiagramSerializer(serializers.Serializer):
    mermaid = serializers.CharField(help_text="A flowchart in Mermaid's language.")


class WorkflowDocumentSerializer(StrictSerializer):
    """A workflow out of a file; `export` writes it."""

    kind = serializers.ChoiceField([KIND])
    slug = StrictCharField(max_length=SLUG_LENGTH, validators=[SLUG])
    name = StrictCharField(max_length=200)
    description = StrictCharField(default="", allow_blank=True, max_length=5000)
    tags = tags_field(default=list)
    definition = DefinitionField()


class ImportedWorkflowSerializer(serializers.Serializer):
    slug = serializers.CharField()
    id = serializers.UUIDField()
    version = serializers.IntegerField(allow_null=True, help_text="The number of the current version.")
    outcome = serializers.ChoiceField(["created", "updated", "unchanged", "skipped"])
