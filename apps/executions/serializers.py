"""Executions and scores as they are read and written. Outputs are built by hand: no field is copied for a row."""

from typing import Any

import orjson
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.executions.models import UNIT_ID_LENGTH, Execution, Score, Source, Status
from apps.executions.representation import represent_stored, summarize
from apps.models.parameters import MAX_PARAMETERS_BYTES, parameter_problems
from apps.models.providers.base import FinishReason
from apps.prompts.models import LABEL, LABEL_LENGTH
from apps.prompts.rendering import PromptError
from apps.prompts.rendering.messages import check_messages
from apps.prompts.serializers import MESSAGES, ABChoiceSerializer
from everquant.api.serializers import (
    JSONObjectField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MODES = ["wait", "async"]
MAX_METADATA_BYTES = 16_384
MAX_METADATA_KEYS = 50
MAX_CACHE_TTL_S = 30 * 24 * 3600
MAX_TEXT_SCORE = 5000
_OBJECT = {"type": "object", "additionalProperties": True}
_OBJECTS = {"type": "array", "items": _OBJECT}


@extend_schema_field(_OBJECT)
class ObjectField(JSONObjectField):
    pass


@extend_schema_field(_OBJECTS)
class ObjectsField(serializers.JSONField):
    pass


@extend_schema_field({**_OBJECT, "maxProperties": MAX_METADATA_KEYS})
class MetadataField(JSONObjectField):
    """The caller's own notes, to find executions by."""

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if len(value) > MAX_METADATA_KEYS or len(orjson.dumps(value)) > MAX_METADATA_BYTES:
            limit = f"At most {MAX_METADATA_KEYS} keys and {MAX_METADATA_BYTES} bytes of JSON."
            raise serializers.ValidationError(limit)
        return value


class ParametersField(ObjectField):
    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        problems = parameter_problems(value)
        if problems:
            raise serializers.ValidationError({name or "non_field_errors": [why] for name, why in problems.items()})
        return value


@extend_schema_field({**MESSAGES, "minItems": 0})
class AppendMessagesField(serializers.JSONField):
    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if value == []:
            return value
        try:
            check_messages(value, at="")
        except PromptError as error:
            problems = {path.removeprefix("."): [why] for path, why in error.details.items()}
            raise serializers.ValidationError(problems.pop("", None) or problems) from None
        return value


class ExecuteSerializer(StrictSerializer):
    """Without version and label a live A/B test of the prompt chooses for `unit_id`, if `metadata` is in its segments.

    Else the version labelled `production` is executed, else the current one. With both, the label must name that
    version.
    """

    variables = ObjectField(default=dict)
    version = StrictIntegerField(default=None, allow_null=True, min_value=1, max_value=2**31 - 1)
    label = StrictCharField(default=None, allow_null=True, max_length=LABEL_LENGTH, validators=[LABEL])  # type: ignore[assignment] # a field's name, not its option
    model_id = StrictUUIDField(default=None, allow_null=True)
    parameters = ParametersField(
        default=dict, help_text=f"Go before the version's and the model's. At most {MAX_PARAMETERS_BYTES} bytes."
    )
    append_messages = AppendMessagesField(
        default=list,  # type: ignore[arg-type] # the stubs expect an object
        help_text="Follow the prompt's own as they are: a conversation, or the results of tools.",
    )
    cache_ttl_s = StrictIntegerField(
        default=None,
        allow_null=True,
        min_value=1,
        max_value=MAX_CACHE_TTL_S,
        help_text="Answer from the response cache when it has this answer, not older than so many seconds.",
    )
    stream = StrictBooleanField(default=False, help_text="Answer with Server-Sent Events.")
    mode = serializers.ChoiceField(
        MODES, default="wait", help_text="`async` answers 202 at once; a worker makes the call."
    )
    unit_id = StrictCharField(
        default="",
        allow_blank=True,
        max_length=UNIT_ID_LENGTH,
        help_text="Whom it is for, such as your user's id: an A/B test gives one unit the same variant always.",
    )
    metadata = MetadataField(default=dict)


@extend_schema_field({})
class AnyField(serializers.JSONField):
    pass


class FailureSerializer(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()


class AttemptSerializer(serializers.Serializer):
    """One request to a provider; `status` is the HTTP status of its refusal."""

    number = serializers.IntegerField()
    model_id = serializers.UUIDField()
    provider_id = serializers.UUIDField()
    provider_model = serializers.CharField()
    status = serializers.IntegerField(allow_null=True)
    error = FailureSerializer(allow_null=True)
    provider_request_id = serializers.CharField(allow_null=True)
    latency_ms = serializers.IntegerField()
    first_token_ms = serializers.IntegerField(allow_null=True)
    input_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True)
    started_at = serializers.DateTimeField()


def _count() -> serializers.IntegerField:
    return serializers.IntegerField(allow_null=True, min_value=0)


class ExecutionSummarySerializer(serializers.Serializer):
    """An execution without what is large. Tokens are in disjoint buckets; cost is null when no price is known."""

    id = serializers.UUIDField()
    prompt_id = serializers.UUIDField(allow_null=True)
    prompt_version_id = serializers.UUIDField(allow_null=True)
    version_number = serializers.IntegerField(allow_null=True)
    model_id = serializers.UUIDField(allow_null=True, help_text="The model that answered, or was tried last.")
    provider_model = serializers.CharField()
    status = serializers.ChoiceField(Status.choices)
    source = serializers.ChoiceField(Source.choices)  # type: ignore[assignment] # a field's name, not its option
    is_streamed = serializers.BooleanField()
    is_background = serializers.BooleanField()
    batch_id = serializers.UUIDField(allow_null=True)
    batch_row = serializers.IntegerField(allow_null=True, min_value=0)
    retry_of_id = serializers.UUIDField(allow_null=True)
    workflow_id = serializers.UUIDField(allow_null=True)
    workflow_run_id = serializers.UUIDField(allow_null=True, help_text="The run whose node made the call.")
    unit_id = serializers.CharField(allow_null=True)
    metadata = ObjectField()
    finish_reason = serializers.ChoiceField([reason.value for reason in FinishReason], allow_null=True)
    error = FailureSerializer(allow_null=True)
    input_tokens = _count()
    cached_input_tokens = _count()
    cache_write_tokens = _count()
    cache_write_1h_tokens = _count()
    output_tokens = _count()
    reasoning_tokens = _count()
    cost_usd = serializers.CharField(allow_null=True, help_text="A decimal number.")
    price = serializers.DictField(
        child=serializers.CharField(allow_null=True), allow_null=True, help_text="What the cost was computed with."
    )
    is_usage_estimated = serializers.BooleanField(
        help_text="Of a cancelled call whose provider did not tell: tokens are a quarter of the bytes."
    )
    is_cached = serializers.BooleanField(help_text="Answered from the response cache: no tokens, no attempts, cost 0.")
    saved_cost_usd = serializers.CharField(allow_null=True, help_text="What the cached answer cost when it was made.")
    queue_ms = serializers.IntegerField(
        min_value=0, help_text="Waiting for a worker and for the model's limits; not part of the latency."
    )
    latency_ms = _count()
    first_token_ms = _count()
    attempt_count = serializers.IntegerField(min_value=0)
    ab_test = ABChoiceSerializer(allow_null=True)
    created_by = serializers.UUIDField(allow_null=True)
    api_key_id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    cancel_requested_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        return summarize(instance)


class ExecutionSerializer(ExecutionSummarySerializer):
    is_payload_purged = serializers.BooleanField(
        help_text="Whether retention has deleted what was said, which is then empty here, and the attempts."
    )
    variables = ObjectField()
    messages = ObjectsField()
    parameters = ObjectField()
    tools = ObjectsField(allow_null=True)
    response_schema = ObjectField(allow_null=True)
    cache_ttl_s = serializers.IntegerField(allow_null=True)
    output = serializers.CharField(allow_null=True)
    output_json = AnyField(help_text="The output as a value, when there is a response schema.")
    tool_calls = ObjectsField()
    attempts = AttemptSerializer(many=True)

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        return represent_stored(instance)


_VALUE = {"oneOf": [{"type": "number"}, {"type": "boolean"}, {"type": "string"}]}
_NEW_VALUE = {
    "oneOf": [
        {"type": "number", "minimum": -1e18, "maximum": 1e18},
        {"type": "boolean"},
        {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_SCORE, "pattern": r"^[^\u0000]*$"},
    ]
}


@extend_schema_field(_NEW_VALUE)
class ScoreValueField(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {
        "type": "Must be a number, a boolean or a string.",
        "length": f"Must have 1 to {MAX_TEXT_SCORE} characters.",
        "range": "Must be between -1e18 and 1e18.",
    }

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str) and not 1 <= len(data) <= MAX_TEXT_SCORE:
            self.fail("length")
        if isinstance(data, float) and not -1e18 <= data <= 1e18:
            self.fail("range")
        if not isinstance(data, str | bool | int | float):
            self.fail("type")
        return data


_TYPES = {
    bool: (Score.Type.BOOLEAN,),
    int: (Score.Type.NUMERIC,),
    float: (Score.Type.NUMERIC,),
    str: (Score.Type.CATEGORICAL, Score.Type.TEXT),
}


class ScoreInputSerializer(StrictSerializer):
    """A number is numeric, true and false are boolean, a string is categorical unless `type` says text."""

    name = StrictCharField(max_length=100)
    value = ScoreValueField()
    type = serializers.ChoiceField(Score.Type.choices, required=False)
    comment = StrictCharField(default="", allow_blank=True, max_length=5000)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        fitting = _TYPES[type(attrs["value"])]
        attrs.setdefault("type", fitting[0])
        if attrs["type"] not in fitting:
            raise serializers.ValidationError({"type": [f"This value is {fitting[0].value}."]})
        return attrs


@extend_schema_field(_VALUE)
class StoredValueField(serializers.JSONField):
    pass


class ScoreSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    execution_id = serializers.UUIDField()
    name = serializers.CharField()
    type = serializers.ChoiceField(Score.Type.choices)
    value = StoredValueField()
    comment = serializers.CharField()
    source = serializers.ChoiceField(Score.Source.choices)  # type: ignore[assignment] # a field's name, not its option
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Score) -> dict[str, Any]:
        return {
            "id": instance.id,
            "execution_id": instance.execution_id,
            "name": instance.name,
            "type": instance.type,
            "value": instance.value,
            "comment": instance.comment,
            "source": instance.source,
            "created_by": instance.created_by_id,
            "created_at": instance.created_at,
        }
