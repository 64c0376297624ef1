"""Pages of executions, of which there may be tens of millions in many months."""

import struct
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.executions.keys import id_bound, time_of
from apps.executions.models import Execution
from apps.executions.partitions import month_of, oldest_month
from everquant.api.pagination import KeysetPagination, cursor_bytes, encode_cursor

COUNT_LIMIT = 1000
# An index has all that match one of these side by side.
_COUNTED = frozenset({
    "status", "batch_id", "workflow_run_id", "prompt_id", "prompt_version_id", "model_id", "created_by", "api_key_id",
    "ab_test_id", "unit_id", "error_code",
})  # fmt: skip
_NO_FILTERS = frozenset({"page", "per_page", "cursor", "created_after", "created_before"})
_CURSOR = struct.Struct(">16sII")
_IS_EXACT = 1 << 31


class ExecutionPagination(KeysetPagination):
    """The total is counted on the first page, up to 1,000 and with one filter at most: what several filters leave can
    only be counted by looking at all that one of them leaves. Elsewhere it is what is known to be there.

    A cursor has the last key, how many have come up to it, and the total with the highest bit where that is exact.
    """

    cursor_pattern = "^[A-Za-z0-9_-]{32}$"

    def read(self, queryset: Any, cursor: str | None) -> list[Execution]:
        size = self.per_page + 1
        if cursor is not None:
            key, before, known = _CURSOR.unpack(cursor_bytes(cursor, _CURSOR.size))
            self.total, self.total_is_exact = known & ~_IS_EXACT, bool(known & _IS_EXACT)
            rows = newest(queryset, size, below=UUID(bytes=key))
        else:
            before = (self.page - 1) * self.per_page
            self._count(queryset)
            rows = list(queryset.order_by("-id")[before : before + size]) if before else newest(queryset, size)
        self._before = before + self.per_page
        if not self.total_is_exact and (rows or not before):
            self.total = max(self.total, before + len(rows))
            self.total_is_exact = len(rows) < size
        return rows

    def cursor_after(self, row: Execution) -> str:
        known = self.total | (_IS_EXACT if self.total_is_exact else 0)
        return encode_cursor(_CURSOR.pack(row.id.bytes, self._before, known))

    def _count(self, queryset: Any) -> None:
        filters = self.asked - _NO_FILTERS
        self.total, self.total_is_exact = 0, False
        if not filters or (len(filters) == 1 and filters <= _COUNTED):
            counted = queryset.order_by()[: COUNT_LIMIT + 1].count()
            self.total, self.total_is_exact = min(counted, COUNT_LIMIT), counted <= COUNT_LIMIT


def newest(queryset: Any, count: int, *, below: UUID | None = None) -> list[Execution]:
    """The first so many by descending key, of those below this one.

    Of a month alone most of the time. With the default partition, which is of no time, PostgreSQL would look up the
    newest of every month instead of reading one month after the other: so what is older than them is asked apart.
    """
    month = month_of(timezone.now() if below is None else time_of(below))
    start, last = id_bound(month), {} if below is None else {"id__lt": below}
    found = list(queryset.filter(**last, id__gte=start).order_by("-id")[:count])
    if len(found) < count:
        oldest = id_bound(min(month, oldest_month() or month))
        months = queryset.filter(id__gte=oldest, id__lt=start).order_by("-id")[: count - len(found)]
        older = queryset.filter(id__lt=oldest).order_by("-id")[: count - len(found)]
        found += months.union(older, all=True).order_by("-id")[: count - len(found)]
    return found
