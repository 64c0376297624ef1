"""What is to be drawn: boxes, and links between them, read from JSON that need not be a valid definition."""

from dataclasses import dataclass, field
from typing import Any

from apps.workflows.definition.model import OK

MOST_BOXES = 400
MOST_LINKS = 4_000
MOST_DEPTH = 6
BOX_WIDTH = 210.0
BOX_HEIGHT = 54.0

Point = tuple[float, float]


class TooLarge(Exception):
    pass


@dataclass(slots=True)
class Box:
    """One node, its place within its graph in pixels (top left). `path` is that of its steps, without indexes."""

    id: str
    title: str
    kind: str
    path: str
    body: "Sketch | None" = None
    x: float = 0.0
    y: float = 0.0
    width: float = BOX_WIDTH
    height: float = BOX_HEIGHT

    @property
    def centre(self) -> float:
        return self.x + self.width / 2


@dataclass(slots=True)
class Link:
    """All edges between two boxes: `handles` without `ok`. `stops` are (x, top, bottom) that the line goes down by."""

    source: Box
    target: Box
    handles: list[str] = field(default_factory=list)
    stops: list[tuple[float, float, float]] = field(default_factory=list)
    start: Point = (0.0, 0.0)
    end: Point = (0.0, 0.0)


@dataclass(slots=True)
class Sketch:
    boxes: list[Box] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def read(definition: Any) -> Sketch:
    """What is no node or edge is left out. Raises TooLarge."""
    return _Reader().graph(definition, "", 0)


class _Reader:
    def __init__(self) -> None:
        self._boxes_left = MOST_BOXES

    def graph(self, graph: Any, prefix: str, depth: int) -> Sketch:
        sketch = Sketch()
        if not isinstance(graph, dict) or depth > MOST_DEPTH:
            return sketch
        boxes: dict[str, Box] = {}
        for node in _dicts(graph.get("nodes")):
            if isinstance(node.get("id"), str) and node["id"] not in boxes:
                boxes[node["id"]] = self._box(node, prefix, depth)
        sketch.boxes = list(boxes.values())
        sketch.links = _links(graph.get("edges"), boxes)
        return sketch

    def _box(self, node: dict[str, Any], prefix: str, depth: int) -> Box:
        self._boxes_left -= 1
        if self._boxes_left < 0:
            raise TooLarge
        name, kind, config = node.get("name"), node.get("kind"), node.get("config")
        path = prefix + node["id"]
        box = Box(
            id=node["id"],
            title=name if isinstance(name, str) and name else node["id"],
            kind=kind if isinstance(kind, str) else "?",
            path=path,
        )
        if isinstance(config, dict) and isinstance(config.get("body"), dict):
            box.body = self.graph(config["body"], f"{path}.", depth + 1)
        return box


def _links(edges: Any, boxes: dict[str, Box]) -> list[Link]:
    found: dict[tuple[str, str], Link] = {}
    for edge in _dicts(edges)[:MOST_LINKS]:
        source, target, handle = edge.get("from"), edge.get("to"), edge.get("handle", OK)
        if not (isinstance(source, str) and isinstance(target, str) and source in boxes and target in boxes):
            continue
        link = found.setdefault((source, target), Link(boxes[source], boxes[target]))
        if isinstance(handle, str) and handle != OK and handle not in link.handles:
            link.handles.append(handle)
    return list(found.values())


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
