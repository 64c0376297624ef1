from typing import Any

from rest_framework import serializers

from apps.analytics.models import LEAST_EXECUTION_DAYS, MOST_DAYS, RetentionPolicy
from apps.analytics.models.retention import REASON_LENGTH
from everquant.api.serializers import StrictBooleanField, StrictCharField, StrictIntegerField, StrictSerializer


class RetentionInputSerializer(StrictSerializer):
    """Days after the day on which an execution was made (UTC); null keeps for ever."""

    payload_days = StrictIntegerField(
        allow_null=True, min_value=1, max_value=MOST_DAYS, help_text="What was said, and the attempts at providers."
    )
    execution_days = StrictIntegerField(
        allow_null=True,
        min_value=LEAST_EXECUTION_DAYS,
        max_value=MOST_DAYS,
        help_text="The executions themselves and their scores; not fewer than `payload_days`.",
    )
    legal_hold = StrictBooleanField(
        required=False, help_text="Nothing at all is deleted meanwhile. Left out, it stays as it is, with its reason."
    )
    legal_hold_reason = StrictCharField(required=False, allow_blank=True, max_length=REASON_LENGTH)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        payloads, executions = attrs["payload_days"], attrs["execution_days"]
        if payloads is not None and executions is not None and executions < payloads:
            raise serializers.ValidationError({"execution_days": ["Must not be less than payload_days."]})
        return attrs


class RetentionSerializer(serializers.ModelSerializer[RetentionPolicy]):
    class Meta:
        model = RetentionPolicy
        fields = [
            "organization_id",
            "payload_days",
            "execution_days",
            "legal_hold",
            "legal_hold_reason",
            "payloads_purged_before",
            "purged_before",
        ]
        read_only_fields = fields
        extra_kwargs = {
            "payload_days": {"allow_null": True},
            "execution_days": {"allow_null": True},
            "payloads_purged_before": {"help_text": "Of executions made before this day payloads may be gone."},
            "purged_before": {"help_text": "Executions made before this day may be gone."},
        }
