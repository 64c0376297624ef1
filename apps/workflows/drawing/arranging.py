"""Where boxes and lines go: layers by the longest path, ordered by barycentres, placed by least squares.

That is Sugiyama's method: https://doi.org/10.1109/TSMC.1981.4308636
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from apps.workflows.drawing.sketch import Box, Link, Sketch

GAP = 36.0
LAYER_GAP = 54.0
LINE_WIDTH = 8.0
PADDING = 20.0
HEADER = 40.0
SWEEPS = 6
# Beyond this, long lines go straight: they could not be followed by eye in any case.
MOST_STOPS = 3_000
# How much more a line resists being bent than a box being moved.
LINE_WEIGHT = 4.0
FARTHEST = 100_000.0


@dataclass(slots=True, eq=False)
class _Slot:
    """A place in a layer: a box's, or that of a line on its way through."""

    width: float
    weight: float
    box: Box | None = None
    centre: float = 0.0
    above: list["_Slot"] = field(default_factory=list)
    below: list["_Slot"] = field(default_factory=list)


def arrange(sketch: Sketch, positions: Mapping[str, Any]) -> None:
    """Gives every box its place and size and every link its way, bodies first."""
    for box in sketch.boxes:
        if box.body is not None:
            arrange(box.body, positions)
            box.width = max(box.width, box.body.width + 2 * PADDING)
            box.height = HEADER + box.body.height + (PADDING if box.body.boxes else 0)
    if sketch.boxes and not _place_as_given(sketch, positions):
        _place_in_layers(sketch)
    _attach(sketch.links)
    sketch.width = max((box.x + box.width for box in sketch.boxes), default=0.0)
    sketch.height = max((box.y + box.height for box in sketch.boxes), default=0.0)


def _place_as_given(sketch: Sketch, positions: Mapping[str, Any]) -> bool:
    given = [_position(positions.get(box.id)) for box in sketch.boxes]
    points = [point for point in given if point is not None]
    if not points or len(points) < len(given):
        return False
    left, top = min(x for x, _ in points), min(y for _, y in points)
    for box, (x, y) in zip(sketch.boxes, points, strict=True):
        box.x, box.y = x - left, y - top
    return True


def _position(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, dict):
        return None
    numbers = [value.get("x"), value.get("y")]
    if any(isinstance(n, bool) or not isinstance(n, int | float) or not -FARTHEST <= n <= FARTHEST for n in numbers):
        return None
    return float(value["x"]), float(value["y"])


def _place_in_layers(sketch: Sketch) -> None:
    ranks = _ranks(sketch)
    slots = {id(box): _Slot(box.width, 1.0, box) for box in sketch.boxes}
    layers: list[list[_Slot]] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
    for box in sketch.boxes:
        layers[ranks[id(box)]].append(slots[id(box)])
    ways = _lay_lines(sketch.links, ranks, slots, layers)
    _order(layers)
    _spread(layers)
    heights = [max((slot.box.height for slot in layer if slot.box), default=0.0) for layer in layers]
    tops = [sum(heights[:rank]) + rank * LAYER_GAP for rank in range(len(layers))]
    left = min(slot.centre - slot.width / 2 for layer in layers for slot in layer)
    for layer, top, height in zip(layers, tops, heights, strict=True):
        for slot in layer:
            slot.centre -= left
            if slot.box:
                slot.box.x = slot.centre - slot.box.width / 2
                slot.box.y = top + (height - slot.box.height) / 2
    for link, way in ways:
        first, last = ranks[id(link.source)], ranks[id(link.target)]
        inner = [
            (slot.centre, tops[rank], tops[rank] + heights[rank]) for rank, slot in enumerate(way, start=first + 1)
        ]
        # A box in a layer of larger ones: its lines are straight until they are past those.
        start = (link.source.centre, link.source.y + link.source.height, tops[first] + heights[first])
        end = (link.target.centre, tops[last], link.target.y)
        link.stops = [start, *inner, end] if first < last else []


def _ranks(sketch: Sketch) -> dict[int, int]:
    """Layer of each box, by id(): one below the lowest of its sources. A cycle is cut where it is first met."""
    outgoing: dict[int, list[Box]] = defaultdict(list)
    waiting: dict[int, int] = {id(box): 0 for box in sketch.boxes}
    for link in sketch.links:
        outgoing[id(link.source)].append(link.target)
        waiting[id(link.target)] += 1
    ranks = {id(box): 0 for box in sketch.boxes}
    left = {id(box): box for box in sketch.boxes}
    ready = [box for box in sketch.boxes if waiting[id(box)] == 0]
    while left:
        box = ready.pop() if ready else next(iter(left.values()))
        if left.pop(id(box), None) is None:
            continue
        for target in outgoing[id(box)]:
            if id(target) in left:
                ranks[id(target)] = max(ranks[id(target)], ranks[id(box)] + 1)
                waiting[id(target)] -= 1
                if waiting[id(target)] == 0:
                    ready.append(target)
    return ranks


def _lay_lines(
    links: Sequence[Link], ranks: Mapping[int, int], slots: Mapping[int, _Slot], layers: list[list[_Slot]]
) -> list[tuple[Link, list[_Slot]]]:
    """A slot in every layer that a line passes; the ways of the links, without their ends."""
    lengths = [ranks[id(link.target)] - ranks[id(link.source)] for link in links]
    is_direct = sum(max(0, length - 1) for length in lengths) > MOST_STOPS
    ways: list[tuple[Link, list[_Slot]]] = []
    for link, length in zip(links, lengths, strict=True):
        if length < 1 or (is_direct and length > 1):
            continue
        way = [_Slot(LINE_WIDTH, LINE_WEIGHT) for _ in range(length - 1)]
        for rank, slot in enumerate(way, start=ranks[id(link.source)] + 1):
            layers[rank].append(slot)
        chain = [slots[id(link.source)], *way, slots[id(link.target)]]
        for upper, lower in pairwise(chain):
            upper.below.append(lower)
            lower.above.append(upper)
        ways.append((link, way))
    return ways


def _order(layers: list[list[_Slot]]) -> None:
    """Fewer crossings: each slot by the mean place of its neighbours in the layer before, down and up in turn."""
    places = {id(slot): float(place) for layer in layers for place, slot in enumerate(layer)}

    def wanted(slot: _Slot, neighbours: list[_Slot]) -> float:
        return sum(places[id(one)] for one in neighbours) / len(neighbours) if neighbours else places[id(slot)]

    for sweep in range(SWEEPS):
        is_down = sweep % 2 == 0
        for layer in layers if is_down else reversed(layers):
            layer.sort(key=lambda slot: wanted(slot, slot.above if is_down else slot.below))
            places.update((id(slot), float(place)) for place, slot in enumerate(layer))


def _spread(layers: list[list[_Slot]]) -> None:
    """Places in pixels: each slot as near to the middle of its neighbours as order and gaps allow."""
    for layer in layers:
        right = 0.0
        for slot in layer:
            slot.centre = right + slot.width / 2
            right += slot.width + GAP
    for sweep in range(SWEEPS + 1):
        is_down = sweep % 2 == 0
        for layer in layers if is_down else reversed(layers):
            wanted = []
            for slot in layer:
                neighbours = slot.above if is_down else slot.below
                near = [one.centre for one in neighbours] or [slot.centre]
                wanted.append(sum(near) / len(near))
            for slot, centre in zip(layer, _apart(layer, wanted), strict=True):
                slot.centre = centre


def _apart(layer: Sequence[_Slot], wanted: Sequence[float]) -> list[float]:
    """Nearest to what is wanted by weighted least squares, in order and with gaps: isotonic regression, by pooling."""
    offsets = [0.0]
    for left, right in pairwise(layer):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + GAP)
    blocks: list[tuple[float, float, int]] = []
    for slot, want, offset in zip(layer, wanted, offsets, strict=True):
        mean, weight, count = want - offset, slot.weight, 1
        while blocks and blocks[-1][0] > mean:
            before, before_weight, before_count = blocks.pop()
            mean = (mean * weight + before * before_weight) / (weight + before_weight)
            weight, count = weight + before_weight, count + before_count
        blocks.append((mean, weight, count))
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _attach(links: Sequence[Link]) -> None:
    """Where lines leave and enter boxes: side by side, in the order of where they come from and go to."""
    leaving: dict[int, list[Link]] = defaultdict(list)
    entering: dict[int, list[Link]] = defaultdict(list)
    for link in links:
        leaving[id(link.source)].append(link)
        entering[id(link.target)].append(link)
    for group in leaving.values():
        group.sort(key=lambda link: link.stops[1][0] if link.stops else link.target.centre)
        for x, link in zip(_ports(group[0].source, len(group)), group, strict=True):
            link.start = (x, link.source.y + link.source.height)
    for group in entering.values():
        group.sort(key=lambda link: link.stops[-2][0] if link.stops else link.source.centre)
        for x, link in zip(_ports(group[0].target, len(group)), group, strict=True):
            link.end = (x, link.target.y)


def _ports(box: Box, count: int) -> list[float]:
    step = min(28.0, (box.width - 24.0) / max(1, count))
    return [box.centre + (place - (count - 1) / 2) * step for place in range(count)]
