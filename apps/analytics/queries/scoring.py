"""What was thought of executions: means of scores, and how far they can be trusted."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

from apps.analytics.queries.answering import framed, times
from apps.analytics.queries.asking import Query
from apps.analytics.queries.grouping import group_json, grouped
from apps.analytics.queries.measuring import CONFIDENCE, Json, finished, merged, rate
from apps.analytics.queries.naming import names_of
from apps.analytics.rollups.reading import Scope, read, read_scores
from apps.users.principal import Principal

_NOISE = 1e-12


@dataclass(slots=True)
class Moments:
    """Of values: how many, their sum and that of their squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, cell: Any) -> None:
        self.n += cell.count
        self.total += cell.total
        self.squares += cell.squares


def quality(query: Query, by: Principal) -> Json:
    """Success rates and means of scores of the whole range, in time, and by group."""
    scope = Scope(query.organization_id, query.filters)
    cells = read(scope, boundaries=query.whole, has_latencies=False)
    found = _wanted(read_scores(scope, boundaries=query.starts), query)
    before = _wanted(read_scores(scope, boundaries=query.previous_whole), query) if query.previous_starts else None
    earlier = None if before is None else _by_name(before)
    in_time: dict[tuple[str, int], Moments] = defaultdict(Moments)
    for cell in found:
        in_time[cell.name, cell.bucket].add(cell)
    scores = []
    for name, moments in sorted(_by_name(found).items()):
        points = [
            {**times(query, start, end), **mean_of(in_time.get((name, place), Moments()))}
            for place, (start, end) in enumerate(pairwise(query.starts))
        ]
        previous = None if earlier is None else mean_of(earlier.get(name, Moments()))
        scores.append({"name": name, **mean_of(moments), "previous": previous, "points": points})
    return {**framed(query), "success_rate": _success(merged(cells)), "scores": scores, **_groups(query, by)}


def _groups(query: Query, by: Principal) -> Json:
    if not query.group_by:
        return {"group_count": 0, "groups": []}
    scope = Scope(query.organization_id, query.filters)
    groups = grouped(read(scope, boundaries=query.whole, group_by=query.group_by, has_latencies=False), query)
    scores: dict[Any, list[Any]] = defaultdict(list)
    for cell in _wanted(read_scores(scope, boundaries=query.whole, group_by=query.group_by), query):
        scores[cell.key].append(cell)
    names = names_of(by, query.group_by, groups.keys)
    rows = []
    for key, found in groups.cells.items():
        cell = merged(list(found.values()))
        means = [{"name": name, **mean_of(moments)} for name, moments in sorted(_by_name(scores[key]).items())]
        rows.append(
            {
                "group": group_json(query, key, names),
                "requests": cell.requests,
                "success_rate": _success(cell),
                "scores": means,
            }
        )
    return {"group_count": groups.count, "groups": rows}


def _wanted(cells: Iterable[Any], query: Query) -> list[Any]:
    return [cell for cell in cells if not query.scores or cell.name in query.scores]


def _by_name(cells: Iterable[Any]) -> dict[str, Moments]:
    found: dict[str, Moments] = defaultdict(Moments)
    for cell in cells:
        found[cell.name].add(cell)
    return dict(found)


def _success(cell: Any) -> Json:
    return rate(finished(cell) - cell.errors, finished(cell))


def mean_of(moments: Moments) -> Json:
    """Of scores, with Student's 95 % interval; that needs two of them. A deviation below a millionth of the mean is
    lost in the rounding of sums, and is 0.
    """
    n = moments.n
    if not n:
        return {"n": 0, "value": None, "low": None, "high": None, "deviation": None}
    mean = moments.total / n
    if n < 2:
        return {"n": n, "value": mean, "low": None, "high": None, "deviation": None}
    spread = moments.squares - n * mean * mean
    deviation = sqrt(spread / (n - 1)) if spread > _NOISE * moments.squares else 0.0
    from apps.evaluations.statistics.means import student_interval_of  # noqa: PLC0415 (numpy and scipy)

    interval = student_interval_of(mean, deviation, n, CONFIDENCE)
    return {"n": n, "value": mean, "low": interval.low, "high": interval.high, "deviation": deviation}
