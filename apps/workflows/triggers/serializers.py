"""Triggers as they are read and written. A secret is shown when it is made, and never again."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.workflows.models import WorkflowTrigger
from apps.workflows.run_serializers import MAX_INPUT_BYTES, SizedObjectField
from apps.workflows.schedules.serializers import LabelField, ObjectField
from everquant.api.serializers import StrictBooleanField, StrictCharField, StrictSerializer


class TriggerInputSerializer(StrictSerializer):
    name = StrictCharField(max_length=200)
    inputs = SizedObjectField(
        max_bytes=MAX_INPUT_BYTES,
        default=None,
        allow_null=True,
        help_text="Input → value over the root `payload`, as `{{payload.issue.title}}`; null takes the body as it is.",
    )
    label = LabelField(default="")  # type: ignore[assignment] # a name
    is_active = StrictBooleanField(default=True)


class TriggerSerializer(serializers.ModelSerializer[WorkflowTrigger]):
    workflow_id = serializers.UUIDField(read_only=True)
    url = serializers.SerializerMethodField(help_text="Where to send signed calls.")
    inputs = ObjectField(read_only=True, allow_null=True)
    label = LabelField(read_only=True)  # type: ignore[assignment] # a name
    previous_secret_expires_at = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="Until when the secret before the last rotation is taken as well."
    )
    last_run_at = serializers.DateTimeField(read_only=True, allow_null=True)
    last_run_id = serializers.UUIDField(read_only=True, allow_null=True)
    last_error = serializers.CharField(read_only=True, help_text="Why the newest start failed; empty after a good one.")
    created_by = serializers.UUIDField(source="created_by_id", read_only=True, allow_null=True)

    class Meta:
        model = WorkflowTrigger
        fields = [
            "id",
            "organization_id",
            "workflow_id",
            "name",
            "url",
            "inputs",
            "label",
            "is_active",
            "previous_secret_expires_at",
            "last_run_at",
            "last_run_id",
            "last_error",
            "created_by",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields

    @extend_schema_field({"type": "string", "pattern": "^https?://"})
    def get_url(self, trigger: WorkflowTrigger) -> str:
        return f"{settings.PUBLIC_URL}/api/v1/workflow-triggers/{trigger.id}/fire"


class NewTriggerSerializer(TriggerSerializer):
    secret = serializers.CharField(read_only=True, help_text="What signs calls; shown this once.")

    class Meta(TriggerSerializer.Meta):
        fields = [*TriggerSerializer.Meta.fields, "secret"]


class FiredSerializer(serializers.Serializer[Any]):
    run_id = serializers.UUIDField()
