"""A definition as a picture: SVG with the state of each node. Pure, and it draws broken drafts as far as they go."""

from collections.abc import Callable, Mapping
from typing import Any

from apps.workflows.drawing.arranging import arrange
from apps.workflows.drawing.sketch import MOST_BOXES, TooLarge, read
from apps.workflows.drawing.svg import render, render_notice

__all__ = ["MOST_BOXES", "draw"]


def draw(
    definition: Any,
    states: Mapping[str, str] | None = None,
    *,
    title: str = "Workflow",
    link: Callable[[str], str] | None = None,
) -> str:
    """The SVG of a definition (as stored, valid or not).

    `states` are statuses of steps by path (`summaries[3].write` counts for `write` in the body of `summaries`); None
    draws without states. `link` gives the address that a box leads to, by its path without indexes. Colours come from
    static/workflows/drawing.css. `layout.positions` of the definition ({id: {x, y}}, top left, in pixels) are used for
    each graph all of whose nodes have one.
    """
    try:
        sketch = read(definition)
    except TooLarge:
        return render_notice(title, f"More than {MOST_BOXES} nodes are not drawn.")
    if not sketch.boxes:
        return render_notice(title, "There are no nodes yet.")
    arrange(sketch, _positions(definition))
    return render(sketch, states, title=title, link=link)


def _positions(definition: Any) -> Mapping[str, Any]:
    layout = definition.get("layout")
    positions = layout.get("positions") if isinstance(layout, dict) else None
    return positions if isinstance(positions, dict) else {}
