"""The SQL of a question, of three parts that are read in one view of the database: cells, what waits, executions."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from apps.analytics.rollups.cubes import DIMENSIONS, Cube, Family, Grain, bucket_lists
from apps.analytics.rollups.resolving import Resolution
from apps.analytics.rollups.spans import Range, Spans
from apps.executions.keys import id_bound

Statement = tuple[str, list[Any]]
_BY_STATUS = {"errors": "failed", "cancelled": "cancelled"}
_WHOLE = ("cost_usd", "saved_cost_usd", "total", "squares")
# Starting processes and compiling take longer than the question; a sum of cells with histograms fits into memory.
_SETTINGS = "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; SET LOCAL work_mem = '32MB'"
_BUCKET = "width_bucket({moment}, %s::timestamptz[]) - 1 AS bucket"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one cube of a family; without an organization, of all that there are."""

    family: Family
    cube: Cube
    organization_id: UUID | None
    resolution: Resolution
    has_histograms: bool

    def statement(self, spans: Spans) -> Statement:
        """Its second result has the rows. Empty when there is no time to look at."""
        parts = [self._of_cells(spans, grain, ranges) for grain, ranges in spans.cells.items()]
        if spans.cells:
            parts.append(self._of_pending(spans))
        if spans.rows:
            parts.append(self._of_rows(spans))
        if not parts:
            return "", []
        texts, values = zip(*parts, strict=True)
        return f"{_SETTINGS}; {' UNION ALL '.join(texts)}", [value for each in values for value in each]

    # OFFSET 0: without it all cells of the cube are read once and compared with each of the ranges.
    def _of_cells(self, spans: Spans, grain: Grain, ranges: list[Range]) -> Statement:
        family = self.family
        sums = [f"sum(f.{name}){_type(name)} AS {name}" for name in family.sums]
        lists = [
            f"array_agg(f.{name}) AS {name}_cells, NULL::bytea AS {name}_got, NULL::bytea AS {name}_lost"
            for name in self._histograms
        ]
        condition, values = self._conditions("f", "ANY(SELECT id FROM organizations_organization)")
        lows, highs = _bounds(ranges)
        text = (
            f"SELECT {self._groups('f.starts_at')}, {', '.join(sums + self._by_status('f.requests') + lists)} "  # noqa: S608 (our own names)
            "FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS span(low, high) CROSS JOIN LATERAL ("
            f"SELECT * FROM {family.table} f WHERE f.cube = %s AND f.grain = %s AND {condition} "
            f"AND f.starts_at >= span.low AND f.starts_at < span.high OFFSET 0) f GROUP BY {self._places}"
        )
        return text, [_array(spans.boundaries), lows, highs, self.cube.number, grain.value, *values]

    def _of_pending(self, spans: Spans) -> Statement:
        condition, values = self._conditions("f")
        ranges = "{" + ",".join(f"[{low.isoformat()},{high.isoformat()})" for low, high in spans.covered) + "}"
        text = (
            f"SELECT {self._groups('f.created_at')}, {', '.join(self._sums_of_facts())} FROM {self.family.pending} f "  # noqa: S608 (our own names)
            f"WHERE f.created_at <@ %s::tstzmultirange AND {condition} GROUP BY {self._places}"
        )
        return text, [_array(spans.boundaries), ranges, *values]

    # Each range is written out, so that partitions without any of them cost no planning.
    def _of_rows(self, spans: Spans) -> Statement:
        condition, values = self._conditions("e")
        bounds = [[id_bound(low), id_bound(high), low, high] for low, high in spans.rows]
        within = " OR ".join(["(e.id >= %s AND e.id < %s AND e.created_at >= %s AND e.created_at < %s)"] * len(bounds))
        rows = self.family.stored.format(conditions=f"({within}) AND {condition}")
        text = (
            f"SELECT {self._groups('f.created_at')}, {', '.join(self._sums_of_facts())} "  # noqa: S608 (our own names)
            f"FROM ({rows}) f GROUP BY {self._places}"
        )
        return text, [_array(spans.boundaries), *(bound for each in bounds for bound in each), *values]

    @property
    def _histograms(self) -> list[str]:
        return list(self.family.histograms) if self.has_histograms else []

    @property
    def _places(self) -> str:
        """Of what is grouped by, in the order of `_groups`."""
        return ", ".join(str(place + 1) for place in range(1 + len(self.resolution.group_by) + len(self.family.labels)))

    def _groups(self, moment: str) -> str:
        named = [f"f.{DIMENSIONS[name]} AS group_{place}" for place, name in enumerate(self.resolution.group_by)]
        return ", ".join([_BUCKET.format(moment=moment), *named, *(f"f.{name}" for name in self.family.labels)])

    def _sums_of_facts(self) -> list[str]:
        sums = [f"({text}){_type(name)} AS {name}" for name, text in self.family.sums.items()]
        lists = iter(bucket_lists(self.family)) if self.has_histograms else iter(())
        pairs = zip(self._histograms, zip(lists, lists, strict=True), strict=True)
        return [
            *sums,
            *self._by_status("f.sign"),
            *(f"NULL::bytea[] AS {name}_cells, {got}, {lost}" for name, (got, lost) in pairs),
        ]

    def _by_status(self, counted: str) -> list[str]:
        if "requests" not in self.family.sums:
            return []
        return [
            f"coalesce(sum({counted}) FILTER (WHERE f.status = '{status}'), 0)::bigint AS {name}"
            for name, status in _BY_STATUS.items()
        ]

    def _conditions(self, row: str, of_any: str = "") -> Statement:
        """`of_any` is what `organization_id` equals where all organizations are asked for."""
        texts: list[str] = []
        parameters: list[Any] = []
        if self.organization_id is not None:
            texts.append(f"{row}.organization_id = %s")
            parameters.append(self.organization_id)
        elif of_any:
            texts.append(f"{row}.organization_id = {of_any}")
        for name, values in self.resolution.filters.items():
            text, known = _is_one_of(f"{row}.{DIMENSIONS[name]}", values)
            texts.append(text)
            parameters.append(known)
        return " AND ".join(texts) or "true", parameters


def _is_one_of(column: str, values: Iterable[Any]) -> tuple[str, list[Any]]:
    known = [value for value in values if value is not None]
    none = f"coalesce({column}, '') = ''" if column.endswith("ab_variant") else f"{column} IS NULL"
    text = f"{column} = ANY(%s)"
    return (f"({text} OR {none})" if None in values else text), known


def _type(name: str) -> str:
    return "" if name in _WHOLE else "::bigint"


def _bounds(ranges: list[Range]) -> tuple[str, str]:
    return _array(low for low, _ in ranges), _array(high for _, high in ranges)


def _array(moments: Iterable[datetime]) -> str:
    """As PostgreSQL writes it: the driver would take several times as long for each of hundreds of intervals."""
    return "{" + ",".join([moment.isoformat() for moment in moments]) + "}"
