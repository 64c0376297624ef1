"""The reference for workflows: LangGraph alone with its PostgreSQL saver, on the same database.

`python -m benchmarks.langgraph_alone NODES RUNS` prints the median milliseconds per node of a chain, for each way in
which LangGraph can write its checkpoints: `sync`, `async` (its default), `exit`.

`python -m benchmarks.langgraph_alone NODES RUNS URL DURABILITY` makes so many runs at once when it is told to (a line
of its input), each node of which is a plain POST of a chat to that URL, and prints a line when all of them have ended.
Nothing is recorded but LangGraph's checkpoints.
"""

import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import django
import orjson
import urllib3

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "everquant.settings")

CONNECTIONS = 4


def chain(nodes: int, visit: Callable[[int], str], pool: Any) -> Any:
    from langgraph.checkpoint.postgres import PostgresSaver  # noqa: PLC0415 (after the settings)
    from langgraph.graph import START, StateGraph  # noqa: PLC0415

    builder: Any = StateGraph(TypedDict("State", {f"N{number}": Any for number in range(nodes)} | {"WALK": int}))  # type: ignore[operator]
    for number in range(nodes):
        builder.add_node(f"n{number}", lambda state, number=number: {f"N{number}": {"output": visit(number)}})
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    return builder.compile(checkpointer=PostgresSaver(pool))


def run(graph: Any, nodes: int, durability: str) -> float:
    """Seconds that it took."""
    config = {"configurable": {"thread_id": str(uuid.uuid4())}, "recursion_limit": nodes + 5}
    started = time.perf_counter()
    graph.invoke({"WALK": 1}, config, durability=durability)
    return time.perf_counter() - started


def time_nodes(nodes: int, runs: int, pool: Any) -> None:
    graph = chain(nodes, lambda number: f"text {number}", pool)
    for durability in ("sync", "async", "exit"):
        times = [run(graph, nodes, durability) * 1000 / nodes for _ in range(runs)]
        print(durability, statistics.median(times), flush=True)


def make_calls(nodes: int, runs: int, url: str, durability: str, pool: Any) -> None:
    http = urllib3.PoolManager(maxsize=runs)
    headers = {"Authorization": "Bearer sk-benchmark", "Content-Type": "application/json"}

    def call(number: int) -> str:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"say {number}"}]}
        answer = http.request("POST", url, body=orjson.dumps(body), headers=headers)
        return str(orjson.loads(answer.data)["choices"][0]["message"]["content"])

    graph = chain(nodes, call, pool)
    run(graph, nodes, durability)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(runs) as threads:
        list(threads.map(lambda _: run(graph, nodes, durability), range(runs)))
    print("done", flush=True)


def main(nodes: int, runs: int, *calls: str) -> None:
    django.setup()
    from procrastinate.contrib.django.utils import connector_params  # noqa: PLC0415 (after the settings)
    from psycopg.rows import dict_row  # noqa: PLC0415
    from psycopg_pool import ConnectionPool  # noqa: PLC0415

    options = {**connector_params(), "autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    with ConnectionPool(kwargs=options, min_size=1, max_size=CONNECTIONS, timeout=300) as pool:
        if calls:
            make_calls(nodes, runs, *calls, pool)
        else:
            time_nodes(nodes, runs, pool)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
