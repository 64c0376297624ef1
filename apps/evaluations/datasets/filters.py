from typing import Any

import django_filters
from django.db.models import TextField
from django.db.models.functions import Cast
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError

from apps.evaluations.models import SPLIT_LENGTH, Dataset, ImportStatus
from apps.prompts.filters import STORABLE, TagFilter
from apps.prompts.models import SLUG_LENGTH, TAG_LENGTH
from everquant.api.envelope import Page
from everquant.api.filters import TrueFalseFilter
from everquant.api.pagination import (
    COUNT_LIMIT,
    DEFAULT_PER_PAGE,
    MAX_PAGE,
    MAX_PER_PAGE,
    KeysetPagination,
    integer_parameter,
)

_SPLIT = {"type": "string", "maxLength": SPLIT_LENGTH, "pattern": STORABLE}
_SLUG = {"type": "string", "maxLength": SLUG_LENGTH, "pattern": STORABLE}


@extend_schema_field(_SLUG)
class SlugFilter(django_filters.CharFilter):
    pass


class DatasetFilter(django_filters.FilterSet):
    """`deleted=true` lists what was deleted, and only that."""

    slug = SlugFilter(max_length=SLUG_LENGTH)
    tag = TagFilter(method="with_tag", max_length=TAG_LENGTH)
    created_by = django_filters.UUIDFilter(field_name="created_by_id")
    deleted = TrueFalseFilter(method="only_deleted")

    class Meta:
        model = Dataset
        fields: list[str] = []

    def with_tag(self, queryset: Any, name: str, value: str) -> Any:
        return queryset.filter(tags__contains=[value])

    def only_deleted(self, queryset: Any, name: str, value: Any) -> Any:
        return queryset.deleted() if value else queryset.alive()


@extend_schema_field(_SPLIT)
class SplitFilter(django_filters.CharFilter):
    pass


class ItemFilter(django_filters.FilterSet):
    """Names no model: the view that it is of has datasets in its path."""

    split = SplitFilter(max_length=SPLIT_LENGTH)


class ImportFilter(django_filters.FilterSet):
    """As `ItemFilter`."""

    status = django_filters.ChoiceFilter(choices=ImportStatus.choices)


def searchable(items: Any) -> Any:
    """With the JSON of input and expected value as text."""
    return items.annotate(input_text=Cast("input", TextField()), expected_text=Cast("expected", TextField()))


class PositionPagination(KeysetPagination):
    """In the order of the items. `cursor` is the last answer's `meta.next_cursor`, or `page`, as elsewhere."""

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any]:
        self.page = integer_parameter(request, "page", 1, MAX_PAGE)
        self.per_page = integer_parameter(request, "per_page", DEFAULT_PER_PAGE, MAX_PER_PAGE)
        cursor = request.query_params.get("cursor")
        if cursor is not None and "page" in request.query_params:
            raise ValidationError({"cursor": ["Give either cursor or page."]})
        self.counted = queryset.order_by()[: COUNT_LIMIT + 1].count()
        start = 0 if cursor else (self.page - 1) * self.per_page
        if cursor is not None:
            queryset = queryset.filter(position__gt=_position(cursor))
        rows = list(queryset[start : start + self.per_page + 1])
        self.next_position = rows[self.per_page - 1].position if len(rows) > self.per_page else None
        return rows[: self.per_page]

    def get_paginated_response(self, data: Any) -> Any:
        self.last_id = None
        response = super().get_paginated_response(data)
        page: Page = response.data
        page.meta["next_cursor"] = None if self.next_position is None else str(self.next_position)
        return response

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        *others, cursor = super().get_schema_operation_parameters(view)
        return [*others, {**cursor, "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}}]


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise ValidationError({"cursor": ["Not a cursor of this list."]})
    return int(cursor)
