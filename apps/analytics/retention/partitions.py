"""Partitions of the tables of executions: their bounds, whose rows are in them, and dropping one as a whole."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from apps.executions.partitions import default_name

EXECUTIONS, PAYLOADS, ATTEMPTS = "executions_execution", "executions_executionpayload", "executions_executionattempt"
_BOUNDS = re.compile(r"FOR VALUES FROM \('([0-9a-f-]{36})'\) TO \('([0-9a-f-]{36})'\)")
_LIST = """
SELECT c.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass
"""
# One step of the index for each organization, however many rows it has.
_OWNERS = """
WITH RECURSIVE owners AS (
    (SELECT organization_id FROM {table} WHERE id >= %(low)s AND id < %(high)s
     ORDER BY organization_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.organization_id FROM {table} e
            WHERE e.organization_id > owners.organization_id AND e.id >= %(low)s AND e.id < %(high)s
            ORDER BY e.organization_id LIMIT 1)
    FROM owners WHERE owners.organization_id IS NOT NULL
)
SELECT organization_id FROM owners WHERE organization_id IS NOT NULL
"""
_LAST = UUID(int=2**128 - 1)


class InUse(Exception):
    """The partition has something that must stay."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Its rows have keys from `low` until before `high`; those of the default partition have any."""

    table: str
    name: str
    low: UUID
    high: UUID
    is_default: bool = False

    def owners(self, table: str = EXECUTIONS) -> list[UUID]:
        """The organizations that have executions in this range, of the table or of one partition alone."""
        statement: Any = _OWNERS.format(table=table)
        with connection.cursor() as cursor:
            cursor.execute(statement, {"low": self.low, "high": self.high})
            return [row[0] for row in cursor.fetchall()]


def partitions_of(table: str) -> list[Partition]:
    """All but the default one, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(_LIST, [table])
        found = [(name, _BOUNDS.fullmatch(bound)) for name, bound in cursor.fetchall()]
    made = [Partition(table, name, UUID(match[1]), UUID(match[2])) for name, match in found if match]
    return sorted(made, key=lambda partition: partition.low)


def default_partition(table: str) -> Partition:
    return Partition(table, default_name(table), UUID(int=0), _LAST, is_default=True)


def overlap(partition: Partition, table: str) -> bool:
    """Whether a partition of the other table has keys of this one's."""
    return any(other.low < partition.high and partition.low < other.high for other in partitions_of(table))


def drop(partition: Partition, owners: Collection[UUID]) -> None:
    """Detach and drop it, in the caller's transaction. All looks are short: meanwhile nobody reads or writes the table.

    Raises InUse when an execution of its time has not ended or is of nobody among the owners, or when it has rows
    without owners, OperationalError when the table is in use for longer than the transaction's lock_timeout.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {partition.table} DETACH PARTITION {partition.name}")
        of = partition.name if partition.table == EXECUTIONS else EXECUTIONS
        if _has_unfinished(of, partition):
            raise InUse(f"{partition.name} is of executions that have not ended")
        if not set(partition.owners(of)) <= set(owners):
            raise InUse(f"{partition.name} has rows of others meanwhile")
        if not owners and _exists(f"SELECT FROM {partition.name}"):
            raise InUse(f"{partition.name} has rows of nobody")
        cursor.execute(f"DROP TABLE {partition.name}")


def _has_unfinished(table: str, partition: Partition) -> bool:
    query = f"SELECT FROM {table} WHERE status = %s AND id >= %s AND id < %s"
    return any(_exists(query, [status, partition.low, partition.high]) for status in ("queued", "running"))


def _exists(query: str, values: Sequence[Any] = ()) -> bool:
    statement: Any = f"SELECT EXISTS ({query})"
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return bool(cursor.fetchone()[0])
