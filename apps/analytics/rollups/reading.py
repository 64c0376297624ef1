"""Sums over executions and their scores, exact up to the moment of the read.

A question is one statement, and so one view of the database: the cells of the smallest cube that has the dimensions,
what waits to be added to them, and where a boundary lies within a cell the executions themselves. Providers are those
that models have now, and tags those that prompts have now; an execution counts for each tag of its prompt.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Self, TypeVar
from uuid import UUID

from django.db import connection

from apps.analytics.rollups.cubes import EXECUTIONS, SCORES, Family, cube_of
from apps.analytics.rollups.resolving import resolve
from apps.analytics.rollups.spans import plan_spans
from apps.analytics.rollups.statements import Question
from apps.analytics.rollups.storing import count_buckets
from everquant.histogram import Histogram

# Some seconds of work, and some hundred megabytes with histograms.
MOST_CELLS = 50_000
_SUMS = (*EXECUTIONS.sums, "errors", "cancelled")


@dataclass(frozen=True, slots=True)
class Scope:
    """Of one organization, or of all. An execution must have one of the values of each filter; None is "has none"."""

    organization_id: UUID | None
    filters: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Sums:
    """Of finished executions. `errors` have failed, `unpriced` used tokens at no known price. Latencies are in ms."""

    requests: int = 0
    errors: int = 0
    cancelled: int = 0
    cached: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    saved_cost_usd: Decimal = Decimal(0)
    latency_sum_ms: int = 0
    first_token_sum_ms: int = 0
    latency: Histogram = field(default_factory=Histogram)
    first_token: Histogram = field(default_factory=Histogram)

    def include(self, other: "Sums") -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latency.merge(other.latency)
        self.first_token.merge(other.first_token)


@dataclass(slots=True)
class Cell(Sums):
    """The sums of one interval and group.

    `key` has a value for each dimension of the grouping, None where executions have none.
    """

    bucket: int
    key: tuple[Any, ...]

    @classmethod
    def of(cls, bucket: int, key: tuple[Any, ...], row: Mapping[str, Any]) -> Self:
        found = cls(bucket, key, **{name: row[name] for name in _SUMS})
        found._add_histograms(row)
        return found

    def add(self, row: Mapping[str, Any]) -> None:
        """What another part of the statement gives."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + row[name])
        self._add_histograms(row)

    def _add_histograms(self, row: Mapping[str, Any]) -> None:
        for name, histogram in (("latency", self.latency), ("first_token", self.first_token)):
            histogram.merge_bytes(*(row.get(f"{name}_cells") or ()))
            if row.get(f"{name}_got") or row.get(f"{name}_lost"):
                histogram.merge(Histogram(count_buckets(row[f"{name}_got"], row[f"{name}_lost"])))


@dataclass(slots=True)
class ScoreCell:
    """Numeric and boolean scores (0 or 1) of one name, of the executions of one interval and group."""

    bucket: int
    key: tuple[Any, ...]
    name: str
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, bucket: int, key: tuple[Any, ...], row: Mapping[str, Any]) -> Self:
        return cls(bucket, key, *(row[name] for name in ("name", "count", "total", "squares")))

    def add(self, row: Mapping[str, Any]) -> None:
        """What another part of the statement gives."""
        self.count += row["count"]
        self.total += row["total"]
        self.squares += row["squares"]


AnyCell = TypeVar("AnyCell", bound=Cell | ScoreCell)
Make = Callable[[int, tuple[Any, ...], Mapping[str, Any]], AnyCell]


class TooManyCells(Exception):
    """More groups in more intervals than one question may bring into memory."""


def read(
    scope: Scope, *, boundaries: Sequence[datetime], group_by: tuple[str, ...] = (), has_latencies: bool = True
) -> list[Cell]:
    """Cells with executions, in the order of intervals; `bucket` is the place of [b_i, b_i+1) among `boundaries`.

    Boundaries are sorted, at least two, in UTC. Without `has_latencies` the histograms are empty, which is quicker.
    Raises KeyError for an unknown dimension, and TooManyCells beyond MOST_CELLS. Of a time whose executions are
    purged, a boundary within a cell counts as its start.
    """
    return _read(EXECUTIONS, Cell.of, scope, boundaries, group_by, has_histograms=has_latencies)


def read_scores(scope: Scope, *, boundaries: Sequence[datetime], group_by: tuple[str, ...] = ()) -> list[ScoreCell]:
    """The same of scores; the time and the dimensions are those of the execution."""
    return _read(SCORES, ScoreCell.of, scope, boundaries, group_by, has_histograms=False)


def _read(
    family: Family,
    make: Make[AnyCell],
    scope: Scope,
    boundaries: Sequence[datetime],
    group_by: tuple[str, ...],
    *,
    has_histograms: bool,
) -> list[AnyCell]:
    resolution = resolve(scope.organization_id, scope.filters, group_by)
    if resolution is None:
        return []
    cube = cube_of([*resolution.filters, *resolution.group_by])
    spans = plan_spans(scope.organization_id, cube, boundaries)
    question = Question(family, cube, scope.organization_id, resolution, has_histograms)
    sql, parameters = question.statement(spans)
    if not sql:
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} LIMIT {MOST_CELLS + 1}", parameters)
        while cursor.description is None:
            cursor.nextset()
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
    if len(rows) > MOST_CELLS:
        raise TooManyCells
    return _merge(question, make, rows)


def _merge(question: Question, make: Make[AnyCell], rows: Iterable[dict[str, Any]]) -> list[AnyCell]:
    """Rows of the three parts that are of the same interval, group and label are one cell."""
    found: dict[tuple[Any, ...], AnyCell] = {}
    labels, groups = question.family.labels, [f"group_{place}" for place in range(len(question.resolution.group_by))]
    for row in rows:
        named = [row[name] for name in labels]
        for key in question.resolution.keys_of(tuple(row[name] for name in groups)):
            place = (row["bucket"], key, *named)
            if place in found:
                found[place].add(row)
            else:
                found[place] = make(row["bucket"], key, row)
    cells = [cell for cell in found.values() if getattr(cell, question.family.count)]
    return sorted(cells, key=lambda cell: (cell.bucket, [str(part) for part in cell.key], getattr(cell, "name", "")))
