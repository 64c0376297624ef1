"""Rollups made anew from the executions, a day (UTC) of one organization at a time, beside live work."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from apps.analytics.models import RetentionPolicy
from apps.analytics.rollups.adding import hold_lock
from apps.analytics.rollups.cubes import FAMILIES, Family, cells_of
from apps.analytics.rollups.storing import put_cells, rows_of
from apps.executions.keys import id_bound, time_of
from apps.executions.models import Execution
from apps.organizations.models import Organization

_ONE_DAY = timedelta(days=1)
# What waits is in the executions as well: one statement takes it out and counts them, in one view of the database.
_COUNT = """
WITH gone AS (DELETE FROM {pending} WHERE organization_id = %(organization)s
              AND created_at >= %(start)s AND created_at < %(end)s),
facts AS MATERIALIZED ({stored})
{cells}
"""
_OF_DAY = (
    "e.organization_id = %(organization)s AND e.id >= %(low)s AND e.id < %(high)s "
    "AND e.created_at >= %(start)s AND e.created_at < %(end)s"
)


class Purged(Exception):
    """Executions of the day may be missing: its rollups are all that is left of them."""


@dataclass(frozen=True, slots=True)
class Day:
    organization: Organization
    day: date

    @property
    def parameters(self) -> dict[str, Any]:
        start = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        end = start + _ONE_DAY
        keys = {"low": id_bound(start), "high": id_bound(end)}
        return {"organization": self.organization.id, "start": start, "end": end, **keys}


def days_between(since: date | None, until: date | None, organization_id: UUID | None = None) -> Iterator[Day]:
    """Of each organization: from its first execution that is not purged, up to and with today; `until` is excluded."""
    organizations = Organization.objects.order_by("slug")
    if organization_id is not None:
        organizations = organizations.filter(id=organization_id)
    for organization in organizations:
        day = since or _first_day(organization.id)
        last = until or timezone.now().astimezone(UTC).date() + _ONE_DAY
        while day is not None and day < last:
            yield Day(organization, day)
            day += _ONE_DAY


def _first_day(organization_id: UUID) -> date | None:
    first = Execution.objects.for_organization(organization_id).order_by("id").values_list("id", flat=True).first()
    if first is None:
        return None
    kept_since = (
        RetentionPolicy.objects.for_organization(organization_id).values_list("purged_before", flat=True).first()
    )
    return max(filter(None, (time_of(first).date(), kept_since)))


@transaction.atomic
def rebuild(day: Day) -> int:
    """Cells that are stored now; raises Purged."""
    hold_lock(day.organization.id)
    policy = RetentionPolicy.objects.select_for_update().for_organization(day.organization.id).first()
    if policy is not None and policy.is_purged(day.day):
        raise Purged(f"Executions of {day.organization.slug} before {policy.purged_before} are purged.")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'; SET LOCAL jit = off")
    return sum(_rebuild(family, day) for family in FAMILIES)


def _rebuild(family: Family, day: Day) -> int:
    with connection.cursor() as cursor, connection.cursor() as writing:
        cursor.execute(
            _COUNT.format(pending=family.pending, stored=stored_of_day(family), cells=cells_of(family, "facts")),
            day.parameters,
        )
        writing.execute(
            f"DELETE FROM {family.table} WHERE organization_id = %(organization)s "  # noqa: S608 (our own names)
            "AND starts_at >= %(start)s AND starts_at < %(end)s",
            day.parameters,
        )
        return put_cells(writing, family, day.organization.id, rows_of(family, cursor))


def stored_of_day(family: Family) -> str:
    """SQL of the facts of a day, by its parameters."""
    return family.stored.format(conditions=_OF_DAY)
