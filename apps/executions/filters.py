"""Filters by everything recorded. Those by time go by the key, so that partitions outside of it are not read."""

from typing import Any

import django_filters
from django.db.models import Q

from apps.executions.models import UNIT_ID_LENGTH, Execution, ExecutionQuerySet, Source, Status
from everquant.api.filters import TrueFalseFilter

_MOST = 2**31 - 1


def _count_filter(field: str, lookup: str) -> django_filters.NumberFilter:
    return django_filters.NumberFilter(
        field_name=field, lookup_expr=lookup, min_value=0, max_value=_MOST, decimal_places=0
    )


def _cost_filter(lookup: str) -> django_filters.NumberFilter:
    return django_filters.NumberFilter(field_name="cost_usd", lookup_expr=lookup, min_value=0, max_value=10**12)


class ExecutionFilter(django_filters.FilterSet):
    """`metadata=key:value` finds a top-level value (as text, number or boolean), `metadata=key` any value."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    source = django_filters.ChoiceFilter(choices=Source.choices)
    is_streamed = TrueFalseFilter()
    prompt_id = django_filters.UUIDFilter()
    prompt_version_id = django_filters.UUIDFilter()
    version_number = django_filters.NumberFilter(min_value=1, max_value=_MOST, decimal_places=0)
    model_id = django_filters.UUIDFilter()
    provider_model = django_filters.CharFilter(max_length=200)
    created_by = django_filters.UUIDFilter(field_name="created_by_id")
    api_key_id = django_filters.UUIDFilter()
    unit_id = django_filters.CharFilter(max_length=UNIT_ID_LENGTH, method="with_unit")
    finish_reason = django_filters.CharFilter(max_length=32)
    error_code = django_filters.CharFilter(max_length=40)
    min_cost_usd = _cost_filter("gte")
    max_cost_usd = _cost_filter("lte")
    min_latency_ms = _count_filter("latency_ms", "gte")
    max_latency_ms = _count_filter("latency_ms", "lte")
    min_attempt_count = _count_filter("attempt_count", "gte")
    created_after = django_filters.IsoDateTimeFilter(method="from_time", label="At this time or later.")
    created_before = django_filters.IsoDateTimeFilter(method="before_time", label="Before this time.")
    metadata = django_filters.CharFilter(method="with_metadata", max_length=500)

    class Meta:
        model = Execution
        fields: list[str] = []

    def from_time(self, queryset: ExecutionQuerySet, name: str, value: Any) -> Any:
        return queryset.created_from(value)

    def before_time(self, queryset: ExecutionQuerySet, name: str, value: Any) -> Any:
        return queryset.created_before(value)

    def with_unit(self, queryset: ExecutionQuerySet, name: str, value: str) -> Any:
        return queryset.filter(unit_id=value).exclude(unit_id="")

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
