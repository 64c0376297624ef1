"""A definition, or the way of a run through it, as a Mermaid flowchart."""

from collections.abc import Iterator, Mapping

from apps.workflows.definition.model import OK, Definition, Graph, Node

_SHAPES = {
    "condition": ("{{", "}}"),
    "approval": ("[/", "/]"),
    "join": ("((", "))"),
    "delay": ("([", "])"),
    "subworkflow": ("[[", "]]"),
}
_CLASSES = {
    "succeeded": "fill:#d1fae5,stroke:#059669,color:#064e3b",
    "failed": "fill:#fee2e2,stroke:#dc2626,color:#7f1d1d",
    "running": "fill:#dbeafe,stroke:#2563eb,color:#1e3a8a",
    "waiting": "fill:#fef3c7,stroke:#d97706,color:#78350f",
    "skipped": "fill:#f3f4f6,stroke:#9ca3af,color:#6b7280,stroke-dasharray:4 3",
    "interrupted": "fill:#fee2e2,stroke:#9ca3af,color:#7f1d1d,stroke-dasharray:4 3",
}


def mermaid(definition: Definition, states: Mapping[str, str] | None = None) -> str:
    """`states` is the status of a step (see `StepStatus`) by path; of passes of a body, `map[3].write`, the worst.

    Containers with a body are subgraphs.
    """
    by_node = _by_node(states or {})
    lines = ["flowchart TD", *_graph(definition.graph, definition, "  ")]
    for status, style in _CLASSES.items():
        node_ids = [node.id for node in definition.all_nodes() if by_node.get(node.id) == status]
        if node_ids:
            lines += [f"  classDef {status} {style}", f"  class {','.join(map(_name, node_ids))} {status}"]
    return "\n".join(lines) + "\n"


def _graph(graph: Graph, definition: Definition, indent: str) -> Iterator[str]:
    for node in graph.nodes.values():
        body = definition.bodies.get(node.id)
        if body is None:
            opening, closing = _SHAPES.get(node.kind, ("[", "]"))
            yield f'{indent}{_name(node.id)}{opening}"{_label(node)}"{closing}'
        else:
            yield f'{indent}subgraph {_name(node.id)}["{_label(node)}"]'
            yield from _graph(body.graph, definition, indent + "  ")
            yield f"{indent}end"
    for edge in graph.edges:
        handle = "" if edge.handle == OK else f'|"{_text(edge.handle)}"|'
        yield f"{indent}{_name(edge.source)} -->{handle} {_name(edge.target)}"


def _by_node(states: Mapping[str, str]) -> dict[str, str]:
    """The status by node id; of several passes that which stands first in the list."""
    ranks = {status: rank for rank, status in enumerate(("failed", "waiting", "running", "interrupted", "succeeded"))}
    found: dict[str, str] = {}
    for path, status in states.items():
        node_id = path.rpartition(".")[2]
        known = found.get(node_id)
        if known is None or ranks.get(status, len(ranks)) < ranks.get(known, len(ranks)):
            found[node_id] = status
    return found


def _name(node_id: str) -> str:
    """Words such as `end` and `class` are Mermaid's own."""
    return f"n_{node_id}"


def _label(node: Node) -> str:
    return f"{_text(node.name or node.id)}<br/>{_text(node.kind)}"


def _text(text: str) -> str:
    """As entities: neither Mermaid nor the page that shows it takes anything in it for markup."""
    safe = "".join(
        char if char.isalnum() or char in " _-.,:!?" else f"#{ord(char)};" for char in " ".join(text.split())
    )
    return safe.strip() or "#32;"
