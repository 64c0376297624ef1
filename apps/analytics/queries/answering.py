"""Answers about executions: sums, their course in time, their parts, and how long they took."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from apps.analytics.queries.asking import Query
from apps.analytics.queries.grouping import Groups, filled, group_json, grouped, of_the_same
from apps.analytics.queries.measuring import (
    ADDITIVE,
    PERCENTILE_MEASURES,
    VALUES,
    Json,
    as_number,
    measures,
    merged,
    money,
    relative,
    share,
    waits,
)
from apps.analytics.queries.naming import Names, names_of
from apps.analytics.rollups.reading import Cell, Scope, read
from apps.users.principal import Principal
from everquant.histogram import RELATIVE_ERROR

# Buckets of a histogram to a bar: each bar ends 1.38 times as far as it begins.
BUCKETS_PER_BAR = 8


def overview(query: Query, by: Principal) -> Json:
    now = merged(_cells(query, query.whole))
    answer = {**framed(query), "totals": measures(now), "previous": None, "change": None}
    if query.previous_starts:
        before = merged(_cells(query, query.previous_whole))
        answer["previous"] = measures(before)
        answer["change"] = change(now, before)
    return answer


def timeseries(query: Query, by: Principal) -> Json:
    groups = grouped(_cells(query, query.starts), query)
    before = of_the_same(_cells(query, query.previous_starts), groups) if query.previous_starts else None
    names, has_rest = names_of(by, query.group_by, groups.keys), _has_rest(groups, before)
    earlier = None if before is None else _series(query, before, names, query.previous_starts, has_rest=has_rest)
    now = _series(query, groups, names, query.starts, has_rest=has_rest)
    return {**framed(query), **now, "previous": earlier}


def _has_rest(groups: Groups, before: Groups | None) -> bool:
    """What was there before and is no more is a part of the rest too."""
    return bool(groups.rest or (before and before.rest))


def breakdown(query: Query, by: Principal) -> Json:
    """Groups with all measures of the range, and their shares of requests and cost."""
    cells = _cells(query, query.whole)
    groups, totals = grouped(cells, query), _totals(query, cells)
    before = of_the_same(_cells(query, query.previous_whole), groups) if query.previous_starts else None
    names = names_of(by, query.group_by, groups.keys)

    def row(found: dict[int, Any], earlier: dict[int, Any] | None) -> Json:
        cell = merged(list(found.values()))
        return {
            **measures(cell),
            "request_share": share(cell.requests, totals.requests),
            "cost_share": share(cell.cost_usd, totals.cost_usd),
            "previous": None if earlier is None else measures(merged(list(earlier.values()))),
        }

    rows = [
        {"group": group_json(query, key, names), **row(found, before.cells[key] if before else None)}
        for key, found in groups.cells.items()
    ]
    rest = row(groups.rest, before.rest if before else None) if _has_rest(groups, before) else None
    return {**framed(query), "group_count": groups.count, "totals": measures(totals), "groups": rows, "rest": rest}


def latency(query: Query, by: Principal) -> Json:
    """How long executions took, and until their first token."""
    cells = _cells(query, query.whole)
    groups, totals = grouped(cells, query), _totals(query, cells)
    names = names_of(by, query.group_by, groups.keys)
    rows = [
        {"group": group_json(query, key, names), "requests": cell.requests, **_both(cell, waits)}
        for key, cell in ((key, merged(list(found.values()))) for key, found in groups.cells.items())
    ]
    return {**framed(query), "group_count": groups.count, **_both(totals, distribution), "groups": rows}


def top(query: Query, by: Principal) -> Json:
    """The greatest groups by one measure."""
    has_latencies = query.by in PERCENTILE_MEASURES
    cells = _cells(query, query.whole, has_latencies=has_latencies)
    groups, totals = grouped(cells, query), _totals(query, cells) if query.by in ADDITIVE else None
    before = None
    if query.previous_starts:
        before = of_the_same(_cells(query, query.previous_whole, has_latencies=has_latencies), groups)
    names = names_of(by, query.group_by, groups.keys)
    value = VALUES[query.by]
    rows = []
    for rank, (key, found) in enumerate(groups.cells.items(), 1):
        cell = merged(list(found.values()))
        now, earlier = value(cell), value(merged(list(before.cells[key].values()))) if before else None
        rows.append(
            {
                "rank": rank,
                "group": group_json(query, key, names),
                "requests": cell.requests,
                "cost_usd": money(cell.cost_usd),
                "value": as_number(now),
                "share": share(now, value(totals)) if totals else None,
                "previous_value": as_number(earlier),
                "change": relative(now, earlier),
            }
        )
    return {**framed(query), "by": query.by, "group_count": groups.count, "groups": rows}


def _totals(query: Query, cells: list[Cell]) -> Any:
    """Of all groups; an execution of a prompt with several tags is in several."""
    if "tag" in query.group_by:
        return merged(read(Scope(query.organization_id, query.filters), boundaries=query.whole))
    return merged(cells)


def _cells(query: Query, boundaries: Sequence[datetime], *, has_latencies: bool = True) -> list[Cell]:
    scope = Scope(query.organization_id, query.filters)
    return read(scope, boundaries=boundaries, group_by=query.group_by, has_latencies=has_latencies)


def framed(query: Query) -> Json:
    """What every answer says of the question."""
    before = query.previous_whole
    return {
        "from": query.span.start,
        "to": query.span.end,
        "timezone": query.span.zone.key,
        "interval": query.interval,
        "group_by": list(query.group_by),
        "previous_from": before[0] if before else None,
        "previous_to": before[1] if before else None,
        "percentile_error": RELATIVE_ERROR,
    }


def _series(query: Query, groups: Groups, names: Names, starts: list[datetime], *, has_rest: bool) -> Json:
    def course(cells: dict[int, Any]) -> list[Json]:
        return [
            {**times(query, start, end), **point}
            for (start, end), point in zip(pairwise(starts), filled(cells, len(starts) - 1), strict=True)
        ]

    series = [{"group": group_json(query, key, names), "points": course(cells)} for key, cells in groups.cells.items()]
    return {"group_count": groups.count, "series": series, "rest": course(groups.rest) if has_rest else None}


def times(query: Query, start: datetime, end: datetime) -> Json:
    return {"start": start, "end": end, "local_start": start.astimezone(query.span.zone).isoformat()}


def distribution(histogram: Any, sum_ms: int) -> Json:
    bars = histogram.bars(BUCKETS_PER_BAR)
    return {
        **waits(histogram, sum_ms),
        "bars": [{"from_ms": low, "to_ms": high, "count": count} for low, high, count in bars],
    }


def _both(cell: Any, say: Callable[[Any, int], Json]) -> Json:
    return {
        "latency": say(cell.latency, cell.latency_sum_ms),
        "first_token": say(cell.first_token, cell.first_token_sum_ms),
    }


def change(now: Any, before: Any) -> Json:
    """Each as a share of what it was before, null where that was nothing; of rates their difference."""
    rates = [VALUES["error_rate"](cell) for cell in (before, now)]
    compared = ("requests", "errors", "cost_usd", "tokens", "latency_p50_ms", "latency_p95_ms", "first_token_p95_ms")
    return {
        "success_rate": None if None in rates else rates[0] - rates[1],
        **{name: relative(VALUES[name](now), VALUES[name](before)) for name in compared},
    }
