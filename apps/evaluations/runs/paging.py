"""Pages of results by the number of their case, in the order of the items."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.response import Response

from everquant.api.envelope import Page
from everquant.api.pagination import (
    COUNT_LIMIT,
    DEFAULT_PER_PAGE,
    MAX_PER_PAGE,
    KeysetPagination,
    integer_parameter,
    paged_schema,
)


class CasePagination(BasePagination):
    """`cursor` is the last answer's `meta.next_cursor`. The total is counted up to 10,000."""

    query_parameters = frozenset({"per_page", "cursor"})

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any]:
        self.per_page = integer_parameter(request, "per_page", DEFAULT_PER_PAGE, MAX_PER_PAGE)
        after = _decoded(request.query_params.get("cursor"))
        self.counted = queryset.order_by()[: COUNT_LIMIT + 1].count()
        rows = list(queryset.filter(id__gt=after).order_by("id")[: self.per_page + 1])
        self.next_cursor = str(rows[self.per_page - 1].id) if len(rows) > self.per_page else None
        return rows[: self.per_page]

    def get_paginated_response(self, data: Any) -> Response:
        meta = {
            "per_page": self.per_page,
            "total": min(self.counted, COUNT_LIMIT),
            "total_is_exact": self.counted <= COUNT_LIMIT,
            "next_cursor": self.next_cursor,
        }
        return Response(Page(data, meta))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        cursor = {
            "name": "cursor",
            "required": False,
            "in": "query",
            "description": "`meta.next_cursor` of the page before.",
            "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
        }
        per_page = KeysetPagination().get_schema_operation_parameters(view)[1]
        return [per_page, cursor]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        counts: dict[str, Any] = {name: {"type": "integer", "minimum": 0} for name in ("per_page", "total")}
        cursor = {"next_cursor": {"type": ["string", "null"]}}
        return paged_schema(schema, {**counts, "total_is_exact": {"type": "boolean"}, **cursor})


class DiffPagination(CasePagination):
    """Pages of one object that holds the rows."""

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return super().get_paginated_response_schema(schema["items"])


def _decoded(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise ValidationError({"cursor": ["Not a cursor of this list."]})
    return int(cursor)
