"""Prompts as they are read and written. Outputs are built by hand: no field is copied for an instance."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.models.models import LLMModel
from apps.prompts.models import LABEL, LABEL_LENGTH, MAX_TAGS, SLUG, SLUG_LENGTH, TAG_LENGTH, Prompt, PromptVersion
from apps.prompts.published import version_definition
from apps.prompts.rendering.limits import (
    MAX_CALL_ID,
    MAX_IMAGE_CHARS,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_TEMPLATE_CHARS,
    MAX_TOOL_CALLS,
)
from apps.prompts.rendering.messages import IMAGE_DETAILS
from apps.prompts.services import OnConflict
from apps.prompts.services.transfer import DOCUMENT, MAX_PROMPTS
from everquant.api.serializers import (
    JSONObjectField,
    ScopedField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
)

MAX_VERSION = 999_999_999
_TEXT = {"type": "string", "maxLength": MAX_TEMPLATE_CHARS}
_TEXT_PART = {
    "type": "object",
    "required": ["type", "text"],
    "additionalProperties": False,
    "properties": {"type": {"type": "string", "const": "text"}, "text": _TEXT},
}
_IMAGE_PART = {
    "type": "object",
    "required": ["type", "image_url"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "const": "image_url"},
        "image_url": {
            "type": "object",
            "required": ["url"],
            "additionalProperties": False,
            "properties": {
                "url": {"type": "string", "pattern": "^(https?://|data:image/)", "maxLength": MAX_IMAGE_CHARS},
                "detail": {"type": "string", "enum": list(IMAGE_DETAILS)},
            },
        },
    },
}
_PARTS = {"type": "array", "items": {"oneOf": [_TEXT_PART, _IMAGE_PART]}, "minItems": 1, "maxItems": MAX_PARTS}
_CONTENT = {"oneOf": [_TEXT, _PARTS]}
_CALL_ID = {"type": "string", "minLength": 1, "maxLength": MAX_CALL_ID}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": [*properties], "additionalProperties": False, "properties": properties}


_CALL = _object(
    id=_CALL_ID, type={"type": "string", "const": "function"}, function=_object(name=_CALL_ID, arguments=_TEXT)
)
_CALLING = _object(
    role={"type": "string", "const": "assistant"},
    tool_calls={"type": "array", "items": _CALL, "minItems": 1, "maxItems": MAX_TOOL_CALLS},
)
_CALLING["properties"]["content"] = {"oneOf": [_TEXT, _PARTS, {"type": "null"}]}
_MESSAGE = {
    "oneOf": [
        _object(role={"type": "string", "enum": ["system", "user", "assistant"]}, content=_CONTENT),
        _CALLING,
        _object(role={"type": "string", "const": "tool"}, tool_call_id=_CALL_ID, content=_CONTENT),
    ]
}
MESSAGES = {"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": MAX_MESSAGES}
_TOOL = {
    "type": "object",
    "required": ["type", "function"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "const": "function"},
        "function": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
                "description": {"type": "string"},
                "parameters": {"type": "object"},
                "strict": {"type": "boolean"},
            },
        },
    },
}


@extend_schema_field(MESSAGES)
class MessagesField(serializers.JSONField):
    pass


@extend_schema_field({"type": "array", "items": _TOOL, "maxItems": 128})
class ToolsField(serializers.JSONField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": True})
class SchemaField(serializers.JSONField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": True})
class ObjectField(JSONObjectField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}})
class LabelsField(JSONObjectField):
    pass


def tags_field(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=StrictCharField(max_length=TAG_LENGTH), max_length=MAX_TAGS, **options)


class DefinitionSerializer(StrictSerializer):
    """What makes a version. Exactly one of content and messages."""

    content = StrictCharField(
        default=None, allow_null=True, allow_blank=True, trim_whitespace=False, max_length=MAX_TEMPLATE_CHARS
    )
    messages = MessagesField(default=None, allow_null=True)
    format = serializers.ChoiceField(PromptVersion.Format.choices, default=PromptVersion.Format.SIMPLE)
    model_id = ScopedField(queryset=LLMModel.objects.alive(), source="model", default=None, allow_null=True)
    parameters = ObjectField(default=dict)
    tools = ToolsField(default=list)  # type: ignore[arg-type] # the stubs know JSON objects only
    response_schema = SchemaField(default=None, allow_null=True)
    variables_schema = SchemaField(default=None, allow_null=True)


class VersionInputSerializer(DefinitionSerializer):
    """A version: what is not given is as in the current one."""

    message = StrictCharField(required=False, default="", allow_blank=True, max_length=500)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "partial": True})


class PromptInputSerializer(DefinitionSerializer):
    slug = StrictCharField(required=False, max_length=SLUG_LENGTH, validators=[SLUG])
    name = StrictCharField(max_length=200)
    description = StrictCharField(default="", allow_blank=True, max_length=5000)
    type = serializers.ChoiceField(Prompt.Type.choices, required=False)
    tags = tags_field(default=list)
    is_active = StrictBooleanField(default=True)
    message = StrictCharField(required=False, allow_blank=True, max_length=500)


class VariableSerializer(serializers.Serializer):
    name = serializers.CharField()
    type = serializers.CharField(help_text="A JSON type, or `any` when no schema says more.")
    required = serializers.BooleanField()  # type: ignore[assignment] # a field's name, not its option


class DefinitionOutputSerializer(serializers.Serializer):
    content = serializers.CharField(allow_null=True)
    messages = MessagesField(allow_null=True)
    format = serializers.ChoiceField(PromptVersion.Format.choices)
    model_id = serializers.UUIDField(allow_null=True)
    parameters = ObjectField()
    tools = ToolsField()
    response_schema = SchemaField(allow_null=True)
    variables_schema = SchemaField(allow_null=True)
    variables = VariableSerializer(many=True)


class PromptSerializer(DefinitionOutputSerializer):
    """A prompt with what its current version says."""

    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    type = serializers.ChoiceField(Prompt.Type.choices)
    version = serializers.IntegerField(help_text="The number of the current version.")
    labels = LabelsField(help_text="Label → version number.")
    tags = serializers.ListField(child=serializers.CharField())
    is_active = serializers.BooleanField()
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    deleted_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Prompt) -> dict[str, Any]:
        return {
            "id": instance.id,
            "organization_id": instance.organization_id,
            "slug": instance.slug,
            "name": instance.name,
            "description": instance.description,
            "type": instance.type,
            "version": instance.current_version.version_number,
            **version_definition(instance.current_version),
            "labels": instance.labels,
            "tags": instance.tags,
            "is_active": instance.is_active,
            "created_by": instance.created_by_id,
            "created_at": instance.created_at,
            "updated_at": instance.updated_at,
            "deleted_at": instance.deleted_at,
        }


class PublishedPromptSerializer(DefinitionOutputSerializer):
    """A prompt with what the version asked for says; see `published.published_prompt`."""

    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    type = serializers.ChoiceField(Prompt.Type.choices)
    version = serializers.IntegerField()
    version_id = serializers.UUIDField()
    labels = LabelsField()
    tags = serializers.ListField(child=serializers.CharField())


class ABChoiceSerializer(serializers.Serializer):
    """A unit's variant in an A/B test. `phase` is that of the unit's first assignment."""

    id = serializers.UUIDField(help_text="Of the test.")
    variant = serializers.CharField()
    phase = serializers.IntegerField(min_value=1)


class ServedPromptSerializer(PublishedPromptSerializer):
    """Model and parameters are those of the variant where it has its own."""

    ab_test = ABChoiceSerializer(allow_null=True)


class BundleSerializer(serializers.Serializer):
    label = serializers.CharField()  # type: ignore[assignment] # a field's name, not its option
    prompts = serializers.DictField(child=PublishedPromptSerializer(), help_text="Slug → prompt.")


class PromptVersionSerializer(DefinitionOutputSerializer):
    id = serializers.UUIDField()
    prompt_id = serializers.UUIDField()
    version_number = serializers.IntegerField()
    message = serializers.CharField()
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: PromptVersion) -> dict[str, Any]:
        return {
            "id": instance.id,
            "prompt_id": instance.prompt_id,
            "version_number": instance.version_number,
            **version_definition(instance),
            "message": instance.message,
            "created_by": instance.created_by_id,
            "created_at": instance.created_at,
        }


class RestoreVersionSerializer(StrictSerializer):
    message = StrictCharField(default="", allow_blank=True, max_length=500)


class DuplicateSerializer(StrictSerializer):
    slug = StrictCharField(required=False, max_length=SLUG_LENGTH, validators=[SLUG])
    name = StrictCharField(required=False, max_length=200)


class SetLabelSerializer(StrictSerializer):
    version = StrictIntegerField(min_value=1, max_value=MAX_VERSION)
    expected_version = StrictIntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MAX_VERSION,
        help_text="Move only from this version; null: only when the label is not set.",
    )
    reason = StrictCharField(default="", allow_blank=True, max_length=500)


class LabelEventSerializer(serializers.Serializer):
    from_version = serializers.IntegerField(allow_null=True)
    to_version = serializers.IntegerField(allow_null=True)
    reason = serializers.CharField()
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()


class LabelSerializer(serializers.Serializer):
    name = serializers.CharField()
    version = serializers.IntegerField(allow_null=True, help_text="Null for a label that was removed.")
    is_protected = serializers.BooleanField()
    history = LabelEventSerializer(many=True, help_text="The last 100 moves, newest first.")


class RenderSerializer(StrictSerializer):
    variables = ObjectField(default=dict)
    version = StrictIntegerField(required=False, min_value=1, max_value=MAX_VERSION)
    label = StrictCharField(required=False, max_length=LABEL_LENGTH, validators=[LABEL])  # type: ignore[assignment] # a name


class RenderedSerializer(serializers.Serializer):
    prompt_id = serializers.UUIDField()
    version_number = serializers.IntegerField()
    content = serializers.CharField(allow_null=True, help_text="The rendered text of a text prompt.")
    messages = MessagesField(help_text="The rendered messages; of a text prompt one message of the user.")


class DiffLineSerializer(serializers.Serializer):
    op = serializers.ChoiceField([" ", "-", "+"])
    text = serializers.CharField(allow_blank=True)


class DiffHunkSerializer(serializers.Serializer):
    from_line = serializers.IntegerField()
    from_count = serializers.IntegerField()
    to_line = serializers.IntegerField()
    to_count = serializers.IntegerField()
    lines = DiffLineSerializer(many=True)


class DiffChangeSerializer(serializers.Serializer):
    field = serializers.CharField(help_text="Such as `content`, `messages.2.content`, `parameters`.")
    change = serializers.ChoiceField(["added", "removed", "changed"])
    hunks = DiffHunkSerializer(many=True)


class DiffSerializer(serializers.Serializer):
    from_version = serializers.IntegerField(allow_null=True, help_text="Null: compared with nothing.")
    to_version = serializers.IntegerField()
    changes = DiffChangeSerializer(many=True)


class TransferVersionSerializer(DefinitionSerializer):
    """A version of an import; `model` is a model's slug."""

    model_id = None  # type: ignore[assignment] # a document names models by slug
    version_number = StrictIntegerField(min_value=1, max_value=MAX_VERSION)
    model = StrictCharField(default=None, allow_null=True, max_length=100)
    message = StrictCharField(default="", allow_blank=True, max_length=500)


class TransferPromptSerializer(StrictSerializer):
    slug = StrictCharField(max_length=SLUG_LENGTH, validators=[SLUG])
    name = StrictCharField(max_length=200)
    description = StrictCharField(default="", allow_blank=True, max_length=5000)
    tags = tags_field(default=list)
    is_active = StrictBooleanField(default=True)
    labels = LabelsField(default=dict)
    versions = TransferVersionSerializer(many=True, allow_empty=False)

    def validate_labels(self, labels: dict[str, Any]) -> dict[str, int]:
        for name, number in labels.items():
            LABEL(name)
            if len(name) > LABEL_LENGTH or isinstance(number, bool) or not isinstance(number, int):
                raise serializers.ValidationError({name: ["A label of at most 64 characters, and a version number."]})
        return labels


class ExportSerializer(serializers.Serializer):
    document = serializers.ChoiceField([DOCUMENT])
    prompts = TransferPromptSerializer(many=True)


class ImportSerializer(StrictSerializer):
    document = serializers.ChoiceField([DOCUMENT], default=DOCUMENT)
    on_conflict = serializers.ChoiceField([choice.value for choice in OnConflict], default=OnConflict.FAIL.value)
    prompts = TransferPromptSerializer(many=True, allow_empty=False, max_length=MAX_PROMPTS)  # type: ignore[call-arg] # a list's


class ImportedPromptSerializer(serializers.Serializer):
    slug = serializers.CharField()
    id = serializers.UUIDField()
    outcome = serializers.ChoiceField(["created", "updated", "unchanged", "skipped"])


class ImportResultSerializer(serializers.Serializer):
    prompts = ImportedPromptSerializer(many=True)


class PromptInputExtension(OpenApiSerializerExtension):
    """What the fields alone cannot say of a whole prompt: exactly one of content and messages."""

    target_class = PromptInputSerializer

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        if not self.target.partial:
            null = {"type": "null"}
            schema["oneOf"] = [
                {
                    "required": ["content"],
                    "properties": {"content": {"type": "string"}, "messages": null, "type": {"const": "text"}},
                },
                {
                    "required": ["messages"],
                    "properties": {"messages": {"type": "array"}, "content": null, "type": {"const": "chat"}},
                },
            ]
        return schema
