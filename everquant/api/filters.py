"""Filters, search and ordering, each refusing what it does not know."""

import re
from datetime import UTC
from functools import reduce
from operator import and_, or_
from typing import Any

from django import forms
from django.db.models import Q, QuerySet
from django_filters import CharFilter, Filter, IsoDateTimeFilter
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend

MAX_PARAMETER_LENGTH = 1000
MAX_SEARCH_WORDS = 10
_WORD = re.compile(r"[^ \t\n\r\f\v]+")  # Unicode's spaces differ from one language's regex to another's


class StrictFilterBackend(DjangoFilterBackend):
    """The view's `filterset_class`; a value that does not parse is a 400 naming the parameter.

    A request that names none of its filters does not pay for making them.
    """

    def filter_queryset(self, request: Any, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        filterset_class = getattr(view, "filterset_class", None)
        if filterset_class is not None:
            given = request.query_params.keys() & filterset_class.base_filters.keys()
            if not given:
                return queryset
            _refuse_empty(request, {name: filterset_class.base_filters[name] for name in given})
        filtered: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return filtered


def _refuse_empty(request: Any, filters: dict[str, Any]) -> None:
    """Raises ValidationError for an empty value where it is no text: django-filter would not filter at all."""
    typed = (name for name, one in filters.items() if not isinstance(one, CharFilter))
    empty = {name: ["Must not be empty."] for name in typed if not request.query_params[name]}
    if empty:
        raise ValidationError(empty)


class TrueFalseField(forms.Field):
    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        if value not in {"true", "false"}:
            raise forms.ValidationError("Must be true or false.")
        return bool(value == "true")


@extend_schema_field({"type": "boolean"})
class TrueFalseFilter(Filter):
    """`true` or `false`; django-filter's BooleanFilter would pass over anything else."""

    field_class = TrueFalseField


class UTCField(IsoDateTimeField):
    """In UTC, as Python knows more time zones than PostgreSQL does."""

    def to_python(self, value: Any) -> Any:
        found = super().to_python(value)
        try:
            return found and found.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None


class TimeFilter(IsoDateTimeFilter):
    field_class = UTCField


class SearchBackend(BaseFilterBackend):
    """`search`: every word must occur in one of the view's `search_fields`, ignoring case."""

    def filter_queryset(self, request: Any, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        fields = getattr(view, "search_fields", None)
        words = _WORD.findall(request.query_params.get("search", ""))
        if not fields or not words:
            return queryset
        if len(words) > MAX_SEARCH_WORDS:
            raise ValidationError({"search": [f"At most {MAX_SEARCH_WORDS} words."]})
        each = (reduce(or_, (Q(**{f"{field}__icontains": word}) for field in fields)) for word in words)
        return queryset.filter(reduce(and_, each))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        fields = getattr(view, "search_fields", None)
        if not fields:
            return []
        space, word = r"[ \t\n\r\f\v]", r"[^ \t\n\r\f\v\u0000]"
        pattern = rf"^{space}*({word}+{space}+){{0,{MAX_SEARCH_WORDS - 1}}}{word}*{space}*$"
        return [
            {
                "name": "search",
                "required": False,
                "in": "query",
                "description": f"Words that must occur in: {', '.join(fields)}.",
                "schema": {"type": "string", "maxLength": MAX_PARAMETER_LENGTH, "pattern": pattern},
            }
        ]


class StrictOrderingFilter(BaseFilterBackend):
    """`ordering=name,-created_at` over the view's `ordering_fields`; the key is always added as the last word."""

    def filter_queryset(self, request: Any, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        allowed = getattr(view, "ordering_fields", ())
        raw = request.query_params.get("ordering")
        if raw is None or not allowed:
            return queryset
        terms = [term.strip() for term in raw.split(",")]
        unknown = [term for term in terms if term.removeprefix("-") not in allowed]
        if unknown:
            raise ValidationError({"ordering": [f"Must be of: {', '.join(allowed)}, each with or without '-'."]})
        return queryset.order_by(*terms, "-id")

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        allowed = getattr(view, "ordering_fields", ())
        if not allowed:
            return []
        one = "-?(" + "|".join(allowed) + ")"
        return [
            {
                "name": "ordering",
                "required": False,
                "in": "query",
                "description": f"Comma-separated, '-' for descending: {', '.join(allowed)}.",
                "schema": {"type": "string", "pattern": f"^{one}(,{one})*$"},
            }
        ]


def refuse_unknown_parameters(request: Any, allowed: frozenset[str], lists: frozenset[str] = frozenset()) -> None:
    """Raises ValidationError naming each unknown, repeated (but those of `lists`) or unstorable query parameter."""
    problems: dict[str, list[str]] = {}
    for name, values in request.query_params.lists():
        if name not in allowed:
            problems[name.replace("\x00", "")] = ["Unknown query parameter."]
        elif len(values) > 1 and name not in lists:
            problems[name] = ["Given more than once."]
        elif any("\x00" in value or len(value) > MAX_PARAMETER_LENGTH for value in values):
            problems[name] = [f"At most {MAX_PARAMETER_LENGTH} characters, none of them NUL."]
    if problems:
        raise ValidationError(problems)
