"""The sketch as SVG. What users wrote is escaped; colours and fonts are those of static/workflows/drawing.css."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from html import escape

from apps.workflows.drawing.arranging import HEADER
from apps.workflows.drawing.sketch import Box, Link, Sketch

Addresses = Callable[[str], str]
MARGIN = 12.0
LETTER_WIDTH = 7.5
KIND_LENGTH = 24
HANDLE_LENGTH = 18
NOTICE_WIDTH, NOTICE_HEIGHT = 420, 60
PENDING = "pending"
# The one that a box shows when its steps in a body differ: what needs an eye first.
_BY_URGENCY = ("failed", "running", "waiting", "interrupted", "succeeded", "skipped")
# In a square of 16 pixels.
_MARKS = {
    "succeeded": "M3.5 8.5l3 3 6-7",
    "failed": "M4 4l8 8M12 4l-8 8",
    "interrupted": "M8 3v6M8 12v.5",
    "running": "M8 2.5a5.5 5.5 0 1 1-5.5 5.5",
    "waiting": "M5.5 3.5v9M10.5 3.5v9",
    "skipped": "M3.5 8h9",
    PENDING: "M8 7.9v.2",
}
_INDEX = re.compile(r"\[\d+\]")


def render(sketch: Sketch, states: Mapping[str, str] | None, *, title: str, link: Addresses | None) -> str:
    parts = list(_graph(sketch, None if states is None else _by_place(states), link))
    return _document(sketch.width + 2 * MARGIN, sketch.height + 2 * MARGIN, title, parts, has_links=link is not None)


def render_notice(title: str, text: str) -> str:
    line = (
        f'<text class="wf-notice" x="{NOTICE_WIDTH / 2 - MARGIN:g}" y="24" text-anchor="middle">{escape(text)}</text>'
    )
    return _document(NOTICE_WIDTH, NOTICE_HEIGHT, title, [line], has_links=False)


def _document(width: float, height: float, title: str, parts: list[str], *, has_links: bool) -> str:
    # What is within an image is not read out: a drawing with links is a group of them.
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="wf-drawing" role="{"group" if has_links else "img"}" '
        f'aria-label="{_text(title)}" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">'
    )
    return (
        f'{head}<title>{_text(title)}</title><g transform="translate({MARGIN:g} {MARGIN:g})">{"".join(parts)}</g></svg>'
    )


def _by_place(states: Mapping[str, str]) -> dict[str, Counter[str]]:
    places: dict[str, Counter[str]] = {}
    for path, status in states.items():
        places.setdefault(_INDEX.sub("", path), Counter())[status] += 1
    return places


def _graph(sketch: Sketch, states: Mapping[str, Counter[str]] | None, address: Addresses | None) -> Iterator[str]:
    for link in sketch.links:
        yield _line(link)
    for box in sketch.boxes:
        yield from _box(box, states, address)
    for link in sketch.links:
        if link.handles:
            yield _handles(link)


def _box(box: Box, states: Mapping[str, Counter[str]] | None, address: Addresses | None) -> Iterator[str]:
    found = None if states is None else states.get(box.path, Counter())
    status = "" if found is None else next((one for one in _BY_URGENCY if found[one]), PENDING)
    about = ", ".join(filter(None, (box.title, box.kind, status, _progress(found))))
    kind = " wf-container" if box.body is not None else ""
    yield f'<g transform="translate({box.x:.1f} {box.y:.1f})" class="wf-node wf-{status or "plain"}{kind}">'
    if address:
        yield f'<a href="{_text(address(box.path))}" aria-label="{_text(about)}">'
    yield f"<title>{_text(about)}</title>"
    yield f'<rect class="wf-box" width="{box.width:.1f}" height="{box.height:.1f}" rx="8"/>'
    yield from _words(box, status, found)
    if address:
        yield "</a>"
    if box.body is not None and box.body.boxes:
        left = (box.width - box.body.width) / 2
        yield f'<g transform="translate({left:.1f} {HEADER:g})">{"".join(_graph(box.body, states, address))}</g>'
    yield "</g>"


def _words(box: Box, status: str, found: Counter[str] | None) -> Iterator[str]:
    left, first, second = 14.0, 23.0, 41.0
    if box.body is not None:
        first, second = 17.0, 32.0
    if status:
        yield (
            f'<g transform="translate(10 {first - 13:g})"><circle class="wf-disc" cx="8" cy="8" r="8"/>'
            f'<path class="wf-mark" d="{_MARKS[status]}"/></g>'
        )
        left = 34.0
    letters = int((box.width - left - 6.0) / LETTER_WIDTH)
    yield f'<text class="wf-title" x="{left:g}" y="{first:g}">{_text(_cut(box.title, letters))}</text>'
    progress = _progress(found)
    below = f"{_cut(box.kind, KIND_LENGTH)} · {progress}" if progress else _cut(box.kind, KIND_LENGTH)
    yield f'<text class="wf-kind" x="{left:g}" y="{second:g}">{_text(below)}</text>'


def _progress(found: Counter[str] | None) -> str:
    """How many steps are in which state, for what ran more than once."""
    if found is None or found.total() < 2:
        return ""
    return " ".join(f"{found[status]} {status}" for status in reversed(_BY_URGENCY) if found[status])


def _line(link: Link) -> str:
    (x, y), (end_x, end_y) = link.start, link.end
    stops = [(x, y, link.stops[0][2]), *link.stops[1:-1], (end_x, link.stops[-1][1], end_y)] if link.stops else []
    path = [f"M{x:.1f} {y:.1f}"]
    for stop_x, top, bottom in stops or [(x, y, y), (end_x, end_y, end_y)]:
        if (stop_x, top) != (x, y):
            bend = max(16.0, (top - y) / 2)
            path.append(f"C{x:.1f} {y + bend:.1f} {stop_x:.1f} {top - bend:.1f} {stop_x:.1f} {top:.1f}")
        if bottom > top:
            path.append(f"V{bottom:.1f}")
        x, y = stop_x, max(top, bottom)
    arrow = f"M{end_x - 4:.1f} {end_y - 7:.1f}L{end_x:.1f} {end_y:.1f}L{end_x + 4:.1f} {end_y - 7:.1f}"
    kind = " wf-error" if link.handles == ["error"] else ""
    return f'<path class="wf-edge{kind}" d="{"".join(path)}"/><path class="wf-arrow{kind}" d="{arrow}"/>'


def _handles(link: Link) -> str:
    """Halfway down the first bend, where lines of one box have parted."""
    words = ", ".join(link.handles)
    if link.stops:
        (_, _, top), (next_x, bottom, _) = link.stops[0], link.stops[1]
        next_x = link.end[0] if len(link.stops) == 2 else next_x
    else:
        top, (next_x, bottom) = link.start[1], link.end
    x, y = (link.start[0] + next_x) / 2, (top + bottom) / 2 + 4
    return (
        f'<text class="wf-handle" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">'
        f"<title>{_text(words)}</title>{_text(_cut(words, HANDLE_LENGTH))}</text>"
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _text(text: str) -> str:
    """Escaped, and without what no XML document may hold."""
    return escape("".join(" " if ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF else letter for letter in text))
