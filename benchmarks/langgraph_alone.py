"""The reference for workflows: LangGraph alone with its PostgreSQL saver, on the same database.

`python -m benchmarks.langgraph_alone NODES RUNS` prints the median milliseconds per node of a chain, for each way in
which LangGraph can write its checkpoints: `sync`, `async` (its default), `exit`.
"""

import os
import statistics
import sys
import time
import uuid
from typing import Any, TypedDict

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "everquant.settings")


def main(nodes: int, runs: int) -> None:
    django.setup()
    from langgraph.checkpoint.postgres import PostgresSaver  # noqa: PLC0415 (after the settings)
    from langgraph.graph import START, StateGraph  # noqa: PLC0415
    from procrastinate.contrib.django.utils import connector_params  # noqa: PLC0415
    from psycopg.rows import dict_row  # noqa: PLC0415
    from psycopg_pool import ConnectionPool  # noqa: PLC0415

    options = {**connector_params(), "autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    builder: Any = StateGraph(TypedDict("State", {f"N{number}": Any for number in range(nodes)} | {"WALK": int}))  # type: ignore[operator]
    for number in range(nodes):
        builder.add_node(f"n{number}", lambda state, number=number: {f"N{number}": {"output": f"text {number}"}})
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    with ConnectionPool(kwargs=options, min_size=1, max_size=4) as pool:
        graph = builder.compile(checkpointer=PostgresSaver(pool))
        for durability in ("sync", "async", "exit"):
            times = []
            for _ in range(runs):
                config = {"configurable": {"thread_id": str(uuid.uuid4())}, "recursion_limit": nodes + 5}
                started = time.perf_counter()
                graph.invoke({"WALK": 1}, config, durability=durability)
                times.append((time.perf_counter() - started) * 1000 / nodes)
            print(durability, statistics.median(times), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
