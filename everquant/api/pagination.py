"""Pages by number, with a total. Executions and other long logs page by key (`KeysetPagination`)."""

import base64
import binascii
from typing import Any
from uuid import UUID

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.response import Response

from everquant.api.envelope import Page

DEFAULT_PER_PAGE = 20
MAX_PER_PAGE = 100
MAX_PAGE = 10_000
COUNT_LIMIT = 10_000


def integer_parameter(request: Any, name: str, default: int, highest: int, *, lowest: int = 1) -> int:
    """A query parameter between `lowest` (1) and `highest`; raises ValidationError naming it."""
    raw = request.query_params.get(name)
    if raw is None:
        return default
    if not (raw.isascii() and raw.isdigit() and len(raw) <= 9 and lowest <= int(raw) <= highest):
        raise ValidationError({name: [f"Must be a whole number from {lowest} to {highest}."]})
    return int(raw)


_PER_PAGE_SCHEMA = {
    "name": "per_page",
    "required": False,
    "in": "query",
    "description": "Results a page.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PER_PAGE, "default": DEFAULT_PER_PAGE},
}


class PagePagination(BasePagination):
    """`page` and `per_page`; a page beyond the last is empty. Two queries: the count and the page."""

    query_parameters = frozenset({"page", "per_page"})

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any]:
        self.page = integer_parameter(request, "page", 1, MAX_PAGE)
        self.per_page = integer_parameter(request, "per_page", DEFAULT_PER_PAGE, MAX_PER_PAGE)
        self.total = queryset.count()
        start = (self.page - 1) * self.per_page
        return list(queryset[start : start + self.per_page]) if start < self.total else []

    def get_paginated_response(self, data: Any) -> Response:
        meta = {
            "page": self.page,
            "per_page": self.per_page,
            "total": self.total,
            "total_pages": -(-self.total // self.per_page),
        }
        return Response(Page(data, meta))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        page = {
            "name": "page",
            "required": False,
            "in": "query",
            "description": "The page, counted from 1.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 1},
        }
        return [page, _PER_PAGE_SCHEMA]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        counts = {name: {"type": "integer", "minimum": 0} for name in ("page", "per_page", "total", "total_pages")}
        return paged_schema(schema, counts)


class KeysetPagination(BasePagination):
    """Newest first by UUIDv7 key. `cursor` is the last answer's `meta.next_cursor`; or `page`, as elsewhere.

    The total is counted up to 10,000; beyond that `total_is_exact` is false.
    """

    query_parameters = frozenset({"page", "per_page", "cursor"})
    cursor_pattern = "^[A-Za-z0-9_-]{22}$"

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any]:
        self.page = integer_parameter(request, "page", 1, MAX_PAGE)
        self.per_page = integer_parameter(request, "per_page", DEFAULT_PER_PAGE, MAX_PER_PAGE)
        cursor = request.query_params.get("cursor")
        if cursor is not None and "page" in request.query_params:
            raise ValidationError({"cursor": ["Give either cursor or page."]})
        self.asked = request.query_params.keys()
        rows = self.read(queryset, cursor)
        self.last = rows[self.per_page - 1] if len(rows) > self.per_page else None
        return rows[: self.per_page]

    def read(self, queryset: Any, cursor: str | None) -> list[Any]:
        """The rows of the page, and one more if there are more. Sets `total` and `total_is_exact`."""
        counted = queryset.order_by()[: COUNT_LIMIT + 1].count()
        self.total, self.total_is_exact = min(counted, COUNT_LIMIT), counted <= COUNT_LIMIT
        start = 0 if cursor else (self.page - 1) * self.per_page
        return list(self.ordered(queryset, cursor)[start : start + self.per_page + 1])

    def ordered(self, queryset: Any, cursor: str | None) -> Any:
        queryset = queryset.order_by("-id")
        return queryset if cursor is None else queryset.filter(id__lt=decode_cursor(cursor))

    def cursor_after(self, row: Any) -> str:
        return encode_cursor(row.id.bytes)

    def get_paginated_response(self, data: Any) -> Response:
        meta = {
            "page": self.page,
            "per_page": self.per_page,
            "total": self.total,
            "total_pages": -(-self.total // self.per_page),
            "total_is_exact": self.total_is_exact,
            "next_cursor": None if self.last is None else self.cursor_after(self.last),
        }
        return Response(Page(data, meta))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        cursor = {
            "name": "cursor",
            "required": False,
            "in": "query",
            "description": "`meta.next_cursor` of the page before. Not together with `page`.",
            "schema": {"type": "string", "pattern": self.cursor_pattern},
        }
        return [*PagePagination().get_schema_operation_parameters(view), cursor]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        meta: dict[str, Any] = {
            name: {"type": "integer", "minimum": 0} for name in ("page", "per_page", "total", "total_pages")
        }
        meta["total_is_exact"] = {"type": "boolean"}
        meta["next_cursor"] = {"type": ["string", "null"]}
        return paged_schema(schema, meta)


def paged_schema(schema: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """The whole envelope of a list; the schema hook leaves it as it is."""
    return {
        "type": "object",
        "required": ["success", "data", "meta"],
        "properties": {
            "success": {"type": "boolean", "const": True},
            "data": schema,
            "meta": {"type": "object", "required": list(meta), "properties": meta},
        },
    }


def encode_cursor(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> UUID:
    return UUID(bytes=cursor_bytes(cursor, 16))


def cursor_bytes(cursor: str, length: int) -> bytes:
    """What `encode_cursor` was given; raises ValidationError for anything but so many bytes."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        data = b""
    if len(data) != length:
        raise ValidationError({"cursor": ["Not a cursor of this list."]})
    return data
