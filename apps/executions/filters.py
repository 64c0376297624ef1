"""Filters by everything recorded. Those by time go by the key, so that partitions outside of it are not read."""

from typing import Any

import django_filters
from django.db.models import Q
from drf_spectacular.utils import extend_schema_field

from apps.executions.models import UNIT_ID_LENGTH, Execution, ExecutionQuerySet, Source, Status
from apps.prompts.models import VARIANT_LENGTH
from everquant.api.filters import TrueFalseFilter

_MOST = 2**31 - 1


def _count_filter(field: str, lookup: str, lowest: int = 0) -> Any:
    one = django_filters.NumberFilter(
        field_name=field, lookup_expr=lookup, min_value=lowest, max_value=_MOST, decimal_places=0
    )
    return extend_schema_field({"type": "integer", "minimum": lowest, "maximum": _MOST})(one)


def _cost_filter(lookup: str) -> Any:
    one = django_filters.NumberFilter(field_name="cost_usd", lookup_expr=lookup, min_value=0, max_value=10**12)
    return extend_schema_field({"type": "number", "minimum": 0, "maximum": 10**12})(one)


def _text_filter(longest: int, **options: Any) -> Any:
    schema = {"type": "string", "maxLength": longest, "pattern": r"^[^\u0000]*$"}
    return extend_schema_field(schema)(django_filters.CharFilter(max_length=longest, **options))


class ExecutionFilter(django_filters.FilterSet):
    """`metadata=key:value` finds a top-level value (as text, number or boolean), `metadata=key` any value."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    source = django_filters.ChoiceFilter(choices=Source.choices)
    is_streamed = TrueFalseFilter()
    is_background = TrueFalseFilter()
    is_cached = TrueFalseFilter()
    batch_id = django_filters.UUIDFilter()
    retry_of_id = django_filters.UUIDFilter()
    workflow_id = django_filters.UUIDFilter()
    workflow_run_id = django_filters.UUIDFilter()
    prompt_id = django_filters.UUIDFilter()
    prompt_version_id = django_filters.UUIDFilter()
    version_number = _count_filter("version_number", "exact", lowest=1)
    model_id = django_filters.UUIDFilter()
    provider_model = _text_filter(200)
    created_by = django_filters.UUIDFilter(field_name="created_by_id")
    api_key_id = django_filters.UUIDFilter()
    ab_test_id = django_filters.UUIDFilter()
    ab_variant = _text_filter(VARIANT_LENGTH, method="with_variant")
    unit_id = _text_filter(UNIT_ID_LENGTH, method="with_unit")
    finish_reason = _text_filter(32)
    error_code = _text_filter(40, method="with_error")
    min_cost_usd = _cost_filter("gte")
    max_cost_usd = _cost_filter("lte")
    min_latency_ms = _count_filter("latency_ms", "gte")
    max_latency_ms = _count_filter("latency_ms", "lte")
    min_attempt_count = _count_filter("attempt_count", "gte")
    created_after = django_filters.IsoDateTimeFilter(method="from_time", label="At this time or later.")
    created_before = django_filters.IsoDateTimeFilter(method="before_time", label="Before this time.")
    metadata = _text_filter(500, method="with_metadata")

    class Meta:
        model = Execution
        fields: list[str] = []

    def from_time(self, queryset: ExecutionQuerySet, name: str, value: Any) -> Any:
        return queryset.created_from(value)

    def before_time(self, queryset: ExecutionQuerySet, name: str, value: Any) -> Any:
        return queryset.created_before(value)

    def with_unit(self, queryset: ExecutionQuerySet, name: str, value: str) -> Any:
        return queryset.filter(unit_id=value).exclude(unit_id="")

    def with_variant(self, queryset: ExecutionQuerySet, name: str, value: str) -> Any:
        return queryset.filter(ab_test_id__isnull=False, ab_variant=value)

    def with_error(self, queryset: ExecutionQuerySet, name: str, value: str) -> Any:
        """Only failed ones have any, and those of them have an index."""
        return queryset.filter(status=Status.FAILED, error_code=value)

    def with_metadata(self, queryset: ExecutionQuerySet, name: str, value: str) -> Any:
        """The index has only rows with metadata, which the query has to say."""
        noted = queryset.exclude(metadata={})
        key, separator, wanted = value.partition(":")
        if not separator:
            return noted.filter(metadata__has_key=key)
        found = Q(metadata__contains={key: wanted})
        for other in _other_values(wanted):
            found |= Q(metadata__contains={key: other})
        return noted.filter(found)


def _other_values(text: str) -> list[Any]:
    """What the text would be as a JSON boolean or whole number."""
    if text in {"true", "false"}:
        return [text == "true"]
    digits = text.removeprefix("-")
    return [int(text)] if digits.isascii() and digits.isdigit() and len(digits) <= 18 else []
