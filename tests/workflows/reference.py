"""A small interpreter of workflows to compare runs with: one node after the other in topological order, and no more.

It knows the kinds template, transform, condition, join, map and loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.workflows.definition.expressions import is_true, search
from apps.workflows.definition.model import Body, Definition, Graph, Node
from apps.workflows.definition.parsing import parse
from apps.workflows.definition.values import Scope, ValueProblem, resolve

Json = Any
State = dict[str, Json]


class Failed(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Outcome:
    """`states` by path: {status: ok|error|skipped, handle, output}, without nodes behind one that failed its graph.

    What is in `optional` may have run or not: in a graph that failed, which nodes had begun before is a matter of luck.
    """

    status: str = "succeeded"
    outputs: Json = None
    states: dict[str, State] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)


def interpret(definition: Json, inputs: Json) -> Outcome:
    parsed = parse(definition)
    outcome = Outcome()
    interpreter = _Interpreter(parsed, outcome)
    roots = {"inputs": inputs, "run": {"id": "run"}}
    try:
        states = interpreter.graph(parsed.graph, roots, {}, "")
        outcome.outputs = {name: _value(value, roots, states) for name, value in parsed.outputs.items()}
    except Failed:
        outcome.status = "failed"
    return outcome


def differences(expected: Outcome, states: Mapping[str, State]) -> list[str]:
    """What is wrong with the states that a run came to, by path; empty when it is right."""
    found = [f"{path} did not run" for path in expected.states if path not in states and path not in expected.optional]
    for path, state in states.items():
        if path not in expected.states:
            found.append(f"{path} ran, {state}")
        elif comparable(state) != comparable(expected.states[path]):
            found.append(f"{path}: {comparable(state)} instead of {comparable(expected.states[path])}")
    return found


def comparable(state: State) -> State:
    """Without the words of errors, and without a handle where none was taken."""
    return {
        "status": state["status"],
        "handle": state.get("handle") or None,
        "output": without_messages(state.get("output")),
    }


def without_messages(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: without_messages(part) for key, part in value.items() if key != "message"}
    return [without_messages(part) for part in value] if isinstance(value, list) else value


class _Interpreter:
    def __init__(self, definition: Definition, outcome: Outcome) -> None:
        self._bodies = definition.bodies
        self._outcome = outcome

    def graph(self, graph: Graph, roots: Json, outer: Mapping[str, State], prefix: str) -> dict[str, State]:
        """The states of all nodes around and in this graph; raises Failed when a node failed it."""
        states: dict[str, State] = dict(outer)
        failure: Failed | None = None
        for node in graph.nodes.values():
            incoming = graph.incoming[node.id]
            if any(edge.source not in states for edge in incoming):
                continue
            active = [
                edge.source
                for edge in incoming
                if states[edge.source]["status"] != "skipped" and states[edge.source]["handle"] == edge.handle
            ]
            try:
                state = self._node(node, roots, states, len(incoming), active, prefix)
            except Failed as problem:
                failure = failure or problem
                self._note(f"{prefix}{node.id}", {"status": "error", "handle": None, "output": None})
                continue
            states[node.id] = state
            self._note(f"{prefix}{node.id}", state)
        if failure is not None:
            self._outcome.optional |= {path for path in self._outcome.states if path.startswith(prefix)}
            raise failure
        return states

    def _note(self, path: str, state: State) -> None:
        self._outcome.states[path] = state

    def _node(
        self, node: Node, roots: Json, states: Mapping[str, State], edges: int, active: list[str], prefix: str
    ) -> State:
        needed = edges if node.kind == "join" and node.config.get("mode", "all") == "all" else min(edges, 1)
        if len(active) < needed:
            return {"status": "skipped", "handle": None, "output": None}
        try:
            handle, output = self._run(node, roots, states, active, prefix)
        except Failed as problem:
            if node.on_error == "fail":
                raise
            if node.on_error == "default":
                return {"status": "ok", "handle": "ok", "output": node.default_output}
            error = {"code": problem.code, "message": problem.message}
            return {"status": "error", "handle": "error", "output": None, "error": error}
        return {"status": "ok", "handle": handle, "output": output}

    def _run(
        self, node: Node, roots: Json, states: Mapping[str, State], active: list[str], prefix: str
    ) -> tuple[str, Json]:
        scope = Scope({**roots, "nodes": states})
        config = node.config
        try:
            if node.kind == "template":
                return "ok", str(resolve(f"{config['template']} ", scope))[:-1]
            if node.kind == "transform":
                return "ok", search(config["expression"], resolve(config["input"], scope))
            if node.kind == "condition":
                cases = (case["handle"] for case in config["cases"] if is_true(case["expr"], scope))
                handle = next(cases, config["default"])
                return handle, handle
        except ValueProblem as problem:
            raise Failed(problem.code, problem.message) from problem
        if node.kind == "join":
            outputs = {source: states[source]["output"] for source in active}
            return "ok", next(iter(outputs.values()), None) if config.get("mode") == "first" else outputs
        return "ok", {"map": self._map, "loop": self._loop}[node.kind](node, roots, states, f"{prefix}{node.id}")

    def _map(self, node: Node, roots: Json, states: Mapping[str, State], path: str) -> Json:
        items: list[Json] = []
        errors: list[Json] = []
        mode = node.config.get("on_item_error", "fail")
        for index, item in enumerate(_value(node.config["items"], roots, states)):
            try:
                items.append(self._pass(node, {**roots, "item": item, "index": index}, states, f"{path}[{index}]."))
            except Failed as problem:
                errors.append({"index": index, "code": problem.code, "message": problem.message})
                items += [None] if mode == "continue" else []
        if errors and mode == "fail":
            self._outcome.optional |= {one for one in self._outcome.states if one.startswith(f"{path}[")}
            raise Failed(errors[0]["code"], errors[0]["message"])
        return {"items": items, "errors": errors}

    def _loop(self, node: Node, roots: Json, states: Mapping[str, State], path: str) -> Json:
        last: Json = None
        until = node.config.get("until")
        for number in range(node.config["max_iterations"]):
            own = {**roots, "iteration": number}
            last = self._pass(node, {**own, "last": last}, states, f"{path}[{number}].")
            if until is not None and is_true(until, Scope({**own, "last": last, "nodes": states})):
                return {"last": last, "iterations": number + 1, "is_done": True}
        return {"last": last, "iterations": node.config["max_iterations"], "is_done": False}

    def _pass(self, node: Node, roots: Json, outer: Mapping[str, State], prefix: str) -> Json:
        body: Body = self._bodies[node.id]
        states = self.graph(body.graph, roots, outer, prefix)
        if body.output is not None:
            return _value(body.output, roots, states)
        ended = [states[node_id] for node_id in body.graph.nodes if states[node_id]["status"] == "ok"]
        return ended[-1]["output"] if ended else None


def _value(value: Json, roots: Json, states: Mapping[str, State]) -> Json:
    try:
        return resolve(value, Scope({**roots, "nodes": states}))
    except ValueProblem as problem:
        raise Failed(problem.code, problem.message) from problem
