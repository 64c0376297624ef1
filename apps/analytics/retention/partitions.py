"""Partitions of the tables of executions: their bounds, whose rows are in them, and dropping one as a whole."""

import re
from collections.abc import Collection
from dataclasses import dataclass
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
    (SELECT organization_id FROM executions_execution WHERE id >= %(low)s AND id < %(high)s
     ORDER BY organization_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.organization_id FROM executions_execution e
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

    def owners(self) -> list[UUID]:
        """The organizations that have executions in this range."""
        with connection.cursor() as cursor:
            cursor.execute(_OWNERS, {"low": self.low, "high": self.high})
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
    """Detach and drop it, in the caller's transaction.

    Raises InUse when an execution in it has not ended or is of nobody among the owners, or when there is anything
    and it has no owners, OperationalError when the
    table is in use for longer than the transaction's lock_timeout.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {partition.table} DETACH PARTITION {partition.name}")
        if partition.table == EXECUTIONS:
            cursor.execute(
                f"SELECT EXISTS (SELECT FROM {partition.name} WHERE status = 'queued'),"  # noqa: S608 (a name of PostgreSQL's own catalog)
                f" EXISTS (SELECT FROM {partition.name} WHERE status = 'running'),"
                f" EXISTS (SELECT FROM {partition.name} WHERE organization_id <> ALL(%s))",
                [list(owners)],
            )
            if any(cursor.fetchone()):
                raise InUse(partition.name)
        if not owners:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {partition.name})")  # noqa: S608 (as above)
            if cursor.fetchone()[0]:
                raise InUse(partition.name)
        cursor.execute(f"DROP TABLE {partition.name}")
