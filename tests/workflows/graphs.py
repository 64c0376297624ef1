"""Random valid definitions: branches of unequal length, joins in joins, conditions, failures, empty maps, loops.

What a node of them comes to depends on the inputs and on what was before it alone, so that any correct way to run one
comes to the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hypothesis import strategies as st

Json = Any

MAX_CHOICES = 5
INPUTS = {
    "type": "object",
    "properties": {"word": {}, "number": {}, "mixed": {}, "items": {}},
    "required": ["word", "number", "mixed", "items"],
    "additionalProperties": False,
}


@st.composite
def runs(draw: Callable[[Any], Any], *, max_nodes: int = 7) -> tuple[Json, Json]:
    """A definition and the inputs of a run of it."""
    mixed = st.one_of(st.integers(0, 9), st.sampled_from(["a", "b"]))
    inputs = {
        "word": draw(st.sampled_from(["red", "blue", ""])),
        "number": draw(st.integers(0, 4)),
        "mixed": draw(mixed),
        "items": draw(st.lists(mixed, max_size=3)),
    }
    return draw(definitions(max_nodes=max_nodes)), inputs


@st.composite
def definitions(draw: Callable[[Any], Any], *, max_nodes: int = 7) -> Json:
    maker = _Maker(draw)
    graph = maker.graph(max_nodes, depth=2, roots=("inputs",), outer={})
    outputs = {f"of_{node['id']}": maker.reference(node, is_sure=False) for node in graph["nodes"][:3]}
    return {
        "schema_version": 1,
        "inputs": INPUTS,
        "settings": {"max_node_executions": 5000},
        **graph,
        "outputs": outputs,
    }


def handles(node: Json) -> tuple[str, ...]:
    own = ("ok",)
    if node["kind"] == "condition":
        cases = (case["handle"] for case in node["config"]["cases"])
        own = tuple(dict.fromkeys([*cases, node["config"]["default"]]))
    return (*own, "error") if node.get("on_error") == "branch" else own


def ways(nodes: Sequence[Json], edges: Sequence[Json]) -> Iterator[Mapping[str, str]]:
    """All ways through a graph, one for each choice of handles: the handle of each node that is active. By trying."""
    for choice in product(*(handles(node) for node in nodes)):
        chosen = dict(zip((node["id"] for node in nodes), choice, strict=True))
        taken: dict[str, str] = {}
        for node in nodes:
            incoming = [edge for edge in edges if edge["to"] == node["id"]]
            active = [taken.get(edge["from"]) == edge.get("handle", "ok") for edge in incoming]
            is_all = node["kind"] == "join" and node["config"].get("mode", "all") == "all"
            if not incoming or (all(active) if is_all else any(active)):
                taken[node["id"]] = chosen[node["id"]]
        yield taken


@dataclass
class _Maker:
    """Nodes are made so that each comes after those before it; they are listed in any order."""

    draw: Callable[[Any], Any]
    count: int = 0

    def graph(self, most: int, depth: int, roots: tuple[str, ...], outer: Mapping[str, Json]) -> Json:
        nodes: list[Json] = []
        edges: list[Json] = []
        for place in range(self.draw(st.integers(1, most))):
            node = self._node(depth, roots, is_start=place == 0)
            sources = self.draw(st.lists(st.sampled_from(nodes), unique_by=id, max_size=3)) if nodes else []
            for source in sources:
                handle = self.draw(st.sampled_from(handles(source)))
                ok = {} if handle == "ok" and self.draw(st.booleans()) else {"handle": handle}
                edges.append({"from": source["id"], "to": node["id"], **ok})
            nodes.append(node)
        self._limit_choices(nodes, edges)
        taken = list(ways(nodes, edges))
        for node in nodes:
            if node["kind"] == "join" and not any(node["id"] in way for way in taken):
                node["config"]["mode"] = "any"
        taken = list(ways(nodes, edges))
        for node in nodes:
            before = _ancestors(node["id"], edges)
            self._fill(node, [one for one in nodes if one["id"] in before], taken, depth, roots, outer)
        return {"nodes": self.draw(st.permutations(nodes)), "edges": self.draw(st.permutations(edges))}

    def reference(self, node: Json, *, is_sure: bool) -> Json:
        """To what in its output is the same in every correct run: not the texts of errors."""
        inner = {"map": ".items", "loop": ".iterations"}.get(node["kind"], "")
        part = "status" if node["kind"] == "join" else f"output{inner}"
        default = {} if is_sure else {"default": self.draw(st.sampled_from([None, "none", 0]))}
        return {"$ref": f"nodes.{node['id']}.{part}", **default}

    def _node(self, depth: int, roots: tuple[str, ...], *, is_start: bool) -> Json:
        kinds = ["template", "transform", "condition", "failing", *([] if is_start else ["join", "join"])]
        kind = self.draw(st.sampled_from([*kinds, "map", "loop"] if depth else kinds))
        self.count += 1
        node: Json = {"id": f"{kind}_{self.count}", "kind": "transform" if kind == "failing" else kind, "config": {}}
        if kind in {"failing", "map", "loop"}:
            node["on_error"] = self.draw(st.sampled_from(["fail", "branch", "branch", "default"]))
        if kind == "join":
            node["config"]["mode"] = self.draw(st.sampled_from(["all", "any", "first"]))
        if kind == "condition":
            names = self.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=2, unique=True))
            node["config"] = {"cases": [{"handle": name, "expr": self._test(roots)} for name in names], "default": "d"}
        return node

    def _test(self, roots: tuple[str, ...]) -> str:
        limit = self.draw(st.integers(0, 3))
        tests = {"item": f"index >= {limit}", "last": f"iteration >= {limit}"}
        return self.draw(st.sampled_from([f"inputs.number > {limit}", *(tests[one] for one in roots if one in tests)]))

    def _limit_choices(self, nodes: Sequence[Json], edges: Sequence[Json]) -> None:
        """Whoever has no edge for `error` does not branch; and no more choices than can be tried."""
        for node in nodes:
            used = {edge.get("handle", "ok") for edge in edges if edge["from"] == node["id"]}
            if node.get("on_error") == "branch" and "error" not in used:
                node["on_error"] = "default"
        for node in [node for node in nodes if len(handles(node)) > 1][MAX_CHOICES:]:
            for edge in edges:
                if edge["from"] == node["id"]:
                    edge["handle"] = "ok"
            node.update(kind="template", on_error="fail", config={})

    def _fill(self, node: Json, before: list[Json], taken: Any, depth: int, roots: Any, outer: Any) -> None:
        """The configuration, which refers to nodes before it: without a default to those that are surely done."""
        sure = {one["id"] for one in before if all(_is_done(one["id"], way) for way in taken if node["id"] in way)}
        known = {**outer, **{one["id"]: (one, one["id"] in sure) for one in before}}
        chosen = self.draw(st.lists(st.sampled_from(list(known.values())), max_size=2)) if known else []
        values = [self.reference(one, is_sure=is_sure) for one, is_sure in chosen]
        paths = ["inputs.word", *(root for root in roots if root != "inputs")]
        paths += [value["$ref"] for value in values if "default" not in value]
        config = node["config"]
        if node["kind"] == "template":
            config["template"] = node["id"] + " ".join(f"{{{{ {path} }}}}" for path in paths)
        elif node["kind"] == "transform" and node["id"].startswith("failing"):
            given = self.draw(
                st.sampled_from(["no number", "{{ inputs.mixed }}", *(["{{ item }}"] if "item" in roots else [])])
            )
            config.update(expression="abs(@)", input=given)
        elif node["kind"] == "transform":
            config.update(expression="@", input={"values": values, "text": f"{{{{ {paths[-1]} }}}}"})
        elif node["kind"] == "condition" and before:
            config["cases"][0]["expr"] += f" || nodes.{before[0]['id']}.status == 'skipped'"
        if node.get("on_error") == "default":
            node["default_output"] = self.draw(st.sampled_from([None, {"items": [], "iterations": 0}]))
        if node["kind"] in {"map", "loop"}:
            self._fill_container(node, depth, roots, known)

    def _fill_container(self, node: Json, depth: int, roots: tuple[str, ...], known: Mapping[str, Json]) -> None:
        config = node["config"]
        own = "item" if node["kind"] == "map" else "last"
        inner = tuple(dict.fromkeys([*roots, own]))
        body = self.graph(3, depth - 1, inner, known)
        if any(one["kind"] in {"join", "map", "loop"} for one in body["nodes"]) or self.draw(st.booleans()):
            body["output"] = [self.reference(one, is_sure=False) for one in body["nodes"]]
        config["body"] = body
        if node["kind"] == "map":
            config["items"] = self.draw(st.sampled_from([{"$ref": "inputs.items"}, ["a", 1], []]))
            config["on_item_error"] = self.draw(st.sampled_from(["fail", "continue", "drop"]))
            config["max_concurrency"] = self.draw(st.integers(1, 3))
        else:
            config["max_iterations"] = self.draw(st.integers(1, 3))
            if self.draw(st.booleans()):
                config["until"] = f"iteration >= {self.draw(st.integers(0, 2))} || last == 'none'"


def _is_done(node_id: str, way: Mapping[str, str]) -> bool:
    return node_id in way and way[node_id] != "error"


def _ancestors(node_id: str, edges: Sequence[Json]) -> set[str]:
    found: set[str] = set()
    left = [node_id]
    while left:
        target = left.pop()
        for edge in edges:
            if edge["to"] == target and edge["from"] not in found:
                found.add(edge["from"])
                left.append(edge["from"])
    return found
