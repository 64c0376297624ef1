"""Serializer bases that refuse what they do not know, and name it."""

import re
from functools import cached_property
from typing import Any

from django.db import models
from rest_framework import serializers

from everquant.context import current


class StrictSerializer(serializers.Serializer):
    """Unknown fields are errors; so are values for fields that only the server writes."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = {str(name): ["Unknown field."] for name in data if name not in self._writable_names}
            if unknown:
                raise serializers.ValidationError(unknown)
        return super().to_internal_value(data)

    @cached_property
    def _writable_names(self) -> frozenset[str]:
        return frozenset(name for name, field in self.fields.items() if not field.read_only)


class JSONObjectField(serializers.JSONField):
    """A JSON object (not a list, string or number)."""

    default_error_messages = {"not_object": "Must be a JSON object."}

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if not isinstance(value, dict):
            self.fail("not_object")
        return value


class StrictCharField(serializers.CharField):
    """Text only: DRF would turn numbers into strings."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class StrictUUIDField(serializers.UUIDField):
    """An id in its usual form: DRF would take integers, URNs and bare digits too."""

    _form = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str) or not self._form.fullmatch(data):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    """Whole JSON numbers only (`2.0` is one): DRF would take strings and booleans too."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return int(super().to_internal_value(data))


class StrictFloatField(serializers.FloatField):
    """JSON numbers only: DRF would take strings and booleans too."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return float(super().to_internal_value(data))


class StrictBooleanField(serializers.BooleanField):
    """`true` and `false` only: DRF would take "yes", 1 and others too."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictModelSerializer(StrictSerializer, serializers.ModelSerializer):
    """A ModelSerializer that refuses unknown fields and converts no types."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.CharField: StrictCharField,
        models.TextField: StrictCharField,
        models.UUIDField: StrictUUIDField,
        models.IntegerField: StrictIntegerField,
        models.PositiveIntegerField: StrictIntegerField,
        models.PositiveSmallIntegerField: StrictIntegerField,
        models.BooleanField: StrictBooleanField,
    }


class EmptySerializer(StrictSerializer):
    """An action without input: an empty body or `{}`."""


class ScopedField(serializers.PrimaryKeyRelatedField):
    """A reference in a request body, found only within the caller's organization.

    The queryset's model is tenant-scoped (`for_organization`). Another organization's id reads as unknown.
    """

    default_error_messages = {"does_not_exist": "No such object.", "incorrect_type": "Must be an id."}

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("pk_field", StrictUUIDField())
        super().__init__(**kwargs)

    def get_queryset(self) -> Any:
        queryset: Any = super().get_queryset()
        context = current()
        if queryset is None or context is None or context.principal is None:
            return None  # while the API is described
        return queryset.for_organization(context.principal.organization_id)
