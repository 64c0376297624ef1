"""How ranges of time are made up of cells of a cube, and of what is left between them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

from apps.analytics.models import RetentionPolicy
from apps.analytics.rollups.cubes import Cube, Grain

Range = tuple[datetime, datetime]


@dataclass(slots=True)
class Spans:
    """Where cells of each grain are read, and where executions (`rows`) are; ranges are apart, in order, end excluded.

    No range of cells has one that lies in two of the intervals between `boundaries`.
    """

    boundaries: list[datetime]
    cells: dict[Grain, list[Range]] = field(default_factory=dict)
    rows: list[Range] = field(default_factory=list)

    @property
    def covered(self) -> list[Range]:
        """What is read by cells, of any grain."""
        return _joined(sorted(each for ranges in self.cells.values() for each in ranges))


def plan_spans(organization_id: UUID | None, cube: Cube, boundaries: Sequence[datetime]) -> Spans:
    spans = _plan(cube, [moment.astimezone(UTC) for moment in boundaries])
    purged_until = _purged_until(organization_id) if spans.rows else None
    if purged_until is None or spans.rows[0][0] >= purged_until:
        return spans
    finest = cube.grains[-1]
    return _plan(cube, [finest.floor(each) if each < purged_until else each for each in spans.boundaries])


def _plan(cube: Cube, boundaries: list[datetime]) -> Spans:
    spans = Spans(boundaries)
    for start, end in pairwise(boundaries):
        for grain, part in _parts(start, end, cube.grains):
            target = spans.rows if grain is None else spans.cells.setdefault(grain, [])
            target.append(part)
    spans.cells = {grain: _joined(sorted(ranges)) for grain, ranges in spans.cells.items()}
    spans.rows = _joined(sorted(spans.rows))
    return spans


def _parts(start: datetime, end: datetime, grains: Sequence[Grain]) -> Iterator[tuple[Grain | None, Range]]:
    """The cells of the coarsest grain that fit between, and at both ends those of the next; None is left over."""
    if start >= end:
        return
    if not grains:
        yield None, (start, end)
        return
    first, last = grains[0].ceil(start), grains[0].floor(end)
    if first >= last:
        yield from _parts(start, end, grains[1:])
        return
    yield from _parts(start, first, grains[1:])
    yield grains[0], (first, last)
    yield from _parts(last, end, grains[1:])


def _joined(ranges: Sequence[Range]) -> list[Range]:
    found: list[Range] = []
    for start, end in ranges:
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def _purged_until(organization_id: UUID | None) -> datetime | None:
    """Executions made before may be missing: of the organization, or of any."""
    policies = RetentionPolicy.objects.filter(purged_before__isnull=False)
    if organization_id is not None:
        policies = policies.for_organization(organization_id)
    day = policies.order_by("-purged_before").values_list("purged_before", flat=True).first()
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)
