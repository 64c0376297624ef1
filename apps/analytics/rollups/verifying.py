"""Rollups, and what waits to be added to them, compared with the executions in one view of the database."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from apps.analytics.models import RetentionPolicy
from apps.analytics.rollups.cubes import CUBES, FAMILIES, Family, Grain, cells_of
from apps.analytics.rollups.rebuilding import Day, stored_of_day
from apps.analytics.rollups.storing import Row, rows_of
from everquant.histogram import Histogram

_STORED = """
SELECT cube, grain, starts_at, key, {columns} FROM {table}
WHERE organization_id = %(organization)s AND starts_at >= %(start)s AND starts_at < %(end)s
"""
_WAITING = """
SELECT * FROM {pending}
WHERE organization_id = %(organization)s AND created_at >= %(start)s AND created_at < %(end)s
"""
_EXACT_TO = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell that is not what its executions add up to; `dimensions` are those of its cube."""

    table: str
    starts_at: datetime
    grain: Grain
    dimensions: tuple[str, ...]
    column: str
    stored: Any
    expected: Any


def verify(day: Day) -> Iterator[Difference]:
    """Nothing of a day whose executions are purged. Opens a transaction of its own: it must not be in one."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute("SET LOCAL work_mem = '64MB'; SET LOCAL jit = off")
        policy = RetentionPolicy.objects.for_organization(day.organization.id).first()
        if policy is not None and policy.is_purged(day.day):
            return
        for family in FAMILIES:
            expected = _cells(family, f"({stored_of_day(family)})", day)
            waiting = _cells(family, f"({_WAITING.format(pending=family.pending)})", day)
            yield from _compare(family, _add(family, _stored(family, day), waiting), expected)


def _cells(family: Family, facts: str, day: Day) -> dict[tuple[Any, ...], Row]:
    with connection.cursor() as cursor:
        cursor.execute(cells_of(family, f"{facts} facts"), day.parameters)
        return {row.place: row for row in rows_of(family, cursor)}


def _stored(family: Family, day: Day) -> dict[tuple[Any, ...], Row]:
    with connection.cursor() as cursor:
        cursor.execute(_STORED.format(columns=", ".join(family.columns), table=family.table), day.parameters)
        names = [column.name for column in cursor.description]
        rows = [Row(zip(names, values, strict=True)) for values in cursor.fetchall()]
    for row in rows:
        row.update({name: Histogram.from_bytes(row[name]) for name in family.histograms})
    return {row.place: row for row in rows}


def _add(
    family: Family, stored: dict[tuple[Any, ...], Row], waiting: dict[tuple[Any, ...], Row]
) -> dict[tuple[Any, ...], Row]:
    for place, added in waiting.items():
        row = stored.setdefault(place, added)
        if row is not added:
            row.update({name: row[name] + added[name] for name in family.sums})
            for name in family.histograms:
                row[name].merge(added[name])
    return {place: row for place, row in stored.items() if row[family.count]}


def _compare(
    family: Family, stored: dict[tuple[Any, ...], Row], expected: dict[tuple[Any, ...], Row]
) -> Iterator[Difference]:
    dimensions = {cube.number: cube.dimensions for cube in CUBES}
    for place in sorted(stored.keys() | expected.keys(), key=lambda place: (place[2], place[1], place[0], place[3])):
        cube, grain, starts_at, _ = place
        has, ought = stored.get(place), expected.get(place)
        for column in (*family.sums, *family.histograms):
            values = [None if row is None else row[column] for row in (has, ought)]
            if not _is_same(*values):
                yield Difference(family.table, starts_at, Grain(grain), dimensions.get(cube, ()), column, *values)
                break


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_EXACT_TO, abs_tol=_EXACT_TO)
    if isinstance(one, Histogram) and isinstance(other, Histogram):
        return one.to_bytes() == other.to_bytes()
    return bool(one == other)
