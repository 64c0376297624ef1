"""What is due: of whom, up to which day, and what of it lies in which partition. Nothing here deletes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.analytics.billing.ledger import last_closable_day, midnight
from apps.analytics.models import LedgerState, RetentionPolicy
from apps.analytics.retention.partitions import EXECUTIONS, PAYLOADS, Partition, default_partition, partitions_of
from apps.executions.keys import id_bound
from apps.organizations.models import Organization

_ROWS = {
    EXECUTIONS: "SELECT count(*) FROM {name} WHERE organization_id = %s AND id < %s AND finished_at IS NOT NULL",
    PAYLOADS: (
        "SELECT count(*) FROM {name} p JOIN executions_execution e ON e.id = p.execution_id"
        " WHERE e.organization_id = %s AND p.execution_id < %s AND e.finished_at IS NOT NULL"
    ),
}


@dataclass(frozen=True, slots=True)
class Due:
    """Days before these may go; None is none. Executions take their payloads along."""

    payloads_before: date | None
    executions_before: date | None

    def of(self, table: str) -> date | None:
        return self.executions_before if table == EXECUTIONS else self.payloads_before


@dataclass(frozen=True, slots=True)
class Outlook:
    """How many rows of an organization in a partition would go; `is_dropped` with the partition as a whole."""

    organization: str
    partition: str
    rows: int
    is_dropped: bool


def due_of(policy: RetentionPolicy, *, closed_until: date | None, now: datetime | None = None) -> Due:
    """Of what is not closed in the ledger nothing is due, nor while there is a legal hold."""
    if policy.legal_hold or closed_until is None:
        return Due(None, None)
    today = (now or timezone.now()).astimezone(UTC).date()
    executions = _before(today, policy.execution_days, closed_until)
    payloads = _before(today, policy.payload_days, closed_until)
    return Due(max(filter(None, (payloads, executions)), default=None), executions)


def _before(today: date, days: int | None, closed_until: date) -> date | None:
    return None if days is None else min(today - timedelta(days=days), closed_until)


def policies(organization: Organization | None = None) -> list[RetentionPolicy]:
    """Those that let anything go, held ones among them."""
    found = RetentionPolicy.objects.select_related("organization").exclude(
        payload_days__isnull=True, execution_days__isnull=True
    )
    if organization is not None:
        found = found.filter(organization=organization)
    return list(found.order_by("organization__slug"))


def closed_until(organization_id: UUID) -> date | None:
    return LedgerState.objects.filter(organization_id=organization_id).values_list("closed_until", flat=True).first()


def is_whole(partition: Partition, owners: Iterable[UUID], dues: dict[UUID, Due]) -> bool:
    """Whether everything in the partition is due, of everybody who has something in it; of an empty one, whether it
    would be of anybody.
    """
    ends = [dues[owner].of(partition.table) if owner in dues else None for owner in owners]
    if not ends:
        ends = [max((end for due in dues.values() if (end := due.of(partition.table))), default=None)]
    return all(end is not None and partition.high <= id_bound(midnight(end)) for end in ends)


def outlook(organization: Organization | None = None, *, now: datetime | None = None) -> Iterator[Outlook]:
    """What a purge would do now, as if the ledger were closed as far as it can be; counts every row."""
    closable = last_closable_day(now)
    everybody = {policy.organization_id: due_of(policy, closed_until=closable, now=now) for policy in policies()}
    for table in (PAYLOADS, EXECUTIONS):
        for partition in [*partitions_of(table), default_partition(table)]:
            is_dropped = not partition.is_default and is_whole(partition, partition.owners(), everybody)
            for policy in policies(organization):
                end = everybody[policy.organization_id].of(table)
                rows = _rows(partition, policy.organization_id, end) if end else 0
                if rows:
                    yield Outlook(policy.organization.slug, partition.name, rows, is_dropped)


def _rows(partition: Partition, organization_id: UUID, end: date) -> int:
    with connection.cursor() as cursor:
        statement: Any = _ROWS[partition.table].format(name=partition.name)
        cursor.execute(statement, [organization_id, id_bound(midnight(end))])
        return int(cursor.fetchone()[0])
