"""Workers that die in the middle of imports."""

import time
from collections.abc import Callable
from typing import Any

import requests

from tests.faults.registry import fault
from tests.faults.stack import Json, Stack, until

ROWS = 60_000
_SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}}, "additionalProperties": False}


def _start(stack: Stack) -> Json:
    """An import of so many rows, the last of which is a duplicate of the first."""
    slug = f"imported-{time.time_ns()}"
    dataset = stack.data("POST", "/datasets", {"slug": slug, "name": "Set", "input_schema": _SCHEMA})
    questions = [*range(ROWS - 1), 0]
    content = "question,expected\n" + "".join(f"What is {n} times {n}?,{n * n}\n" for n in questions)
    answer = requests.post(
        stack.url(f"/datasets/{dataset['id']}/import"),
        files={"file": ("items.csv", content)},
        headers={"Authorization": f"Bearer {stack.token}"},
        timeout=60,
    )
    assert answer.status_code == 202, answer.text
    made: Json = answer.json()["data"]
    return made


def _seen(stack: Stack, made: Json) -> Json:
    found: Json = stack.data("GET", f"/datasets/{made['dataset_id']}/imports/{made['id']}")
    return found


def _items(stack: Stack, made: Json) -> list[tuple[Any, ...]]:
    sql = "SELECT input->>'question' FROM evaluations_datasetitem WHERE dataset_id = %s ORDER BY position"
    return stack.rows(sql, made["dataset_id"])


def _until_row(stack: Stack, made: Json, wanted: Callable[[int], bool]) -> int:
    sql = "SELECT row_count FROM evaluations_datasetimport WHERE id = %s"
    until(lambda: wanted(stack.scalar(sql, made["id"])), "some rows are read", 120)
    return int(stack.scalar(sql, made["id"]))


def _check(stack: Stack, made: Json) -> None:
    """Every row is an item once, in the order of the file, in one version; nothing is left behind."""
    found = _seen(stack, made)
    counts = [
        found[name] for name in ("status", "row_count", "item_count", "duplicate_count", "error_count", "version")
    ]
    assert counts == ["succeeded", ROWS, ROWS - 1, 1, 0, 1], found
    assert _items(stack, made) == [(f"What is {n} times {n}?",) for n in range(ROWS - 1)]
    for table in ("row", "part"):
        assert not stack.rows(f"SELECT 1 FROM evaluations_datasetimport{table} LIMIT 1")


@fault("kill -9 of a worker in the middle of an import")
def worker_killed(stack: Stack) -> str:
    made = _start(stack)
    _until_row(stack, made, lambda rows: rows > ROWS // 4)
    stack.kill_workers()
    read = _until_row(stack, made, lambda _: True)
    found = _seen(stack, made)
    assert (found["status"], found["version"], _items(stack, made)) == ("running", None, []), found
    killed = time.monotonic()
    stack.start_worker()
    _until_row(stack, made, lambda rows: rows != read)
    waited_s = time.monotonic() - killed
    until(lambda: _seen(stack, made)["finished_at"], "the import ends")
    _check(stack, made)
    return f"went on after row {read} of {ROWS} within {waited_s:.0f} s; no row came twice"


@fault("SIGTERM of a worker in the middle of an import")
def worker_drained(stack: Stack) -> str:
    made = _start(stack)
    _until_row(stack, made, lambda rows: rows > 0)
    stack.stop_workers()
    read = _seen(stack, made)
    assert (read["status"], _items(stack, made)) == ("queued", []), read
    stack.start_worker()
    until(lambda: _seen(stack, made)["finished_at"], "the import ends")
    _check(stack, made)
    return f"handed over after row {read['row_count']} of {ROWS}"
