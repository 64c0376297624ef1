"""Schedules as they are read and written."""

from itertools import islice
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.prompts.models import LABEL_LENGTH, LABEL_PATTERN, is_label
from apps.workflows.models import Missed, Overlap, WorkflowSchedule
from apps.workflows.models.starters import CRON_LENGTH, TIMEZONE_LENGTH
from apps.workflows.run_serializers import MAX_INPUT_BYTES, SizedObjectField
from apps.workflows.schedules.times import CRON_PATTERN, check_cron, time_zones, times_after
from everquant.api.serializers import JSONObjectField, StrictBooleanField, StrictCharField, StrictSerializer

NEXT_TIMES = 5


@extend_schema_field({"type": "string", "maxLength": LABEL_LENGTH, "pattern": f"^({LABEL_PATTERN})?$"})
class LabelField(serializers.Field[str, Any, str, Any]):
    """Which version runs: empty for `production`, and without that the current one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or (data and not is_label(data)):
            raise serializers.ValidationError("Must be a label, or empty.")
        return data

    def to_representation(self, value: str) -> str:
        return value


@extend_schema_field({"type": "object", "additionalProperties": True})
class ObjectField(JSONObjectField):
    pass


@extend_schema_field({"type": "string", "maxLength": CRON_LENGTH, "pattern": f"^{CRON_PATTERN}$"})
class CronField(StrictCharField):
    """Minute, hour, day of the month, month, day of the week."""

    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        try:
            check_cron(value)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None
        return value


@extend_schema_field({"type": "string", "maxLength": TIMEZONE_LENGTH, "pattern": "^[A-Za-z0-9_+/-]+$"})
class TimeZoneField(StrictCharField):
    """A name of the IANA database, such as `Europe/Berlin`."""

    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        if value not in time_zones():
            raise serializers.ValidationError("There is no such time zone; they are named as 'Europe/Berlin' or 'UTC'.")
        return value


class ScheduleInputSerializer(StrictSerializer):
    name = StrictCharField(max_length=200)
    cron = CronField(max_length=CRON_LENGTH)
    timezone = TimeZoneField(max_length=TIMEZONE_LENGTH, default="UTC")
    inputs = SizedObjectField(
        max_bytes=MAX_INPUT_BYTES,
        default=dict,
        help_text="As those of an execute; held against the workflow now and at start.",
    )
    label = LabelField(default="")  # type: ignore[assignment] # a name
    overlap = serializers.ChoiceField(
        Overlap.choices, default=Overlap.SKIP, help_text="When the schedule's run before has not ended."
    )
    missed = serializers.ChoiceField(
        Missed.choices,
        default=Missed.RUN_ONCE,
        help_text="When no worker was there for more than five minutes. `run_all` needs the overlap `queue`.",
    )
    is_active = StrictBooleanField(default=True)


class ScheduleSerializer(serializers.ModelSerializer[WorkflowSchedule]):
    workflow_id = serializers.UUIDField(read_only=True)
    inputs = ObjectField(read_only=True)
    label = LabelField(read_only=True)  # type: ignore[assignment] # a name
    next_run_at = serializers.DateTimeField(read_only=True, allow_null=True, help_text="Null while it is inactive.")
    next_times = serializers.SerializerMethodField(help_text="The next five, in UTC.")
    last_run_at = serializers.DateTimeField(read_only=True, allow_null=True)
    last_run_id = serializers.UUIDField(read_only=True, allow_null=True)
    last_skipped_at = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="The newest time that did not become a run, by overlap or missed."
    )
    last_error = serializers.CharField(read_only=True, help_text="Why the newest start failed; empty after a good one.")
    created_by = serializers.UUIDField(source="created_by_id", read_only=True, allow_null=True)

    class Meta:
        model = WorkflowSchedule
        fields = [
            "id",
            "organization_id",
            "workflow_id",
            "name",
            "cron",
            "timezone",
            "inputs",
            "label",
            "overlap",
            "missed",
            "is_active",
            "next_run_at",
            "next_times",
            "last_run_at",
            "last_run_id",
            "last_skipped_at",
            "last_error",
            "created_by",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.DateTimeField(), max_length=NEXT_TIMES))
    def get_next_times(self, schedule: WorkflowSchedule) -> list[Any]:
        if schedule.next_run_at is None:
            return []
        following = times_after(schedule.cron, schedule.timezone, schedule.next_run_at)
        return [schedule.next_run_at, *islice(following, NEXT_TIMES - 1)]
