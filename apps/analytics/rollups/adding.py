"""What waits in the pending tables is added to the rollups: each row once, in the transaction that takes it out.

One worker at a time adds for an organization, under an advisory lock; several work on several organizations.
"""

import time
from uuid import UUID

from django.db import connection, transaction

from apps.analytics.rollups.cubes import FAMILIES, Family, cells_of
from apps.analytics.rollups.storing import add_cells, rows_of
from apps.organizations.models import Organization

BATCH = 20_000
LOCK = 7_305_203
# All facts of the organization are seen in the order of their keys: a row is never taken back before it is counted.
_TAKE = """
WITH facts AS (
    DELETE FROM {pending} WHERE organization_id = %s AND id <= coalesce(
        (SELECT id FROM {pending} WHERE organization_id = %s ORDER BY id OFFSET %s LIMIT 1), 9223372036854775807)
    RETURNING *
)
{cells}
"""
_ORGANIZATIONS = """
WITH RECURSIVE found AS (
    (SELECT organization_id FROM {pending} ORDER BY organization_id LIMIT 1)
    UNION ALL
    SELECT (SELECT p.organization_id FROM {pending} p WHERE p.organization_id > found.organization_id
            ORDER BY p.organization_id LIMIT 1)
    FROM found WHERE found.organization_id IS NOT NULL
)
SELECT organization_id FROM found WHERE organization_id IS NOT NULL
"""


def add_pending(*, batch: int = BATCH, seconds: float = 60) -> int:
    """Cells that were changed; ends when no whole batch waits any more, or after this time between two of them."""
    ends_at, changed = time.monotonic() + seconds, 0
    for family in FAMILIES:
        for organization_id in waiting_organizations(family):
            while time.monotonic() < ends_at and (cells := add_batch(family, organization_id, batch)):
                changed += cells
                if not _has_batch(family, organization_id, batch):
                    break
    return changed


def waiting_organizations(family: Family) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_ORGANIZATIONS.format(pending=family.pending))
        return [organization_id for (organization_id,) in cursor.fetchall()]


def _has_batch(family: Family, organization_id: UUID, batch: int) -> bool:
    """Fewer rows are left to the next turn: what comes all the time would be added in ever smaller pieces."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT FROM {family.pending} WHERE organization_id = %s ORDER BY id OFFSET %s LIMIT 1",
            [organization_id, batch - 1],
        )
        return cursor.fetchone() is not None


@transaction.atomic
def add_batch(family: Family, organization_id: UUID, batch: int = BATCH) -> int:
    """The cells that were changed; 0 when nothing waits or somebody else adds for this organization."""
    with connection.cursor() as cursor, connection.cursor() as writing:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", [LOCK, str(organization_id)])
        if not cursor.fetchone()[0]:
            return 0
        if not Organization.objects.filter(id=organization_id).exists():
            cursor.execute(f"DELETE FROM {family.pending} WHERE organization_id = %s", [organization_id])  # noqa: S608
            return 0
        sql = _TAKE.format(pending=family.pending, cells=cells_of(family, "facts"))
        cursor.execute(sql, [organization_id, organization_id, batch - 1])
        return add_cells(writing, family, organization_id, rows_of(family, cursor))


def hold_lock(organization_id: UUID) -> None:
    """Until the transaction ends nobody adds for this organization."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, str(organization_id)])


def count_waiting(family: Family) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {family.pending}")  # noqa: S608 (our own name)
        return int(cursor.fetchone()[0])
