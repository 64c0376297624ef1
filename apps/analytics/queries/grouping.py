"""Cells by group: the first ones by a measure, and all others as one more."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from apps.analytics.queries.asking import Query
from apps.analytics.queries.measuring import Json, measures, measures_of, merged, rank_of
from apps.analytics.queries.naming import Names, group_of
from apps.analytics.rollups.reading import Sums

Key = tuple[Any, ...]
NOTHING = Sums()


@dataclass(frozen=True, slots=True)
class Groups:
    """`cells` of each group by bucket, the greatest group first; `rest` has those of all further ones, by bucket."""

    cells: dict[Key, dict[int, Any]]
    rest: dict[int, Any]
    count: int

    @property
    def keys(self) -> list[Key]:
        return list(self.cells)


def grouped(cells: Iterable[Any], query: Query) -> Groups:
    """The first `query.limit` groups by `query.by`; without `group_by` there is one group, also of no cells."""
    by_key: dict[Key, list[Any]] = defaultdict(list)
    for cell in cells:
        by_key[cell.key].append(cell)
    if not query.group_by:
        by_key.setdefault((), [])
    amounts = {key: rank_of(query.by, found) for key, found in by_key.items()}
    keys = sorted(by_key, key=lambda key: (amounts[key], [str(part) for part in key]), reverse=True)
    shown = {key: {cell.bucket: cell for cell in by_key[key]} for key in keys[: query.limit]}
    others: dict[int, list[Any]] = defaultdict(list)
    for key in keys[query.limit :]:
        for cell in by_key[key]:
            others[cell.bucket].append(cell)
    return Groups(shown, {bucket: merged(found) for bucket, found in others.items()}, len(keys))


def of_the_same(cells: Iterable[Any], groups: Groups) -> Groups:
    """The cells of another range, in the groups of this one."""
    shown: dict[Key, dict[int, Any]] = {key: {} for key in groups.cells}
    others: dict[int, list[Any]] = defaultdict(list)
    for cell in cells:
        if cell.key in shown:
            shown[cell.key][cell.bucket] = cell
        else:
            others[cell.bucket].append(cell)
    return Groups(shown, {bucket: merged(found) for bucket, found in others.items()}, groups.count)


def group_json(query: Query, key: Key, names: Names) -> list[Json]:
    return group_of(query.group_by, key, names)


def filled(cells: dict[int, Any], buckets: int) -> list[Json]:
    """The measures of every bucket: nothing is zero requests, and no percentile."""
    empty = measures(NOTHING)
    found = dict(zip(cells, measures_of(list(cells.values())), strict=True))
    return [found.get(bucket, empty) for bucket in range(buckets)]
