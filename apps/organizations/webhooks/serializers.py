"""Webhooks as they are read and written. A secret is shown when it is made, and never again."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from apps.organizations.models import DeliveryStatus, EventType, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from apps.organizations.webhooks.sending import check_form
from everquant.api.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictModelSerializer,
    StrictSerializer,
    StrictUUIDField,
)
from everquant.network.address import MAX_URL_LENGTH


class WebhookURLField(StrictCharField):
    """The form only: where the host leads to is looked up by the view, outside of a transaction."""

    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        try:
            check_form(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return value


class WebhookURLFieldSchema(OpenApiSerializerFieldExtension):
    """Of requests a form that is always taken, without the rarer ones, such as IPv6 addresses, that are taken too."""

    target_class = "apps.organizations.webhooks.serializers.WebhookURLField"
    priority = 1

    def map_serializer_field(self, auto_schema: Any, direction: str) -> Any:
        host, path = "[A-Za-z0-9]([A-Za-z0-9-]{0,60}[A-Za-z0-9])?", "(/[A-Za-z0-9._~-]*)*"
        pattern = f"^https://{host}(:[1-9][0-9]{{0,3}})?{path}$" if direction == "request" else "^https?://[!-~]+$"
        return {"type": "string", "maxLength": MAX_URL_LENGTH, "pattern": pattern}


class EventTypesField(serializers.ListField):
    """Each once, in the order of the table."""

    child = serializers.ChoiceField(choices=EventType.choices)

    def to_internal_value(self, data: Any) -> list[str]:
        wanted = set(super().to_internal_value(data))
        return [known for known in EventType.values if known in wanted]


class WebhookSerializer(StrictModelSerializer):
    name = StrictCharField(max_length=100)
    url = WebhookURLField(max_length=MAX_URL_LENGTH)
    event_types = EventTypesField(min_length=1, max_length=100)
    is_active = StrictBooleanField(required=False, help_text="Activating it again forgets why it was switched off.")
    disabled_reason = serializers.CharField(
        read_only=True, help_text="Why deliveries switched it off; empty where a person did."
    )
    failing_since = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="The first failure after the last delivery that was taken."
    )
    previous_secret_expires_at = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="Until when the secret before the last rotation signs as well."
    )

    class Meta:
        model = WebhookEndpoint
        fields = [
            "id",
            "organization_id",
            "name",
            "url",
            "event_types",
            "is_active",
            "disabled_reason",
            "failing_since",
            "previous_secret_expires_at",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "organization_id"]


class NewWebhookSerializer(WebhookSerializer):
    secret = serializers.CharField(read_only=True, help_text="What signs; shown this once.")

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]


class WebhookDeliverySerializer(StrictSerializer):
    id = StrictUUIDField(read_only=True)
    organization_id = StrictUUIDField(read_only=True)
    webhook_id = StrictUUIDField(source="endpoint_id", read_only=True)
    event_id = serializers.CharField(read_only=True, help_text="The `webhook-id` header of every attempt.")
    event_type = serializers.ChoiceField(choices=EventType.choices, read_only=True)
    status = serializers.ChoiceField(choices=DeliveryStatus.choices, read_only=True)
    attempt_count = serializers.IntegerField(source="attempts", read_only=True)
    next_attempt_at = serializers.DateTimeField(read_only=True, allow_null=True)
    last_status = serializers.IntegerField(read_only=True, allow_null=True, help_text="HTTP status of the last answer.")
    last_error = serializers.CharField(read_only=True)
    delivered_at = serializers.DateTimeField(read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    class Meta:
        model = WebhookDelivery


class WebhookAttemptSerializer(StrictSerializer):
    number = serializers.IntegerField(read_only=True)
    status = serializers.IntegerField(read_only=True, allow_null=True, help_text="HTTP status; null without an answer.")
    latency_ms = serializers.IntegerField(read_only=True)
    response_excerpt = serializers.CharField(read_only=True, help_text="The first 1,024 bytes of the answer.")
    error = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)

    class Meta:
        model = WebhookAttempt


@extend_schema_field({"type": "object", "required": ["type", "timestamp", "data"]})
class PayloadField(serializers.JSONField):
    pass


class WebhookDeliveryDetailSerializer(WebhookDeliverySerializer):
    payload = PayloadField(read_only=True, help_text="The body of every attempt.")
    attempts = WebhookAttemptSerializer(source="attempt_rows", many=True, read_only=True)

    class Meta:
        model = WebhookDelivery
