"""What differs between two definitions, in terms of nodes and edges instead of lines."""

from collections.abc import Iterator, Mapping
from typing import Any

from apps.workflows.definition.model import OK
from apps.workflows.definition.values import escape

Json = Any

LONGEST_POINTER = 500
_ABSENT: Any = object()
_PARTS = ("inputs", "settings", "outputs")


def diff(before: Mapping[str, Json], after: Mapping[str, Json]) -> dict[str, Json]:
    """Of two valid definitions, or an empty one for nothing.

    `nodes`: {added, removed: [id], changed: [{id, changes}]}; `edges`: {added, removed: [{from, to, handle}]};
    `inputs`, `settings`, `outputs`: [changes]; `is_layout_changed`. A change is {pointer, before?, after?}: without
    `before` it was added, without `after` removed. Nodes of bodies are told of like others, by their ids.
    """
    old_nodes, new_nodes = _nodes(before), _nodes(after)
    old_edges, new_edges = _edges(before), _edges(after)
    changed = [
        {"id": node_id, "changes": changes}
        for node_id, node in new_nodes.items()
        if node_id in old_nodes and (changes := list(_changes(old_nodes[node_id], node)))
    ]
    return {
        "nodes": {
            "added": [node_id for node_id in new_nodes if node_id not in old_nodes],
            "removed": [node_id for node_id in old_nodes if node_id not in new_nodes],
            "changed": changed,
        },
        "edges": {
            "added": [_edge(edge) for edge in new_edges if edge not in old_edges],
            "removed": [_edge(edge) for edge in old_edges if edge not in new_edges],
        },
        **{name: list(_changes(before.get(name, {}), after.get(name, {}))) for name in _PARTS},
        "is_layout_changed": _differ(before.get("layout", {}), after.get("layout", {})),
    }


def _nodes(graph: Mapping[str, Json], container: str = "") -> dict[str, Json]:
    """All nodes by id, with `container` for those of a body; a container without its body's nodes and edges."""
    found: dict[str, Json] = {}
    for node in graph.get("nodes", ()):
        config = node.get("config", {})
        inner: dict[str, Json] = {}
        if _has_body(node):
            inner = _nodes(config["body"], node["id"])
            body = {key: part for key, part in config["body"].items() if key not in {"nodes", "edges"}}
            config = {**config, "body": body}
        found[node["id"]] = {**node, "config": config, **({"container": container} if container else {})}
        found |= inner
    return found


def _edges(graph: Mapping[str, Json]) -> dict[tuple[str, str, str], None]:
    found = {(edge["from"], edge["to"], edge.get("handle", OK)): None for edge in graph.get("edges", ())}
    for node in graph.get("nodes", ()):
        if _has_body(node):
            found |= _edges(node["config"]["body"])
    return found


def _has_body(node: Mapping[str, Json]) -> bool:
    return node.get("kind") in {"map", "loop"} and isinstance(node.get("config", {}).get("body"), Mapping)


def _edge(edge: tuple[str, str, str]) -> dict[str, str]:
    source, target, handle = edge
    return {"from": source, "to": target, "handle": handle}


def _changes(before: Json, after: Json, pointer: str = "") -> Iterator[dict[str, Json]]:
    """Objects are compared key by key, all else as a whole, and so is what lies under very long keys: each change says
    where it is."""
    if isinstance(before, Mapping) and isinstance(after, Mapping) and len(pointer) <= LONGEST_POINTER:
        for key in dict.fromkeys([*before, *after]):
            at = f"{pointer}/{escape(key)}"
            yield from _changes(before.get(key, _ABSENT), after.get(key, _ABSENT), at)
    elif _differ(before, after):
        sides = {"before": before, "after": after}
        yield {"pointer": pointer, **{name: side for name, side in sides.items() if side is not _ABSENT}}


def _differ(before: Json, after: Json) -> bool:
    """As JSON: true is not 1, and 1.0 is not 1; the order of keys is no difference."""
    if type(before) is not type(after):
        return True
    if isinstance(before, Mapping):
        return before.keys() != after.keys() or any(_differ(part, after[key]) for key, part in before.items())
    if isinstance(before, list):
        return len(before) != len(after) or any(map(_differ, before, after))
    return bool(before != after)
