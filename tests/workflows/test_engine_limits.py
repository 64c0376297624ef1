"""What many nodes at once may not take away from each other, and from their worker."""

import time
from contextlib import ExitStack

import pytest
from django.db import connection

from apps.workflows.definition.parsing import parse
from apps.workflows.engine.walk import MOST_MAP_THREADS, Walk
from tests.executions.conftest import make_model  # noqa: F401 (a fixture)
from tests.upstream import Behaviour
from tests.workflows.conftest import definition, template, transform

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model(make_model):  # noqa: F811
    return make_model(is_default=True)


def connections_out(at_most=0):
    """Of the process's pool, without that of this thread; when there are no more than these, or after a while."""
    connection.close()
    deadline = time.monotonic() + 2
    while True:
        stats = connection.pool.get_stats()
        out = stats["pool_size"] - stats["pool_available"]
        if out <= at_most or time.monotonic() > deadline:
            return out
        time.sleep(0.02)


def test_items_of_a_map_give_their_connections_back(run_of):
    body = {"nodes": [transform("large", "inputs.text")], "edges": []}
    said = definition([{"id": "each", "kind": "map", "config": {"items": [1, 2, 3, 4], "body": body}}])
    others = connections_out()  # those of threads that other tests have left
    run = run_of(said, {"text": "x" * 100_000})
    assert run.status == "succeeded"
    assert connections_out(others) <= others


def test_nodes_that_wait_for_a_place_hold_no_connection(run_of, model, upstream):
    size = connection.pool.max_size
    upstream.answer_always(Behaviour(delay_s=0.05))
    body = {"nodes": [{"id": "ask", "kind": "llm", "config": {"prompt": "{{index}}"}}], "edges": []}
    config = {"items": list(range(size + 4)), "body": body, "max_concurrency": size + 4}
    run = run_of(definition([{"id": "each", "kind": "map", "config": config}], settings={"max_concurrency": 2}))
    assert (run.status, run.active_ms < 10_000) == ("succeeded", True)


@pytest.mark.parametrize("mode", ["continue", "drop"])
def test_a_map_that_bears_failing_items_does_not_hide_that_the_run_came_to_its_limit(run_of, mode):
    config = {"items": list(range(20)), "body": {"nodes": [template("again")], "edges": []}, "on_item_error": mode}
    each = {"id": "each", "kind": "map", "config": config, "on_error": "default", "default_output": {"items": []}}
    run = run_of(definition([each], settings={"max_node_executions": 7}))
    assert (run.status, run.error_code) == ("failed", "NODE_LIMIT")


def test_maps_in_maps_share_the_threads_of_their_run(make_version, start):
    said = definition([template("one")])
    walk = Walk(start(make_version(said)), parse(said), {})
    with ExitStack() as maps:
        given = [maps.enter_context(walk.threads(64)) for _ in range(70)]
    assert (given[0], sum(given)) == (64, MOST_MAP_THREADS)
    with walk.threads(64) as again:
        assert again == 64
