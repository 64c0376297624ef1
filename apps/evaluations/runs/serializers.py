"""Evaluations as they are asked for and answered. Outputs are built by hand, see `representation`."""

import re
from decimal import Decimal
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.datasets.serializers import ExecutionCriteriaSerializer
from apps.evaluations.datasets.services.executions import MAX_EXECUTIONS
from apps.evaluations.models import (
    MAX_METRICS,
    MAX_REPEATS,
    MAX_SUBJECTS,
    NAME_LENGTH,
    SPLIT_LENGTH,
    Evaluation,
    EvaluationStatus,
    SubjectKind,
)
from apps.evaluations.runs import representation
from apps.evaluations.runs.services import DEFAULT_CONCURRENCY
from apps.evaluations.runs.wishes import MetricWish, SubjectWish
from apps.executions.models import COST_PLACES
from apps.executions.serializers import FailureSerializer, MetadataField, ObjectField, ParametersField
from apps.prompts.models import LABEL, LABEL_LENGTH, LABEL_PATTERN, SLUG, SLUG_LENGTH, SLUG_PATTERN
from apps.prompts.serializers import MAX_VERSION, MESSAGES
from everquant.api.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MAX_CONCURRENCY = 256
_DOLLARS = re.compile(rf"[0-9]{{1,10}}(\.[0-9]{{1,{COST_PLACES}}})?")
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_REFERENCE = {"type": "string", "maxLength": SLUG_LENGTH, "pattern": f"^({SLUG_PATTERN}|{_UUID})$"}
_NAME = {"type": "string", "maxLength": NAME_LENGTH, "pattern": r"^[^\u0000]*$"}
_NUMBER = {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_VERSION}
_LABEL = {"type": ["string", "null"], "maxLength": LABEL_LENGTH, "pattern": f"^{LABEL_PATTERN}$"}
_MODEL = {"type": ["string", "null"], "format": "uuid"}
_OBJECT = {"type": "object", "additionalProperties": True}


def _shape(title: str, required: str, **properties: Any) -> dict[str, Any]:
    fields = {"name": _NAME, **properties}
    return {
        "title": title, "type": "object", "required": [required], "additionalProperties": False, "properties": fields
    }  # fmt: skip


SUBJECT_SCHEMA = {
    "oneOf": [
        _shape(
            "A prompt's version", "prompt",
            prompt=_REFERENCE, version=_NUMBER, label=_LABEL, model_id=_MODEL, parameters=_OBJECT,
        ),
        _shape(
            "Messages and a model", "messages",
            messages=MESSAGES, response_schema={"type": ["object", "null"]}, model_id=_MODEL, parameters=_OBJECT,
        ),
        _shape("A workflow's version", "workflow", workflow=_REFERENCE, version=_NUMBER, label=_LABEL),
        _shape("What was recorded", "recorded", recorded={"type": "boolean", "const": True}),
    ]
}  # fmt: skip
METRIC_SCHEMA = _shape("An evaluator", "evaluator", evaluator=_REFERENCE, version=_NUMBER)


@extend_schema_field({"type": "string", "pattern": f"^{_DOLLARS.pattern}$"})
class DollarsField(serializers.Field[Any, Any, Any, Any]):
    """USD, more than 0, as a decimal string."""

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str) or not _DOLLARS.fullmatch(data) or not Decimal(data):
            raise serializers.ValidationError(
                f"A string of at most 10 digits, and {COST_PLACES} after the point; more than 0."
            )
        return Decimal(data)


@extend_schema_field(_REFERENCE)
class ReferenceField(StrictCharField):
    """An id or a slug."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=SLUG_LENGTH, trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        if re.fullmatch(_UUID, text):
            return UUID(text)
        SLUG(text)
        return text

    def run_validators(self, value: Any) -> None:
        if not isinstance(value, UUID):
            super().run_validators(value)


def _label_field() -> StrictCharField:
    return StrictCharField(default=None, allow_null=True, max_length=LABEL_LENGTH, validators=[LABEL])


def _version_field() -> StrictIntegerField:
    return StrictIntegerField(default=None, allow_null=True, min_value=1, max_value=MAX_VERSION)


def _name_field() -> StrictCharField:
    return StrictCharField(default="", allow_blank=True, max_length=NAME_LENGTH)


class _PromptSubject(StrictSerializer):
    name = _name_field()
    prompt = ReferenceField()
    version = _version_field()
    label = _label_field()  # type: ignore[assignment] # a field's name, not its option
    model_id = StrictUUIDField(default=None, allow_null=True)
    parameters = ParametersField(default=dict)


class _InlineSubject(StrictSerializer):
    name = _name_field()
    messages = serializers.JSONField()
    response_schema = serializers.JSONField(default=None, allow_null=True)
    model_id = StrictUUIDField(default=None, allow_null=True)
    parameters = ParametersField(default=dict)


class _WorkflowSubject(StrictSerializer):
    name = _name_field()
    workflow = ReferenceField()
    version = _version_field()
    label = _label_field()  # type: ignore[assignment] # a field's name, not its option


class _RecordedSubject(StrictSerializer):
    name = _name_field()
    recorded = StrictBooleanField()

    def validate_recorded(self, value: bool) -> bool:
        if not value:
            raise serializers.ValidationError("Must be true.")
        return value


class _Metric(StrictSerializer):
    name = _name_field()
    evaluator = ReferenceField()
    version = _version_field()


_SUBJECTS = {
    "prompt": _PromptSubject(),
    "messages": _InlineSubject(),
    "workflow": _WorkflowSubject(),
    "recorded": _RecordedSubject(),
}
_METRIC = _Metric()


@extend_schema_field(SUBJECT_SCHEMA)
class SubjectField(serializers.Field[Any, Any, Any, Any]):
    def to_internal_value(self, data: Any) -> SubjectWish:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Must be a JSON object.")
        said = [name for name in _SUBJECTS if name in data]
        if len(said) != 1:
            raise serializers.ValidationError(f"Give exactly one of: {', '.join(_SUBJECTS)}.")
        wish = dict(_SUBJECTS[said[0]].run_validation(data))
        return SubjectWish(is_recorded=bool(wish.pop("recorded", False)), **wish)


@extend_schema_field(METRIC_SCHEMA)
class MetricField(serializers.Field[Any, Any, Any, Any]):
    def to_internal_value(self, data: Any) -> MetricWish:
        return MetricWish(**_METRIC.run_validation(data))


class EvaluationOptionsSerializer(StrictSerializer):
    """What evaluations have in common, wherever their items and subjects come from."""

    name = StrictCharField(default="", allow_blank=True, max_length=200)
    evaluators = serializers.ListField(child=MetricField(), source="metrics", min_length=1, max_length=MAX_METRICS)
    repeats = StrictIntegerField(default=1, min_value=1, max_value=MAX_REPEATS)
    max_concurrency = StrictIntegerField(
        default=DEFAULT_CONCURRENCY, min_value=1, max_value=MAX_CONCURRENCY, help_text="Calls at the same time."
    )
    budget_usd = DollarsField(
        default=None, allow_null=True, help_text="The most that subjects and evaluators may cost together."
    )
    metadata = MetadataField(default=dict)


class EvaluationInputSerializer(EvaluationOptionsSerializer):
    """The first subject is the baseline. Versions are looked up now and pinned."""

    dataset = ReferenceField(help_text="Its id or slug.")
    dataset_version = StrictIntegerField(
        default=None, allow_null=True, min_value=1, max_value=MAX_VERSION, help_text="The newest by default."
    )
    split = StrictCharField(
        default="", allow_blank=True, max_length=SPLIT_LENGTH, help_text="Only the items of this one."
    )
    item_limit = StrictIntegerField(
        default=None, allow_null=True, min_value=1, max_value=2**31 - 1, help_text="Only the first so many items."
    )
    subjects = serializers.ListField(child=SubjectField(), min_length=1, max_length=MAX_SUBJECTS)


class ReplayInputSerializer(EvaluationOptionsSerializer):
    """The newest executions that the filter finds and that have an output; their outputs are the baseline."""

    filter = ExecutionCriteriaSerializer(default=dict)
    limit = StrictIntegerField(default=1000, min_value=1, max_value=MAX_EXECUTIONS, help_text="The newest so many.")
    candidate = SubjectField()


class DollarRangeSerializer(serializers.Serializer):
    low = serializers.CharField()
    likely = serializers.CharField()
    high = serializers.CharField()


class EstimatedPartSerializer(serializers.Serializer):
    name = serializers.CharField()
    part = serializers.ChoiceField(["subject", "evaluator"])
    cases = serializers.IntegerField(min_value=0)
    cost_usd = DollarRangeSerializer(allow_null=True, help_text="Null when it cannot be told.")
    latency_ms = serializers.FloatField(allow_null=True, help_text="Of one case.")
    basis = serializers.ChoiceField(
        ["history", "sample", "limit", "free", "unknown"],
        help_text="Earlier calls of the same, rendered items, a workflow's own limit, nothing to be called.",
    )
    basis_count = serializers.IntegerField(min_value=0, help_text="How many calls or items.")
    note = serializers.CharField(allow_blank=True)


class EvaluationEstimateSerializer(serializers.Serializer):
    """What has no known price is named in `unpriced`, and not in the sums."""

    items = serializers.IntegerField(min_value=0)
    cases = serializers.IntegerField(min_value=0)
    cost_usd = DollarRangeSerializer(allow_null=True)
    budget_usd = serializers.CharField(allow_null=True)
    is_within_budget = serializers.BooleanField(allow_null=True, help_text="Whether the high end is.")
    unpriced = serializers.ListField(child=serializers.CharField())
    duration_s = serializers.FloatField(allow_null=True, help_text="Null where it is not known how long calls take.")
    parts = EstimatedPartSerializer(many=True)


class EvaluationChangeSerializer(StrictSerializer):
    """A budget that is raised counts at once; one that had run out goes on with `resume`."""

    name = StrictCharField(required=False, allow_blank=True, max_length=200)
    budget_usd = DollarsField(required=False, allow_null=True)
    metadata = MetadataField(required=False)


class EvaluationSubjectSerializer(serializers.Serializer):
    position = serializers.IntegerField(min_value=0)
    name = serializers.CharField()
    kind = serializers.ChoiceField(SubjectKind.choices)
    prompt_id = serializers.UUIDField(allow_null=True)
    prompt_version_id = serializers.UUIDField(allow_null=True)
    workflow_id = serializers.UUIDField(allow_null=True)
    workflow_version_id = serializers.UUIDField(allow_null=True)
    version_number = serializers.IntegerField(allow_null=True)
    model_id = serializers.UUIDField(allow_null=True)
    parameters = ObjectField()


class EvaluationMetricSerializer(serializers.Serializer):
    position = serializers.IntegerField(min_value=0)
    name = serializers.CharField()
    evaluator_id = serializers.UUIDField()
    evaluator_version_id = serializers.UUIDField()
    slug = serializers.CharField()
    kind = serializers.CharField()
    version_number = serializers.IntegerField()


class EvaluationProgressSerializer(serializers.Serializer):
    """Of cases, and of single scores. `share` of the cases have come to an end."""

    items = serializers.IntegerField(min_value=0)
    cases = serializers.IntegerField(min_value=0)
    succeeded = serializers.IntegerField(min_value=0)
    failed = serializers.IntegerField(min_value=0)
    share = serializers.FloatField(min_value=0, max_value=1)
    scores = serializers.IntegerField(min_value=0)
    score_errors = serializers.IntegerField(min_value=0)
    estimated_end_at = serializers.DateTimeField(allow_null=True, help_text="At the speed so far.")


class EvaluationSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    dataset_id = serializers.UUIDField()
    dataset_slug = serializers.CharField()
    dataset_version = serializers.IntegerField()
    dataset_version_id = serializers.UUIDField()
    split = serializers.CharField()
    item_limit = serializers.IntegerField(allow_null=True)
    repeats = serializers.IntegerField()
    max_concurrency = serializers.IntegerField()
    budget_usd = serializers.CharField(allow_null=True)
    metadata = ObjectField()
    status = serializers.ChoiceField(EvaluationStatus.choices)
    error = FailureSerializer(allow_null=True)
    subjects = EvaluationSubjectSerializer(many=True)
    evaluators = EvaluationMetricSerializer(many=True)
    progress = EvaluationProgressSerializer()
    cost_usd = serializers.CharField(help_text="Of the subjects, in decimals.")
    evaluator_cost_usd = serializers.CharField(help_text="Of the evaluators' own calls.")
    created_by = serializers.UUIDField(allow_null=True)
    api_key_id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    cancel_requested_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Evaluation) -> dict[str, Any]:
        return representation.represent(instance)
