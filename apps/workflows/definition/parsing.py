"""From a definition's JSON to its values."""

from collections.abc import Mapping, Sequence
from typing import Any

from apps.workflows.definition.model import OK, Body, Definition, Edge, Graph, Node, Retry, Settings

Json = Any


def parse(definition: Mapping[str, Json]) -> Definition:
    """Of a definition in which validation has found no problem; anything else may raise whatever it comes to."""
    bodies: dict[str, Body] = {}
    graph = _graph(definition, "", bodies)
    return Definition(
        graph=graph,
        inputs=definition.get("inputs", {}),
        outputs=definition.get("outputs", {}),
        settings=Settings(**definition.get("settings", {})),
        bodies=bodies,
    )


def in_order(node_ids: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """The nodes so that each comes after those before it, else as listed; those in or behind a cycle are left out."""
    waiting_for = dict.fromkeys(node_ids, 0)
    following: dict[str, list[str]] = {node_id: [] for node_id in node_ids}
    for edge in edges:
        waiting_for[edge.target] += 1
        following[edge.source].append(edge.target)
    ready = [node_id for node_id in node_ids if waiting_for[node_id] == 0]
    for node_id in ready:
        for target in following[node_id]:
            waiting_for[target] -= 1
            if waiting_for[target] == 0:
                ready.append(target)
    return ready


def _graph(part: Mapping[str, Json], pointer: str, bodies: dict[str, Body]) -> Graph:
    nodes = {node["id"]: node_of(node, f"{pointer}/nodes/{index}") for index, node in enumerate(part["nodes"])}
    edges = tuple(Edge(edge["from"], edge["to"], edge.get("handle", OK)) for edge in part.get("edges", ()))
    for node in nodes.values():
        if node.has_body:
            body = node.config["body"]
            bodies[node.id] = Body(_graph(body, f"{node.pointer}/config/body", bodies), body.get("output"))
    return Graph({node_id: nodes[node_id] for node_id in in_order(list(nodes), edges)}, edges)


def node_of(node: Mapping[str, Json], pointer: str) -> Node:
    """Of JSON of the right shape."""
    return Node(
        id=node["id"],
        kind=node["kind"],
        config=node.get("config", {}),
        pointer=pointer,
        name=node.get("name", ""),
        retry=Retry(**node.get("retry", {})),
        timeout_s=node.get("timeout_s"),
        on_error=node.get("on_error", "fail"),
        default_output=node.get("default_output"),
    )
