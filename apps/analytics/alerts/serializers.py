"""Alerts as they are read and written. What fits together is the services' to say, also of a part that changes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.analytics.models import Alert, AlertBaseline, AlertDirection, AlertEvent, AlertMetric, AlertState
from apps.analytics.models.alerts import (
    LEAST_WINDOW_MINUTES,
    MOST_COOLDOWN_MINUTES,
    MOST_COUNT,
    MOST_EMAILS,
    MOST_WINDOW_MINUTES,
    REASON_LENGTH,
    SCORE_NAME_LENGTH,
)
from apps.executions.models import Source
from apps.organizations.models import DeliveryStatus
from apps.prompts.models import TAG_LENGTH
from apps.users.permissions import Role
from apps.users.serializers import EmailAddressField
from everquant.api.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MOST_VALUES = 20
LONGEST_MUTE = timedelta(days=366)


def _any_of(child: Any) -> Any:
    return serializers.ListField(child=child, required=False, min_length=1, max_length=MOST_VALUES)


class AlertFiltersSerializer(StrictSerializer):
    """Of each that is given an execution must have one of the values. Ids are stored as text."""

    prompt = _any_of(StrictUUIDField())
    model = _any_of(StrictUUIDField())
    provider = _any_of(StrictUUIDField())
    source = _any_of(serializers.ChoiceField(choices=Source.choices))
    tag = _any_of(StrictCharField(max_length=TAG_LENGTH))
    user = _any_of(StrictUUIDField())
    api_key = _any_of(StrictUUIDField())
    ab_test = _any_of(StrictUUIDField())
    workflow = _any_of(StrictUUIDField())

    def to_internal_value(self, data: Any) -> dict[str, list[str]]:
        found = super().to_internal_value(data)
        return {name: list(dict.fromkeys(str(value) for value in values)) for name, values in found.items()}

    def to_representation(self, instance: Any) -> Any:
        return instance


class RolesField(serializers.ListField):
    """Each once, in the order of the table."""

    child = serializers.ChoiceField(choices=Role.choices)

    def to_internal_value(self, data: Any) -> list[str]:
        wanted = set(super().to_internal_value(data))
        return [role for role in Role.values if role in wanted]


class EmailsField(serializers.ListField):
    child = EmailAddressField()

    def to_internal_value(self, data: Any) -> list[str]:
        return list(dict.fromkeys(super().to_internal_value(data)))


class AlertInputSerializer(StrictSerializer):
    """It fires when `metric` of the last `window_minutes` lies `direction` the threshold."""

    name = StrictCharField(max_length=200)
    is_active = StrictBooleanField(default=True)
    metric = serializers.ChoiceField(choices=AlertMetric.choices)
    score_name = StrictCharField(
        default="", allow_blank=True, max_length=SCORE_NAME_LENGTH, help_text="Of `score_mean`."
    )
    filters = AlertFiltersSerializer(default=dict)
    direction = serializers.ChoiceField(choices=AlertDirection.choices, default=AlertDirection.ABOVE.value)
    threshold = StrictFloatField(
        help_text="In the unit of the metric; with a baseline the change as a share of it: 0.5 is half more, or less."
    )
    baseline = serializers.ChoiceField(choices=AlertBaseline.choices, default=AlertBaseline.NONE.value)
    window_minutes = StrictIntegerField(min_value=LEAST_WINDOW_MINUTES, max_value=MOST_WINDOW_MINUTES)
    min_count = StrictIntegerField(
        default=None,
        allow_null=True,
        min_value=0,
        max_value=MOST_COUNT,
        help_text="Executions (scores, of `score_mean`) below which nothing is known; 20 by default, and for costs "
        "without a baseline 0.",
    )
    fires_on_no_data = StrictBooleanField(default=False, help_text="Whether fewer than `min_count`, or none, fire too.")
    cooldown_minutes = StrictIntegerField(
        default=30, min_value=0, max_value=MOST_COOLDOWN_MINUTES, help_text="Before it may fire anew once resolved."
    )
    roles = RolesField(default=lambda: [Role.ADMIN.value], max_length=10, help_text="Members who get a mail.")
    emails = EmailsField(default=list, max_length=MOST_EMAILS, help_text="Further addresses that get a mail.")


class AlertSerializer(serializers.ModelSerializer[Alert]):
    filters = AlertFiltersSerializer(read_only=True)
    roles = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices), read_only=True)
    emails = serializers.ListField(child=serializers.CharField(), read_only=True)
    state = serializers.ChoiceField(choices=AlertState.choices, read_only=True)

    class Meta:
        model = Alert
        fields = [
            "id",
            "organization_id",
            "name",
            "is_active",
            "metric",
            "score_name",
            "filters",
            "direction",
            "threshold",
            "baseline",
            "window_minutes",
            "min_count",
            "fires_on_no_data",
            "cooldown_minutes",
            "roles",
            "emails",
            "state",
            "firing_since",
            "muted_until",
            "mute_reason",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields
        extra_kwargs = {"firing_since": {"allow_null": True}, "muted_until": {"allow_null": True}}


class MuteSerializer(StrictSerializer):
    """Either `until` or `minutes`."""

    until = serializers.DateTimeField(required=False)
    minutes = StrictIntegerField(required=False, min_value=1, max_value=LONGEST_MUTE // timedelta(minutes=1))
    reason = StrictCharField(default="", allow_blank=True, max_length=REASON_LENGTH)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("until" in attrs) == ("minutes" in attrs):
            raise serializers.ValidationError({"until": ["Give either until or minutes."]})
        now = timezone.now()
        until = _utc(attrs["until"]) if "until" in attrs else now + timedelta(minutes=attrs["minutes"])
        if not now < until <= now + LONGEST_MUTE:
            raise serializers.ValidationError({"until": [f"Must lie in the next {LONGEST_MUTE.days} days."]})
        return {"until": until, "reason": attrs["reason"]}


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise serializers.ValidationError({"until": ["There is no such time."]}) from None


class AlertConditionSerializer(serializers.Serializer[Any]):
    metric = serializers.ChoiceField(choices=AlertMetric.choices)
    score_name = serializers.CharField(allow_blank=True)
    filters = AlertFiltersSerializer()
    direction = serializers.ChoiceField(choices=AlertDirection.choices)
    threshold = serializers.FloatField()
    baseline = serializers.ChoiceField(choices=AlertBaseline.choices)
    window_minutes = serializers.IntegerField()
    min_count = serializers.IntegerField()
    fires_on_no_data = serializers.BooleanField()


class AlertMailsSerializer(serializers.Serializer[Any]):
    """Mails of an event, by what became of them. A pending one is tried again; a failed one was given up."""

    pending = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    last_error = serializers.CharField(allow_blank=True, help_text="Of one that was not sent; empty without any.")


class AlertEventSerializer(serializers.ModelSerializer[AlertEvent]):
    condition = AlertConditionSerializer(read_only=True)
    resolution = serializers.SerializerMethodField(help_text="Null while it goes on.")
    mails = AlertMailsSerializer(read_only=True)

    class Meta:
        model = AlertEvent
        fields = [
            "id",
            "alert_id",
            "reason",
            "message",
            "condition",
            "threshold",
            "value",
            "count",
            "baseline_value",
            "baseline_count",
            "fired_at",
            "fired_told_at",
            "resolved_at",
            "resolved_told_at",
            "resolution",
            "resolved_value",
            "mails",
        ]
        read_only_fields = fields
        extra_kwargs = {
            "value": {"allow_null": True, "help_text": "In the unit of the metric; null where nothing was measured."},
            "count": {"help_text": "Executions, or scores."},
            "fired_told_at": {"help_text": "Null while nobody was told, as the alert is muted."},
        }

    @extend_schema_field(serializers.ChoiceField(choices=AlertEvent.Resolution.choices, allow_null=True))
    def get_resolution(self, event: AlertEvent) -> str | None:
        return event.resolution or None


class CurrentSerializer(serializers.Serializer[Any]):
    """What the alert sees now. `is_breached` is null where too little is known to say."""

    window_from = serializers.DateTimeField()
    window_to = serializers.DateTimeField()
    value = serializers.FloatField(allow_null=True, source="reading.value")
    count = serializers.IntegerField(source="reading.count", help_text="Executions, or scores.")
    baseline_value = serializers.SerializerMethodField()
    baseline_count = serializers.SerializerMethodField()
    change = serializers.FloatField(allow_null=True, help_text="Of the baseline, as a share of it.")
    is_breached = serializers.BooleanField(allow_null=True)

    @extend_schema_field({"type": ["number", "null"], "format": "double"})
    def get_baseline_value(self, found: Any) -> float | None:
        return found.baseline and found.baseline.value

    @extend_schema_field({"type": ["integer", "null"]})
    def get_baseline_count(self, found: Any) -> int | None:
        return found.baseline and found.baseline.count


class TestedWebhookSerializer(serializers.Serializer[Any]):
    webhook_id = serializers.UUIDField()
    name = serializers.CharField()
    delivery_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=DeliveryStatus.choices, help_text="A pending one is tried again.")
    last_status = serializers.IntegerField(allow_null=True, help_text="HTTP status of the answer.")
    error = serializers.CharField(allow_blank=True)


class TestedMailSerializer(serializers.Serializer[Any]):
    email = serializers.CharField()
    is_sent = serializers.BooleanField()
    error = serializers.CharField(allow_blank=True)


class TestedSerializer(serializers.Serializer[Any]):
    """What came of a test."""

    message = serializers.CharField()
    webhooks = TestedWebhookSerializer(many=True)
    mails = TestedMailSerializer(many=True)
