"""Monthly partitions of the tables of executions, by RANGE on their UUIDv7 key.

Rows outside of every month land in the default partition, so that nothing is refused; the month that is made for
them later takes them over.
"""

from datetime import UTC, datetime
from itertools import pairwise

from django.db import connection, transaction
from django.utils import timezone

from apps.executions.keys import id_bound

KEYS = {
    "executions_execution": "id",
    "executions_executionpayload": "execution_id",
    "executions_executionattempt": "execution_id",
}
MONTHS_AHEAD = 3
_LOCK = 7_305_201


def ensure_partitions(*, now: datetime | None = None, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make the missing partitions of this month and the next `months_ahead`; gives their names.

    Each is one short transaction. Writers are held up only while rows of the default partition move.
    """
    return _ensure_months((now or timezone.now()).astimezone(UTC), months_ahead + 1)


def ensure_partitions_between(start: datetime, end: datetime) -> list[str]:
    """Make the missing partitions of every month from that of `start` to that of `end`; gives their names."""
    first, last = start.astimezone(UTC), end.astimezone(UTC)
    return _ensure_months(first, (last.year - first.year) * 12 + last.month - first.month + 1)


def _ensure_months(first: datetime, count: int) -> list[str]:
    months = [_month(first, offset) for offset in range(count + 1)]
    return [name for table in KEYS for start, end in pairwise(months) if (name := _ensure(table, start, end))]


def month_of(moment: datetime) -> datetime:
    """The first instant (UTC) of its month."""
    return _month(moment.astimezone(UTC), 0)


def oldest_month() -> datetime | None:
    """The start of the first month that has a partition of executions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(substring(c.relname FROM '_y(\\d{4}m\\d{2})$')) FROM pg_inherits i "
            "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass('executions_execution')"
        )
        found = cursor.fetchone()[0]
    return datetime.strptime(f"{found} +0000", "%Ym%m %z") if found else None


def partition_name(table: str, start: datetime) -> str:
    return f"{table}_{start:y%Ym%m}"


def default_name(table: str) -> str:
    return f"{table}_default"


def _month(moment: datetime, offset: int) -> datetime:
    """The first instant (UTC) of the month `offset` months later."""
    years, month = divmod(moment.month - 1 + offset, 12)
    return datetime(moment.year + years, month + 1, 1, tzinfo=UTC)


def _ensure(table: str, start: datetime, end: datetime) -> str:
    """The partition's name when it was made, else empty."""
    name, key, default = partition_name(table, start), KEYS[table], default_name(table)
    low, high = str(id_bound(start)), str(id_bound(end))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is not None:
            return ""
        cursor.execute("SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0")
        cursor.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
        cursor.execute(
            f"WITH moved AS (DELETE FROM {default} WHERE {key} >= %s AND {key} < %s RETURNING *) "  # noqa: S608 (our own names)
            f"INSERT INTO {name} SELECT * FROM moved",
            [low, high],
        )
        cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)", [low, high])
    return name
