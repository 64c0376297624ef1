"""From a graph to LangGraph's: one node for each node, one static edge for each pair of neighbours.

A node with several nodes before it has one edge from all of them together, so it is called exactly once, after the
last of them, however long the branches are. No edge is conditional: whether a node runs is decided at its visit.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypedDict
from uuid import UUID

from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from apps.workflows.definition.model import Graph, Node
from apps.workflows.engine.frames import Frame
from apps.workflows.engine.steps import State
from apps.workflows.engine.visiting import visit

_REMEMBERED = 500
_CHANNEL = "NODE_"
_WALK = "WALK"
# LangGraph's own threads: its checkpoints are written in them too.
_MOST_THREADS, _SPARE_THREADS = 64, 4

_lock = threading.Lock()
_compiled: "OrderedDict[tuple[UUID, str], CompiledStateGraph[Any, Any, Any, Any]]" = OrderedDict()


def walk_graph(frame: Frame, checkpointer: Any = None, control: Any = None) -> Mapping[str, State]:
    """Visit every node of the frame's graph that has not ended; gives the states, by node id.

    With a checkpointer they are kept under the run's id and taken up by the next walk. Raises GraphDrained when
    `control` has asked for it, and what the checkpointer raises.
    """
    graph = _graph(frame)
    if checkpointer is not None:
        graph = graph.copy({"checkpointer": checkpointer})
    config: Any = {
        "configurable": {"thread_id": str(frame.run.id)},
        "recursion_limit": len(frame.graph.nodes) + 5,
        "max_concurrency": min(len(frame.graph.nodes), _MOST_THREADS) + _SPARE_THREADS,
    }
    options: dict[str, Any] = {"durability": "exit", "control": control} if checkpointer else {}
    state = graph.invoke({_WALK: frame.run.fence}, config, context=frame, **options)
    return {key.removeprefix(_CHANNEL): value for key, value in state.items() if key.startswith(_CHANNEL)}


def _graph(frame: Frame) -> "CompiledStateGraph[Any, Any, Any, Any]":
    with _lock:
        found = _compiled.pop(frame.key, None) or build(frame.graph).compile(checkpointer=False)
        _compiled[frame.key] = found
        while len(_compiled) > _REMEMBERED:
            _compiled.popitem(last=False)
    return found


def build(graph: Graph) -> "StateGraph[Any, Any]":
    """A channel for each node's state: nodes that run at once never write the same one."""
    channels = {_WALK: int, **{_CHANNEL + node_id: Any for node_id in graph.nodes}}
    built: StateGraph[Any, Any] = StateGraph(TypedDict("Channels", channels, total=False), context_schema=Frame)  # type: ignore[operator] # the names are only known now
    for node in graph.nodes.values():
        built.add_node(node.id, _visitor(node))
    for node_id, edges in graph.incoming.items():
        sources = sorted({edge.source for edge in edges})
        if len(sources) > 1:
            built.add_edge(sources, node_id)
        else:
            built.add_edge(sources[0] if sources else START, node_id)
    return built


def _visitor(node: Node) -> Callable[..., dict[str, State]]:
    def call(state: dict[str, Any], runtime: Runtime[Frame]) -> dict[str, State]:
        states = {key.removeprefix(_CHANNEL): value for key, value in state.items() if key.startswith(_CHANNEL)}
        new = visit(runtime.context, node, states)
        return {} if new is None else {_CHANNEL + node.id: new}

    return call
