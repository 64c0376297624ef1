"""Exposures and observations as they are posted."""

from typing import Any

from rest_framework import serializers

from apps.evaluations.scoring.serializers import CostField
from apps.prompts.models import METRIC_LENGTH, UNIT_LENGTH, VARIANT_LENGTH
from everquant.api.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MOST_AT_ONCE = 1000
MOST_VALUES = 20
LARGEST = 1e12
LONGEST_MS = 1e9


class NumbersField(serializers.DictField):
    """Numbers by name."""

    child = StrictFloatField(min_value=-LARGEST, max_value=LARGEST)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > MOST_VALUES:
            raise serializers.ValidationError(f"At most {MOST_VALUES} names.")
        too_long = [name for name in data if len(name) > METRIC_LENGTH] if isinstance(data, dict) else []
        if too_long:
            raise serializers.ValidationError(f"Names have at most {METRIC_LENGTH} characters.")
        return super().to_internal_value(data)


def _milliseconds(help_text: str) -> StrictFloatField:
    return StrictFloatField(required=False, min_value=0, max_value=LONGEST_MS, help_text=help_text)


class ExposureSerializer(StrictSerializer):
    """What is not known is left out. Of a call that failed there is neither latency nor output."""

    unit_id = StrictCharField(max_length=UNIT_LENGTH)
    variant = StrictCharField(
        required=False, max_length=VARIANT_LENGTH, help_text="What the unit got; another one than its own is a 409."
    )
    success = StrictBooleanField(required=False)
    latency_ms = _milliseconds("Until the answer was there.")
    first_token_ms = _milliseconds("Until its first token was there.")
    cost_usd = CostField(required=False)
    output_tokens = StrictIntegerField(required=False, min_value=0, max_value=2**31 - 1)
    schema_valid = StrictBooleanField(required=False)
    scores = NumbersField(default=dict, help_text="By the names of the test's metrics `score:<name>`.")
    custom = NumbersField(default=dict, help_text="By the names of the test's metrics `custom:<name>`.")


class ExposuresSerializer(StrictSerializer):
    exposures = serializers.ListField(child=ExposureSerializer(), min_length=1, max_length=MOST_AT_ONCE)


class ObservationSerializer(StrictSerializer):
    """Of a unit by its id, or of a request without one by its execution."""

    unit_id = StrictCharField(required=False, max_length=UNIT_LENGTH)
    execution_id = StrictUUIDField(required=False)
    values = NumbersField(allow_empty=False, help_text="By the names of the test's metrics `custom:<name>`.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("unit_id" in attrs) == ("execution_id" in attrs):
            raise serializers.ValidationError({"unit_id": ["Either this or an execution_id."]})
        return attrs


class ObservationsSerializer(StrictSerializer):
    observations = serializers.ListField(child=ObservationSerializer(), min_length=1, max_length=MOST_AT_ONCE)


class RecordedSerializer(serializers.Serializer):
    recorded = serializers.IntegerField(help_text="How many. They are in the results within seconds.")
