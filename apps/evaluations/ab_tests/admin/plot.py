"""The difference of each candidate to the control over time, with its confidence sequence, as SVG.

Pure. Names that users wrote are escaped; colours are those of static/evaluations/ab_tests.css.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from itertools import groupby

from apps.evaluations.ab_tests.admin.axes import number_ticks, time_ticks

WIDTH, HEIGHT = 960.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 84.0, 136.0, 26.0, 36.0
COLOURS = 9
LABEL_HEIGHT, LABEL_LENGTH = 15.0, 15
PIXELS_BETWEEN = 3.0
SETTLED = 0.4
"""Share of the points, the oldest, whose bands may leave the plot: sequences begin as wide as the world."""
FARTHEST = 1.5
"""How many times what has passed the axis may show, so that the planned number of units is in sight."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was known of a candidate at a moment; `low` and `high` are None until enough was seen."""

    at: datetime
    units: int
    difference: float | None
    low: float | None
    high: float | None

    @property
    def has_band(self) -> bool:
        return _is_finite(self.low) and _is_finite(self.high) and _is_finite(self.difference)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the lines are held against: zero, the smallest effect (signed: the good direction), the planned units."""

    min_effect: float
    planned_units: int | None


@dataclass(frozen=True, slots=True)
class _Frame:
    start: datetime
    end: datetime
    low: float
    high: float

    def x(self, at: datetime) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((at - self.start) / (self.end - self.start))

    def y(self, value: float) -> float:
        """Far outside is as good as just outside, and keeps the numbers of the path small."""
        share = (value - self.low) / (self.high - self.low)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(3.0, max(-2.0, share)))


def plot(
    lines: Mapping[str, Sequence[Reading]], reference: Reference, *, title: str, write: Callable[[float], str]
) -> str:
    """SVG of the candidates' readings, each in order of time; empty while none of them has an interval.

    `write` says a difference in the metric's unit.
    """
    if not any(reading.has_band for readings in lines.values() for reading in readings):
        return ""
    every = [reading for readings in lines.values() for reading in readings]
    planned_at = _planned_at(every, reference.planned_units)
    frame = _frame(every, reference, planned_at)
    parts = [
        *_axes(frame, write),
        *(part for number, readings in enumerate(lines.values(), 1) for part in _band(frame, number, readings)),
        *_marks(frame, reference, planned_at),
        *_labels(frame, lines),
    ]
    return _document(title, _said(lines, write), parts)


def _planned_at(readings: Sequence[Reading], planned_units: int | None) -> datetime | None:
    """When the planned number of units was there, or will be if they go on to come as they did."""
    if not planned_units:
        return None
    for reading in sorted(readings, key=lambda each: each.at):
        if reading.units >= planned_units:
            return reading.at
    first, last = min(readings, key=lambda each: each.at), max(readings, key=lambda each: each.at)
    if last.units <= first.units:
        return None
    per_unit = (last.at - first.at) / (last.units - first.units)
    left = planned_units - last.units
    # Some tests would need longer than calendars go.
    return last.at + per_unit * left if per_unit.total_seconds() * left < timedelta(days=3650).total_seconds() else None


def _frame(readings: Sequence[Reading], reference: Reference, planned_at: datetime | None) -> _Frame:
    start, last = min(each.at for each in readings), max(each.at for each in readings)
    passed = max(last - start, timedelta(minutes=1))
    end = start + passed
    if planned_at is not None and planned_at <= start + FARTHEST * passed:
        end = max(end, planned_at + passed * 0.02)
    bands = sorted((each for each in readings if each.has_band), key=lambda each: each.at)
    settled = bands[math.floor(SETTLED * len(bands)) :]
    bounds = [bound for each in settled for bound in (each.low, each.high) if bound is not None]
    low, high = min(0.0, reference.min_effect, *bounds), max(0.0, reference.min_effect, *bounds)
    margin = 0.06 * (high - low) or 1.0
    return _Frame(start, end, low - margin, high + margin)


def _axes(frame: _Frame, write: Callable[[float], str]) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    for tick in number_ticks(frame.low, frame.high):
        y = frame.y(tick)
        kind = "ab-zero" if abs(tick) < (frame.high - frame.low) * 1e-9 else "ab-grid"
        yield f'<line class="{kind}" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _words(LEFT - 8, y + 4, write(0.0 if kind == "ab-zero" else tick), anchor="end")
    for moment, said in time_ticks(frame.start, frame.end):
        x = frame.x(moment)
        yield f'<line class="ab-tick" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:g}" y2="{bottom + 5:g}"/>'
        yield _words(x, bottom + 19, said, anchor="middle")


def _marks(frame: _Frame, reference: Reference, planned_at: datetime | None) -> Iterator[str]:
    right = WIDTH - RIGHT
    y = frame.y(reference.min_effect)
    yield f'<line class="ab-effect" x1="{LEFT:g}" x2="{right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield _words(LEFT + 6, y - 5, "smallest effect of interest", anchor="start", kind=" ab-over")
    if planned_at is None:
        return
    planned = f"{reference.planned_units:,} units"
    if planned_at > frame.end:
        when = _ahead(planned_at - frame.end)
        yield _words(right, TOP - 10, f"planned {planned} {when} at this rate →", anchor="end")
        return
    x = frame.x(planned_at)
    yield f'<line class="ab-planned" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{HEIGHT - BOTTOM:g}"/>'
    anchor = "end" if x > (LEFT + right) / 2 else "start"
    yield _words(x, TOP - 10, f"planned {planned}", anchor=anchor)


def _ahead(wait: timedelta) -> str:
    hours = wait / timedelta(hours=1)
    if hours >= 48:
        return f"in {hours / 24:,.0f} days"
    return f"in {hours:.0f} hours" if hours >= 1.5 else "within about an hour"


def _band(frame: _Frame, number: int, readings: Sequence[Reading]) -> Iterator[str]:
    """A stretch without an interval is a gap."""
    colour = (number - 1) % COLOURS + 1
    for has_band, group in groupby(_thinned(frame, readings), key=lambda each: each.has_band):
        if not has_band:
            continue
        stretch = list(group)
        there = [(frame.x(each.at), frame.y(each.high or 0.0)) for each in stretch]
        back = [(frame.x(each.at), frame.y(each.low or 0.0)) for each in reversed(stretch)]
        middle = [(frame.x(each.at), frame.y(each.difference or 0.0)) for each in stretch]
        yield f'<path class="ab-band ab-c{colour}" clip-path="url(#ab-inside)" d="{_path([*there, *back])}Z"/>'
        yield f'<path class="ab-line ab-c{colour}" clip-path="url(#ab-inside)" d="{_path(middle)}"/>'


def _labels(frame: _Frame, lines: Mapping[str, Sequence[Reading]]) -> Iterator[str]:
    """Names at the ends of the lines, moved apart where they would lie on each other."""
    ends = []
    for number, (name, readings) in enumerate(lines.items(), 1):
        last = next((each for each in reversed(readings) if each.has_band), None)
        if last is not None:
            ends.append((frame.y(last.difference or 0.0), (number - 1) % COLOURS + 1, name, frame.x(last.at)))
    below = TOP
    for y, colour, name, x in sorted(ends):
        below = max(below + LABEL_HEIGHT, min(y + 4, HEIGHT - BOTTOM))
        yield f'<circle class="ab-dot ab-c{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5" clip-path="url(#ab-inside)"/>'
        cut = name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…"
        yield (
            f'<text class="ab-name ab-c{colour}" x="{WIDTH - RIGHT + 10:g}" y="{below:.1f}">'
            f"<title>{_text(name)}</title>{_text(cut)}</text>"
        )


def _thinned(frame: _Frame, readings: Sequence[Reading]) -> list[Reading]:
    """The last of each few pixels: more could not be seen."""
    groups = groupby(readings, key=lambda each: (each.has_band, math.floor(frame.x(each.at) / PIXELS_BETWEEN)))
    return [list(group)[-1] for _, group in groups]


def _said(lines: Mapping[str, Sequence[Reading]], write: Callable[[float], str]) -> str:
    """The newest readings in words, for those who do not see the plot."""
    said = []
    for name, readings in lines.items():
        last = next((each for each in reversed(readings) if each.has_band), None)
        if last is not None and last.difference is not None and last.low is not None and last.high is not None:
            said.append(f"{name}: {write(last.difference)}, from {write(last.low)} to {write(last.high)}")
    return "; ".join(said)


def _document(title: str, said: str, parts: Sequence[str]) -> str:
    inside = (
        f'<clipPath id="ab-inside"><rect x="{LEFT:g}" y="{TOP:g}" width="{WIDTH - LEFT - RIGHT:g}" '
        f'height="{HEIGHT - TOP - BOTTOM:g}"/></clipPath>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ab-plot" role="img" aria-label="{_text(f"{title}. {said}")}" '
        f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}"><defs>{inside}</defs>{"".join(parts)}</svg>'
    )


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _words(x: float, y: float, said: str, *, anchor: str, kind: str = "") -> str:
    return f'<text class="ab-text{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(said)}</text>'


def _is_finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def _text(text: str) -> str:
    """Escaped, and without what no XML document may hold."""
    return escape("".join(" " if ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF else letter for letter in text))
