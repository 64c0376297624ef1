"""Cells as rows: those that a statement of `cells_of` gives, added to what is stored or put in its place."""

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from apps.analytics.rollups.cubes import CELL_OF_GROUPING, DIMENSIONS, Family
from everquant.histogram import Histogram

_KEY = ("cube", "grain", "starts_at", "key")
_CHUNK = 5000
_TYPES = {
    "cube": "smallint", "grain": "smallint", "starts_at": "timestamptz", "key": "uuid", "source": "text",
    "status": "text", "ab_variant": "text", "name": "text", "latency": "bytea", "first_token": "bytea",
    "cost_usd": "numeric", "saved_cost_usd": "numeric", "total": "float8", "squares": "float8",
    **dict.fromkeys((column for column in DIMENSIONS.values() if column.endswith("_id")), "uuid"),
}  # fmt: skip


class Row(dict[str, Any]):
    """One cell by column; its histograms are objects, which may have lost more than they got until it is stored."""

    @property
    def place(self) -> tuple[Any, ...]:
        return tuple(self[name] for name in _KEY)


def rows_of(family: Family, cursor: Any) -> Iterator[Row]:
    """Of the statement that the cursor has just executed."""
    names = [column.name for column in cursor.description]
    while found := cursor.fetchmany(_CHUNK):
        for values in found:
            row = Row(zip(names, values, strict=True))
            row["cube"], row["grain"] = CELL_OF_GROUPING[row.pop("grouped")]
            for name in family.histograms:
                counts = count_buckets(row.pop(f"{name}_got"), row.pop(f"{name}_lost"))
                row[name] = Histogram(counts)
            yield row


def count_buckets(got: bytes | None, lost: bytes | None) -> dict[int, int]:
    """Counts by bucket of two lists of `bucket_lists`; below zero where more was lost."""
    counts = Counter(_unpack(got))
    if lost:
        counts.subtract(_unpack(lost))
    return counts


def _unpack(data: bytes | None) -> Sequence[int]:
    """Big-endian ones; an array is several times as fast as a format of `struct` for each size."""
    numbers = array("H", data or b"")
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def add_cells(cursor: Any, family: Family, organization_id: UUID, rows: Iterable[Row]) -> int:
    """How many; the caller holds the lock of the organization."""
    return sum(_add(cursor, family, organization_id, chunk) for chunk in _chunks(rows))


def _add(cursor: Any, family: Family, organization_id: UUID, rows: list[Row]) -> int:
    if family.histograms:
        _add_stored_histograms(cursor, family, organization_id, rows)
    columns = (*_KEY, *family.columns)
    added = [f"{name} = r.{name} + excluded.{name}" for name in family.sums]
    replaced = [f"{name} = excluded.{name}" for name in family.histograms]
    cursor.execute(
        f"INSERT INTO {family.table} AS r (organization_id, {', '.join(columns)}) "  # noqa: S608 (our own names)
        f"SELECT %s, * FROM {_unnest(columns)} "
        f"ON CONFLICT (organization_id, {', '.join(_KEY)}) DO UPDATE SET {', '.join(added + replaced)}",
        [organization_id, *_arrays(rows, columns)],
    )
    if any(row[family.count] <= 0 for row in rows):
        cursor.execute(
            f"DELETE FROM {family.table} r USING {_unnest(_KEY)} AS c({', '.join(_KEY)}) "  # noqa: S608 (our own names)
            f"WHERE r.organization_id = %s AND {_is_place('c')} AND r.{family.count} = 0",
            [*_arrays(rows, _KEY), organization_id],
        )
    return len(rows)


def _add_stored_histograms(cursor: Any, family: Family, organization_id: UUID, rows: list[Row]) -> None:
    cursor.execute(
        f"SELECT {', '.join(f'r.{name}' for name in (*_KEY, *family.histograms))} "  # noqa: S608 (our own names)
        f"FROM {_unnest(_KEY)} AS c({', '.join(_KEY)}) JOIN {family.table} r "
        f"ON r.organization_id = %s AND {_is_place('c')}",
        [*_arrays(rows, _KEY), organization_id],
    )
    by_place = {row.place: row for row in rows}
    for values in cursor.fetchall():
        row = by_place[values[: len(_KEY)]]
        for name, data in zip(family.histograms, values[len(_KEY) :], strict=True):
            row[name].merge_bytes(bytes(data))


def put_cells(cursor: Any, family: Family, organization_id: UUID, rows: Iterable[Row]) -> int:
    """How many; where nothing is stored yet."""
    columns = (*_KEY, *family.columns)
    stored = 0
    with cursor.copy(f"COPY {family.table} (organization_id, {', '.join(columns)}) FROM STDIN") as target:
        for row in rows:
            target.write_row([organization_id, *(_stored(row[name]) for name in columns)])
            stored += 1
    return stored


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _unnest(columns: Iterable[str]) -> str:
    arrays = ", ".join(f"%s::{_TYPES.get(name, 'bigint')}[]" for name in columns)
    return f"unnest({arrays})"


def _is_place(of: str) -> str:
    return " AND ".join(f"r.{name} = {of}.{name}" for name in _KEY)


def _arrays(rows: list[Row], columns: Iterable[str]) -> list[list[Any]]:
    return [[_stored(row[name]) for row in rows] for name in columns]


def _stored(value: Any) -> Any:
    return value.to_bytes() if isinstance(value, Histogram) else value
