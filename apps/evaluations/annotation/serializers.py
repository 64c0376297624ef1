"""Queues, tasks and annotations as they are asked for and answered."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.annotation.labelling import LabelRule
from apps.evaluations.annotation.representation import (
    represent_annotation,
    represent_queue,
    represent_task,
    summarize_annotation,
    summarize_task,
)
from apps.evaluations.annotation.values import LONGEST_TEXT
from apps.evaluations.models import NAME_LENGTH, Annotation, AnnotationQueue, AnnotationStatus, AnnotationTask
from apps.evaluations.models.annotations import MAX_ASSIGNEES, MAX_CRITERIA, MAX_PER_TASK
from apps.executions.serializers import AnyField
from apps.prompts.models import SLUG, SLUG_LENGTH
from everquant.api.envelope import dumps
from everquant.api.serializers import (
    JSONObjectField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MAX_GIVEN, MAX_FOUND = 1_000, 10_000
MAX_ITEM_BYTES = 1024 * 1024
_FREE = {"type": "object", "additionalProperties": True}
_VALUE = {"type": ["number", "boolean", "string", "null"]}
_ITEM: dict[str, Any] = {
    "type": "object",
    "required": ["input", "output"],
    "properties": {"input": {}, "output": {}, "expected": {}, "context": _FREE},
    "additionalProperties": False,
}


class UniqueIdsField(serializers.ListField):
    """Ids, none of them twice."""

    child = StrictUUIDField()

    def to_internal_value(self, data: Any) -> Any:
        ids = super().to_internal_value(data)
        if len(set(ids)) < len(ids):
            raise serializers.ValidationError("An id is given more than once.")
        return ids


def _ids(lowest: int, highest: int, **options: Any) -> Any:
    one = {"type": "string", "format": "uuid"}
    schema = {"type": "array", "items": one, "minItems": lowest, "maxItems": highest, "uniqueItems": True}
    field = type("IdsField", (UniqueIdsField,), {})
    return extend_schema_field(schema)(field)(min_length=lowest, max_length=highest, **options)


@extend_schema_field(_FREE)
class FreeObjectField(JSONObjectField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": _VALUE})
class ValuesField(JSONObjectField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
class ExecutionFilterField(JSONObjectField):
    """As the parameters of a query."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        given = super().to_internal_value(data)
        odd = {name: ["Must be text, a number or a boolean."] for name, one in given.items() if not _is_plain(one)}
        if odd:
            raise serializers.ValidationError(odd)
        return {name: _as_parameter(one) for name, one in given.items()}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _as_parameter(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


@extend_schema_field({"type": "array", "minItems": 1, "maxItems": MAX_GIVEN, "items": _ITEM})
class ItemsField(serializers.Field[Any, Any, Any, Any]):
    """Without a serializer for each."""

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list) or not 1 <= len(data) <= MAX_GIVEN:
            raise serializers.ValidationError(f"Must be a list of 1 to {MAX_GIVEN} items.")
        problems = {str(number): problem for number, item in enumerate(data) if (problem := _item_problem(item))}
        if problems:
            raise serializers.ValidationError(problems)
        return data


def _item_problem(item: Any) -> Any:
    if not isinstance(item, dict):
        return ["Must be a JSON object."]
    problems: dict[str, Any] = {name: ["Unknown field."] for name in item if name not in _ITEM["properties"]}
    problems |= {name: ["This field is required."] for name in _ITEM["required"] if name not in item}
    if not isinstance(item.get("context", {}), dict):
        problems["context"] = ["Must be a JSON object."]
    if not problems and len(dumps(item)) > MAX_ITEM_BYTES:
        return [f"At most {MAX_ITEM_BYTES} bytes of JSON."]
    return problems


class AnnotationQueueInputSerializer(StrictSerializer):
    name = StrictCharField(max_length=200)
    instructions = StrictCharField(default="", allow_blank=True, max_length=20_000)
    score_config_ids = _ids(1, MAX_CRITERIA, help_text="What is asked of each task, in this order.")
    annotations_per_task = StrictIntegerField(default=1, min_value=1, max_value=MAX_PER_TASK)
    assignees = _ids(0, MAX_ASSIGNEES, default=list, help_text="Ids of users; empty: all who have executions:score.")
    is_active = StrictBooleanField(default=True)


class QuestionSerializer(serializers.Serializer):
    """A score config as a queue asks for it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    type = serializers.CharField()
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    categories = serializers.ListField(child=FreeObjectField())


class AnnotationQueueSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    name = serializers.CharField()
    instructions = serializers.CharField()
    score_configs = QuestionSerializer(many=True)
    annotations_per_task = serializers.IntegerField()
    assignees = serializers.ListField(child=serializers.UUIDField())
    is_active = serializers.BooleanField()
    created_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: AnnotationQueue) -> dict[str, Any]:
        return represent_queue(instance)


class AnnotatedCasesSerializer(StrictSerializer):
    """`failed`: a metric did not pass. `errors`: a metric erred. `disagreement`: one passed and another did not."""

    which = serializers.ChoiceField(["all", "failed", "errors", "disagreement"], default="all")
    metric = StrictCharField(required=False, max_length=NAME_LENGTH)
    subject = StrictIntegerField(required=False, min_value=0, max_value=100, help_text="Its position.")


class AnnotationTasksInputSerializer(StrictSerializer):
    """Exactly one of `execution_ids`, `execution_filter`, `evaluation_id` and `items`.

    `execution_filter` has the parameters of `GET /executions`; the newest `limit` with an output are taken. `filter`
    and `seed` go with `evaluation_id`: with a seed, a random sample of `limit` cases that is the same each time.
    """

    execution_ids = _ids(1, MAX_GIVEN, required=False)
    execution_filter = ExecutionFilterField(required=False)
    evaluation_id = StrictUUIDField(required=False)
    filter = AnnotatedCasesSerializer(required=False)
    items = ItemsField(required=False)
    limit = StrictIntegerField(required=False, min_value=1, max_value=MAX_FOUND)
    seed = StrictIntegerField(required=False, min_value=0, max_value=2**31 - 1)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        sources = [name for name in SOURCES if name in attrs]
        if len(sources) != 1:
            raise serializers.ValidationError({"execution_ids": [f"Give exactly one of {', '.join(SOURCES)}."]})
        extra = [name for name in ("limit", "filter", "seed") if name in attrs and name not in SOURCES[sources[0]]]
        if extra:
            raise serializers.ValidationError({name: [f"Does not go with {sources[0]}."] for name in extra})
        return attrs


# source → what may narrow it
SOURCES: dict[str, tuple[str, ...]] = {
    "execution_ids": (),
    "execution_filter": ("limit",),
    "evaluation_id": ("limit", "filter", "seed"),
    "items": (),
}


class AnnotationTasksInputExtension(OpenApiSerializerExtension):
    """What the fields alone cannot say: there is one source."""

    target_class = AnnotationTasksInputSerializer

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        schema["oneOf"] = [{"required": [source]} for source in SOURCES]
        return schema


class AddedTasksSerializer(serializers.Serializer):
    added = serializers.IntegerField(min_value=0)
    already_there = serializers.IntegerField(min_value=0, help_text="Nothing is twice in a queue.")


class AnnotationTaskSummarySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    queue_id = serializers.UUIDField()
    position = serializers.IntegerField()
    execution_id = serializers.UUIDField(allow_null=True)
    evaluation_id = serializers.UUIDField(allow_null=True)
    item_id = serializers.UUIDField(allow_null=True)
    open_count = serializers.IntegerField(min_value=0, help_text="Annotations that have been begun.")
    submitted_count = serializers.IntegerField(min_value=0)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: AnnotationTask) -> dict[str, Any]:
        return summarize_task(instance)


class AnnotationTaskSerializer(AnnotationTaskSummarySerializer):
    """As it was when it was put into the queue."""

    input = AnyField()
    output = AnyField()
    expected = AnyField()
    has_expected = serializers.BooleanField()
    context = FreeObjectField()  # type: ignore[assignment] # a field's name, not its option

    def to_representation(self, instance: AnnotationTask) -> dict[str, Any]:
        return represent_task(instance)


class AnnotationInputSerializer(StrictSerializer):
    """`values` are by the name of the score config: true or false, a number, a category's label, or text.

    Only texts may be left out.
    """

    values = ValuesField()
    comment = StrictCharField(default="", allow_blank=True, max_length=LONGEST_TEXT)


class AnnotationSummarySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    queue_id = serializers.UUIDField()
    task_id = serializers.UUIDField()
    annotator_id = serializers.UUIDField()
    status = serializers.ChoiceField(AnnotationStatus.choices)
    claimed_until = serializers.DateTimeField(allow_null=True)
    values = ValuesField()
    comment = serializers.CharField()
    score_ids = serializers.ListField(child=serializers.UUIDField(), help_text="The scores of its execution.")
    started_at = serializers.DateTimeField()
    submitted_at = serializers.DateTimeField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: Annotation) -> dict[str, Any]:
        return summarize_annotation(instance)


class AnnotationSerializer(AnnotationSummarySerializer):
    task = AnnotationTaskSerializer()

    def to_representation(self, instance: Annotation) -> dict[str, Any]:
        return represent_annotation(instance)


class ClaimSerializer(serializers.Serializer):
    annotation = AnnotationSerializer(allow_null=True, help_text="Null: there is nothing left for the caller.")


class AnnotationTaskCountsSerializer(serializers.Serializer):
    total = serializers.IntegerField(min_value=0)
    begun = serializers.IntegerField(min_value=0, help_text="Some annotations, but not all that are wanted.")
    complete = serializers.IntegerField(min_value=0)


class AnnotationCountsSerializer(serializers.Serializer):
    open = serializers.IntegerField(min_value=0)
    submitted = serializers.IntegerField(min_value=0)
    skipped = serializers.IntegerField(min_value=0)
    expired = serializers.IntegerField(min_value=0)


class AnnotatorSerializer(AnnotationCountsSerializer):
    annotator_id = serializers.UUIDField()
    email = serializers.CharField(allow_null=True)
    mean_duration_ms = serializers.FloatField(allow_null=True)


class QueueProgressSerializer(serializers.Serializer):
    tasks = AnnotationTaskCountsSerializer()
    annotations = AnnotationCountsSerializer()
    annotators = AnnotatorSerializer(many=True)


class AnnotatorPairSerializer(serializers.Serializer):
    """Cohen's kappa of two people on the tasks that both have annotated."""

    annotator_ids = serializers.ListField(child=serializers.UUIDField(), min_length=2, max_length=2)
    n = serializers.IntegerField(min_value=0)
    kappa = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)


class DisagreedTaskSerializer(serializers.Serializer):
    task_id = serializers.UUIDField()
    disagreement = serializers.FloatField(help_text="Mean distance of two annotations, from 0 to 1.")
    values = serializers.ListField(child=AnyField())


class QuestionAgreementSerializer(serializers.Serializer):
    score_config_id = serializers.UUIDField()
    name = serializers.CharField()
    type = serializers.CharField()
    level = serializers.ChoiceField(["nominal", "ordinal", "interval"], allow_null=True)
    alpha = serializers.FloatField(allow_null=True, help_text="Krippendorff's alpha; null when it is not defined.")
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    n_tasks = serializers.IntegerField(min_value=0, help_text="Tasks with two annotations or more.")
    n_annotations = serializers.IntegerField(min_value=0, help_text="Annotations of these tasks.")
    pairs = AnnotatorPairSerializer(many=True)
    most_disagreed = DisagreedTaskSerializer(many=True)


class QueueAgreementSerializer(serializers.Serializer):
    confidence = serializers.FloatField()
    min_overlap = serializers.IntegerField(help_text="Pairs with fewer tasks in common are left out.")
    score_configs = QuestionAgreementSerializer(many=True)


@extend_schema_field({"type": "number", "minimum": 0, "maximum": 1})
class ShareField(serializers.FloatField):
    """A JSON number: DRF would take text and booleans too."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool | str):
            self.fail("invalid")
        return float(super().to_internal_value(data))


class LabelledInputSerializer(StrictSerializer):
    """Either `dataset_id` for a new version of a dataset, or `slug` (and `name`) for a new one."""

    dataset_id = StrictUUIDField(required=False)
    slug = StrictCharField(required=False, max_length=SLUG_LENGTH, validators=[SLUG])
    name = StrictCharField(required=False, max_length=200)
    label = serializers.ChoiceField(  # type: ignore[assignment] # a field's name, not its option
        [rule.value for rule in LabelRule],
        default=LabelRule.MAJORITY.value,
        help_text="Of several annotations: the most frequent value, the mean of numbers, or the first.",
    )
    min_agreement = ShareField(
        default=0,
        min_value=0,
        max_value=1,
        help_text="The share of annotations that must have the label, where it is not a mean.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("dataset_id" in attrs) == ("slug" in attrs):
            raise serializers.ValidationError({"dataset_id": ["Give either this or slug."]})
        if "name" in attrs and "slug" not in attrs:
            raise serializers.ValidationError({"name": ["Goes with slug."]})
        return attrs


class LabelledInputExtension(OpenApiSerializerExtension):
    """What the fields alone cannot say: the dataset is named once."""

    target_class = LabelledInputSerializer

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        schema["oneOf"] = [{"required": ["slug"]}, {"required": ["dataset_id"]}]
        return schema


class LabelledSerializer(serializers.Serializer):
    dataset_id = serializers.UUIDField()
    version = serializers.IntegerField(min_value=1)
    item_count = serializers.IntegerField(min_value=0, help_text="Tasks that became items.")
    unlabelled_count = serializers.IntegerField(min_value=0, help_text="Annotated tasks that got no label.")
