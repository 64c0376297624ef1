"""Bars and lines over time as SVG, without a script, as wide as their place.

Pure. Colours are those of static/analytics/dashboard.css. Places are percentages of the plot, so that letters keep
their size on every screen; the style sheet leaves room around it for the marks of the axes, as wide as the longest.
Each step has a title that tells its figures to whoever points at it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import pairwise

from apps.evaluations.ab_tests.admin.axes import number_ticks, time_ticks

ABOUT_MARKS, MOST_MARKS = 4, 6
GAP = 0.16
"""Share of a step that is left free between bars."""
SMALLEST = 1e-12
"""Less than that is nothing: amounts of money have twelve places."""
LEAST = 1e-3
"""Where a logarithmic scale begins at the earliest."""
Level = tuple[float, str]
"""Its place from the top, and its mark."""
Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """`kind` is the class of its colour. Values are those of the steps, None where there is none."""

    name: str
    kind: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Axis:
    """`starts` are where the steps begin, and the end of the last; `said` tells what each step came to."""

    starts: Sequence[datetime]
    said: Sequence[str]

    @property
    def width(self) -> float:
        return 100 / len(self.said)

    def x(self, moment: datetime) -> float:
        return 100 * ((moment - self.starts[0]) / (self.starts[-1] - self.starts[0]))


def bars(axis: Axis, series: Sequence[Series], *, title: str, write: Write, least: float = 0.0) -> str:
    """The series on top of each other, the first one lowest; negative values are none. The axis ends at `least`
    or higher, and at 1 where there is nothing."""
    totals = [sum(max(0.0, each.values[place] or 0.0) for each in series) for place in range(len(axis.said))]
    top = max(least, *totals)
    top = top if top >= SMALLEST else 1.0
    marks = number_ticks(0.0, top, about=ABOUT_MARKS)
    # The highest bar ends below the next mark.
    high = marks[-1] if marks[-1] >= top * (1 - 1e-9) else marks[-1] + marks[1]
    levels = [(100 * (1 - mark / high), write(mark)) for mark in number_ticks(0.0, high, about=ABOUT_MARKS)]
    stacks = (part for place in range(len(axis.said)) for part in _stack(axis, series, place, high))
    return _document(title, axis, levels, stacks)


def _stack(axis: Axis, series: Sequence[Series], place: int, high: float) -> Iterator[str]:
    below = 0.0
    left, wide = axis.width * (place + GAP / 2), axis.width * (1 - GAP)
    for each in series:
        value = max(0.0, each.values[place] or 0.0)
        if value:
            tall = 100 * value / high
            yield (
                f'<rect class="db-bar {each.kind}" x="{left:.3f}%" width="{wide:.3f}%" '
                f'y="{100 - below - tall:.3f}%" height="{tall:.3f}%"/>'
            )
            below += tall


def lines(axis: Axis, series: Sequence[Series], *, title: str, write: Write) -> str:
    """On a logarithmic scale; steps without a value are gaps, zero lies at the bottom."""
    known = [max(LEAST, value) for each in series for value in each.values if value]
    marks = _marks(min(known, default=1.0), max(known, default=1.0))
    low, high = math.log10(marks[0]), math.log10(marks[-1])

    def y(value: float) -> float:
        share = (math.log10(max(LEAST, value)) - low) / (high - low)
        return 100 * (1 - min(1.0, max(0.0, share)))

    levels = [(y(mark), write(mark)) for mark in marks]
    return _document(title, axis, levels, (part for each in series for part in _line(axis, each, y)))


def _marks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 of powers of ten, the first not above `low` and the last not below `high`, two steps
    apart at least; between them only the powers where all would be too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 2)
    every = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    start = max(place for place, mark in enumerate(every) if mark <= low * (1 + 1e-9))
    end = max(start + 2, next(place for place, mark in enumerate(every) if mark >= high * (1 - 1e-9)))
    between = [place for place in range(start, end + 1) if end - start <= MOST_MARKS or place % 3 == 0]
    return [every[place] for place in sorted({start, *between, end})]


def _line(axis: Axis, series: Series, y: Callable[[float], float]) -> Iterator[str]:
    places = [
        None if value is None else (axis.width * (place + 0.5), y(value)) for place, value in enumerate(series.values)
    ]
    for before, after in pairwise(places):
        if before and after:
            yield (
                f'<line class="db-line {series.kind}" x1="{before[0]:.3f}%" y1="{before[1]:.3f}%" '
                f'x2="{after[0]:.3f}%" y2="{after[1]:.3f}%"/>'
            )
    for before, here, after in zip([None, *places], places, [*places[1:], None], strict=False):
        if here and not before and not after:
            yield f'<circle class="db-dot {series.kind}" cx="{here[0]:.3f}%" cy="{here[1]:.3f}%" r="3"/>'


def _levels(levels: Sequence[Level]) -> Iterator[str]:
    for y, said in levels:
        kind = "db-base" if y > 99.9 else "db-grid"
        yield f'<line class="{kind}" x1="0%" x2="100%" y1="{y:.3f}%" y2="{y:.3f}%"/>'
        yield f'<text class="db-mark" x="-8" y="{y:.3f}%" dy="4" text-anchor="end">{_text(said)}</text>'


def _times(axis: Axis) -> Iterator[str]:
    for number, (moment, said) in enumerate(time_ticks(axis.starts[0], axis.starts[-1])):
        x = axis.x(moment)
        if x < 99:
            # Every second one goes on narrow screens.
            kind = " db-often" if number % 2 else ""
            yield f'<line class="db-tick{kind}" x1="{x:.3f}%" x2="{x:.3f}%" y1="100%" y2="102%"/>'
            yield f'<text class="db-mark{kind}" x="{x:.3f}%" y="100%" dy="18" text-anchor="middle">{_text(said)}</text>'


def _targets(axis: Axis) -> Iterator[str]:
    for place, said in enumerate(axis.said):
        yield (
            f'<rect class="db-target" x="{place * axis.width:.3f}%" width="{axis.width:.3f}%" y="0%" height="100%">'
            f"<title>{_text(said)}</title></rect>"
        )


def _document(title: str, axis: Axis, levels: Sequence[Level], drawn: Iterable[str]) -> str:
    parts = [*_levels(levels), *_times(axis), *drawn, *_targets(axis)]
    longest = max(len(said) for _, said in levels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="db-chart" style="--db-longest: {longest}ch" role="img" '
        f'aria-label="{_text(title)}">{"".join(parts)}</svg>'
    )


def _text(text: str) -> str:
    return escape(text)
