from typing import Any

import django_filters
from django.db.models import TextField
from django.db.models.functions import Cast
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError

from apps.evaluations.models import SPLIT_LENGTH, Dataset, ImportStatus
from apps.prompts.filters import STORABLE, TagFilter
from apps.prompts.models import SLUG_LENGTH, TAG_LENGTH
from everquant.api.filters import TrueFalseFilter
from everquant.api.pagination import (
    KeysetPagination,
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

    cursor_pattern = "^[0-9]{1,18}$"

    def ordered(self, queryset: Any, cursor: str | None) -> Any:
        return queryset if cursor is None else queryset.filter(position__gt=_position(cursor))

    def cursor_after(self, row: Any) -> str:
        return str(row.position)


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise ValidationError({"cursor": ["Not a cursor of this list."]})
    return int(cursor)
