"""Policies, what they still demand, and approvals, as they are read and written."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.evaluations.comparing.serializers import RulesField, RulingSerializer
from apps.evaluations.models import (
    MAX_APPROVALS,
    MAX_METRICS,
    MAX_REPEATS,
    SPLIT_LENGTH,
    Decision,
    PromotionApproval,
    PromotionGate,
    PromotionPolicy,
    Verdict,
)
from apps.evaluations.runs.serializers import DollarsField, MetricField, ReferenceField
from apps.prompts.models import LABEL, LABEL_LENGTH
from apps.prompts.serializers import MAX_VERSION
from everquant.api.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

BASELINES = {"label": True, "none": False}
MAX_COMMENT = 2000


@extend_schema_field({"type": "string", "enum": list(BASELINES)})
class BaselineField(serializers.Field[Any, Any, Any, Any]):
    """`label`: the version that the label points at now. `none`: the rules look at the candidate alone."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, str) or data not in BASELINES:
            raise serializers.ValidationError(f"Must be of: {', '.join(BASELINES)}.")
        return BASELINES[data]

    def to_representation(self, value: bool) -> str:  # noqa: FBT001, RUF100 (the field's value)
        return "label" if value else "none"


class PromotionPolicyChangeSerializer(StrictSerializer):
    """What a label demands. Every change but that of `is_active` begins a new revision."""

    dataset = ReferenceField(help_text="Its id or slug; the version is pinned.")
    dataset_version = StrictIntegerField(
        default=None, allow_null=True, min_value=1, max_value=MAX_VERSION, help_text="The newest by default."
    )
    split = StrictCharField(
        default="", allow_blank=True, max_length=SPLIT_LENGTH, help_text="Only the items of this one."
    )
    repeats = StrictIntegerField(default=1, min_value=1, max_value=MAX_REPEATS)
    evaluators = serializers.ListField(child=MetricField(), source="metrics", min_length=1, max_length=MAX_METRICS)
    rules = RulesField()
    baseline = BaselineField(source="compares", default=True, help_text="What the version is compared with.")
    min_approvals = StrictIntegerField(default=0, min_value=0, max_value=MAX_APPROVALS)
    is_active = StrictBooleanField(default=True)


class PromotionPolicyInputSerializer(PromotionPolicyChangeSerializer):
    """The target is a prompt or a workflow, and stays."""

    prompt = ReferenceField(required=False, help_text="Its id or slug.")
    workflow = ReferenceField(required=False, help_text="Its id or slug.")
    label = StrictCharField(max_length=LABEL_LENGTH, validators=[LABEL])  # type: ignore[assignment] # a field's name

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("prompt" in attrs) == ("workflow" in attrs):
            raise serializers.ValidationError({"prompt": ["Give a prompt or a workflow."]})
        return attrs


class PromotionPolicyInputExtension(OpenApiSerializerExtension):
    """What the fields alone cannot say: there is one target."""

    target_class = PromotionPolicyInputSerializer

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        schema["oneOf"] = [{"required": ["prompt"]}, {"required": ["workflow"]}]
        return schema


class PromotionPolicyEvaluatorSerializer(serializers.Serializer):
    name = serializers.CharField()
    evaluator_id = serializers.UUIDField(source="evaluator_version.evaluator_id")
    slug = serializers.CharField(source="evaluator_version.evaluator.slug")
    evaluator_version_id = serializers.UUIDField()
    version = serializers.IntegerField(source="evaluator_version.version_number")


class PromotionPolicySerializer(serializers.ModelSerializer[PromotionPolicy]):
    prompt_id = serializers.UUIDField(allow_null=True)
    workflow_id = serializers.UUIDField(allow_null=True)
    slug = serializers.CharField(source="target.slug", help_text="Of the prompt or workflow.")
    dataset_id = serializers.UUIDField(source="dataset_version.dataset_id")
    dataset_slug = serializers.CharField(source="dataset_version.dataset.slug")
    dataset_version = serializers.IntegerField(source="dataset_version.version_number")
    dataset_version_id = serializers.UUIDField()
    evaluators = PromotionPolicyEvaluatorSerializer(source="metrics", many=True)
    rules = RulesField()
    baseline = BaselineField(source="compares")
    created_by = serializers.UUIDField(source="created_by_id", allow_null=True)

    class Meta:
        model = PromotionPolicy
        fields = [
            "id", "organization_id", "prompt_id", "workflow_id", "slug", "label", "dataset_id", "dataset_slug",
            "dataset_version", "dataset_version_id", "split", "repeats", "evaluators", "rules", "baseline",
            "min_approvals", "is_active", "revision", "created_by", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class EvaluateVersionSerializer(StrictSerializer):
    version = StrictIntegerField(min_value=1, max_value=MAX_VERSION)
    budget_usd = DollarsField(default=None, allow_null=True, help_text="The most that the evaluation may cost.")


class GateVersionSerializer(StrictSerializer):
    evaluation_id = StrictUUIDField()
    version = StrictIntegerField(
        default=None,
        allow_null=True,
        min_value=1,
        max_value=MAX_VERSION,
        help_text="By default the one of the evaluation that the label does not point at.",
    )


class PromotionPolicyGateSerializer(serializers.ModelSerializer[PromotionGate]):
    """A verdict for one revision of the policy."""

    policy_id = serializers.UUIDField()
    gate_id = serializers.UUIDField(source="result_id")
    evaluation_id = serializers.UUIDField(source="result.evaluation_id")
    version = serializers.IntegerField(source="version_number")
    verdict = serializers.ChoiceField(Verdict.choices, source="result.verdict")
    report = RulingSerializer(source="result.report", many=True)

    class Meta:
        model = PromotionGate
        fields = [
            "id", "policy_id", "revision", "version", "version_id", "baseline_version_id", "gate_id", "evaluation_id",
            "verdict", "report", "created_at",
        ]  # fmt: skip
        read_only_fields = fields


class PromotionDecisionSerializer(StrictSerializer):
    version = StrictIntegerField(source="version_number", min_value=1, max_value=MAX_VERSION)
    decision = serializers.ChoiceField(Decision.choices)
    comment = StrictCharField(default="", allow_blank=True, max_length=MAX_COMMENT)


class PromotionApprovalSerializer(serializers.ModelSerializer[PromotionApproval]):
    policy_id = serializers.UUIDField()
    version = serializers.IntegerField(source="version_number")
    user_id = serializers.UUIDField()
    email = serializers.EmailField(source="user.email")

    class Meta:
        model = PromotionApproval
        fields = [
            "id", "policy_id", "revision", "version", "version_id", "decision", "comment", "user_id", "email",
            "created_at", "withdrawn_at",
        ]  # fmt: skip
        read_only_fields = fields


class PromotionRequirementSerializer(serializers.Serializer):
    code = serializers.ChoiceField(
        [
            "NOTHING_TO_COMPARE", "GATE_MISSING", "GATE_FAIL", "GATE_INCONCLUSIVE", "BASELINE_MOVED", "GATE_STALE",
            "REJECTED", "APPROVALS_MISSING",
        ]
    )  # fmt: skip
    message = serializers.CharField()


class PromotionStatusSerializer(serializers.Serializer):
    """Whether the caller could move the label there now, as far as the policy goes."""

    version = serializers.IntegerField()
    current_version = serializers.IntegerField(allow_null=True, help_text="Where the label points now.")
    revision = serializers.IntegerField()
    is_active = serializers.BooleanField()
    may_move = serializers.BooleanField()
    missing = PromotionRequirementSerializer(many=True)
    gate = PromotionPolicyGateSerializer(allow_null=True)
    approvals = PromotionApprovalSerializer(many=True, help_text="Those that stand; not all of them need count.")
    approvals_counted = serializers.IntegerField()
    approvals_needed = serializers.IntegerField()
