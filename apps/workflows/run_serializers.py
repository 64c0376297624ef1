"""Runs, their steps and approvals as they are read and asked for. Outputs are built by hand, see `representation`."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.executions.serializers import AnyField, FailureSerializer, MetadataField
from apps.prompts.models import LABEL, LABEL_LENGTH
from apps.prompts.serializers import MAX_VERSION
from apps.workflows import representation
from apps.workflows.models import Approval, ApprovalStatus, RunSource, RunStatus, StepStatus, WorkflowRun, WorkflowStep
from apps.workflows.nodes.registry import kinds
from apps.workflows.serializers import ANY_OBJECT, ObjectField
from everquant.api.envelope import dumps
from everquant.api.serializers import (
    JSONObjectField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MAX_WAIT_S = 60
MAX_INPUT_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 65_536
MAX_PATH = 500
NODE_ID_LENGTH = 64


@extend_schema_field(ANY_OBJECT)
class SizedObjectField(JSONObjectField):
    def __init__(self, *, max_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self.max_bytes = max_bytes

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if len(dumps(value)) > self.max_bytes:
            raise serializers.ValidationError(f"At most {self.max_bytes} bytes of JSON.")
        return value


def _node_field() -> StrictCharField:
    return StrictCharField(default=None, allow_null=True, max_length=NODE_ID_LENGTH, help_text="A node's id.")


class ExecuteWorkflowSerializer(StrictSerializer):
    """Without version and label the version labelled `production` runs, else the current one.

    With both, the label must name that version.
    """

    inputs = SizedObjectField(max_bytes=MAX_INPUT_BYTES, default=dict, help_text="As the workflow's inputs say.")
    version = StrictIntegerField(default=None, allow_null=True, min_value=1, max_value=MAX_VERSION)
    label = StrictCharField(default=None, allow_null=True, max_length=LABEL_LENGTH, validators=[LABEL])  # type: ignore[assignment] # a field's name, not its option
    metadata = MetadataField(default=dict)
    wait_s = StrictIntegerField(
        default=0, min_value=0, max_value=MAX_WAIT_S, help_text="Wait so long for the end: 200 with the finished run."
    )


class RetryRunSerializer(StrictSerializer):
    """Without `from`, what failed or never ran is done again."""

    def get_fields(self) -> dict[str, Any]:
        return {"from": _node_field()}


class ForkRunSerializer(StrictSerializer):
    """Without `node` from the start; without `inputs` and `version` with those of the run."""

    node = _node_field()
    inputs = SizedObjectField(max_bytes=MAX_INPUT_BYTES, default=None, allow_null=True)
    version = StrictIntegerField(default=None, allow_null=True, min_value=1, max_value=MAX_VERSION)


class ResumeSerializer(StrictSerializer):
    """Without `approval_id` and `path` the only pending approval is meant."""

    approval_id = StrictUUIDField(default=None, allow_null=True)
    path = StrictCharField(default=None, allow_null=True, max_length=MAX_PATH)
    decision = serializers.ChoiceField([ApprovalStatus.APPROVED.value, ApprovalStatus.REJECTED.value])
    data = SizedObjectField(max_bytes=MAX_ANSWER_BYTES, default=dict, help_text="As the approval's form says.")  # type: ignore[assignment] # a field's name
    comment = StrictCharField(default="", allow_blank=True, max_length=2000)


class RunErrorSerializer(FailureSerializer):
    path = serializers.CharField(allow_null=True, help_text="Of the node that failed.")


class RunSummarySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    workflow_id = serializers.UUIDField()
    version_id = serializers.UUIDField()
    version_number = serializers.IntegerField()
    status = serializers.ChoiceField(RunStatus.choices)
    source = serializers.ChoiceField(RunSource.choices)  # type: ignore[assignment] # a field's name, not its option
    error = RunErrorSerializer(allow_null=True)
    metadata = ObjectField()
    node_count = serializers.IntegerField(min_value=0, help_text="Attempts at nodes.")
    input_tokens = serializers.IntegerField(min_value=0)
    output_tokens = serializers.IntegerField(min_value=0)
    cost_usd = serializers.CharField(help_text="A decimal number.")
    active_ms = serializers.IntegerField(min_value=0, help_text="Without queue and waiting.")
    created_by = serializers.UUIDField(allow_null=True)
    api_key_id = serializers.UUIDField(allow_null=True)
    schedule_id = serializers.UUIDField(allow_null=True)
    trigger_id = serializers.UUIDField(allow_null=True)
    origin_id = serializers.UUIDField(allow_null=True, help_text="The run that this one goes on from.")
    origin_node = serializers.CharField(allow_null=True, help_text="From which node on it is done again.")
    wake_at = serializers.DateTimeField(allow_null=True, help_text="When a waiting run goes on by itself.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    cancel_requested_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: WorkflowRun) -> dict[str, Any]:
        return representation.summarize_run(instance)


class RunSerializer(RunSummarySerializer):
    inputs = ObjectField()
    outputs = ObjectField(allow_null=True, help_text="Of a run that has succeeded.")

    def to_representation(self, instance: WorkflowRun) -> dict[str, Any]:
        return representation.represent_run(instance)


class StepSerializer(serializers.Serializer):
    """One attempt at one node."""

    id = serializers.IntegerField()
    path = serializers.CharField(help_text="`summaries[3].write` is in the fourth item of a map.")
    node_id = serializers.CharField()
    kind = serializers.ChoiceField(sorted(kinds()))
    attempt = serializers.IntegerField(min_value=1)
    status = serializers.ChoiceField(StepStatus.choices)
    handle = serializers.CharField(allow_null=True)
    input = AnyField(help_text="What the configuration was resolved to.")
    output = AnyField()
    error = FailureSerializer(allow_null=True)
    execution_id = serializers.UUIDField(allow_null=True)
    input_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True)
    cost_usd = serializers.CharField(allow_null=True)
    is_reused = serializers.BooleanField(help_text="Taken over from another run, at no cost.")
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: WorkflowStep) -> dict[str, Any]:
        return representation.represent_step(instance)


class ApprovalSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    run_id = serializers.UUIDField()
    workflow_id = serializers.UUIDField()
    path = serializers.CharField()
    title = serializers.CharField()
    message = serializers.CharField()
    assignees = serializers.ListField(
        child=serializers.CharField(), help_text="`user:<e-mail>` and `role:<role>`; empty: whoever may run workflows."
    )
    form = ObjectField(help_text="The JSON Schema of the answer's `data`.")
    status = serializers.ChoiceField(ApprovalStatus.choices)
    data = ObjectField(allow_null=True)  # type: ignore[assignment] # a field's name
    comment = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    decided_by = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Approval) -> dict[str, Any]:
        return representation.represent_approval(instance)
