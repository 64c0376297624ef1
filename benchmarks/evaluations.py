"""Speed of evaluations: `python -m benchmarks.evaluations run [ITEMS]` (10,000), two workers, an upstream of 0 ms.

Prints items per second with three cheap evaluators, their ratio to a plain batch of the same rows, and the memory of a
worker over time. The rows of dataset and evaluation are stored as the services store them.
"""

import json
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from benchmarks.__main__ import GOALS, prompt_with_model, show
from benchmarks.batch import post, wait_for_end, worker
from benchmarks.stack import Stack, memory_mib, running_stack
from everquant.embedded import EmbeddedServices

CONCURRENCY = 128
BATCH_ROWS = 2000
EVALUATORS = {
    "same": ("exact_match", {}),
    "has-name": ("contains", {"texts": ["n"]}),
    "long": ("length", {"min": 3}),
}


def rows(connection: Any, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    found = connection.execute(sql, parameters)
    return list(found.fetchall()) if found.description else []


def make_items(connection: Any, organization: UUID, items: int) -> UUID:
    """A dataset's version with so many items."""
    dataset, version = uuid7(), uuid7()
    rows(
        connection,
        "INSERT INTO evaluations_dataset (id, organization_id, created_at, updated_at, slug, name, description, tags) "
        "VALUES (%s, %s, now(), now(), %s, 'bench', '', '{}')",
        dataset, organization, f"bench-{dataset.hex[-12:]}",
    )  # fmt: skip
    rows(
        connection,
        "INSERT INTO evaluations_datasetversion (id, organization_id, created_at, updated_at, dataset_id, "
        "version_number, item_count, message) VALUES (%s, %s, now(), now(), %s, 1, %s, '')",
        version, organization, dataset, items,
    )  # fmt: skip
    rows(connection, "UPDATE evaluations_dataset SET current_version_id = %s WHERE id = %s", version, dataset)
    names = (
        "id, organization_id, dataset_id, position, since, input, expected, has_expected, has_output, metadata, split, "
        "content_hash, created_at"
    )
    with connection.cursor() as cursor, cursor.copy(f"COPY evaluations_datasetitem ({names}) FROM STDIN") as copy:
        for number in range(items):
            said = json.dumps({"name": f"n{number}"})
            digest = sha256(said.encode()).digest()
            copy.write_row(
                (uuid7(), organization, dataset, number, 1, said, '"Hello"', True, False, "{}", "", digest, "now")
            )
    return version


def post_evaluation(stack: Stack, token: str, connection: Any, prompt: dict[str, Any], items: int) -> str:
    [(organization,)] = rows(connection, "SELECT organization_id FROM prompts_prompt WHERE id = %s", prompt["id"])
    version = make_items(connection, organization, items)
    [(dataset,)] = rows(connection, "SELECT dataset_id FROM evaluations_datasetversion WHERE id = %s", version)
    known = {one["slug"] for one in stack.call("GET", "/evaluators?per_page=100", token=token)}
    for slug, (kind, config) in EVALUATORS.items():
        if slug not in known:
            stack.call("POST", "/evaluators", {"slug": slug, "name": slug, "kind": kind, "config": config}, token)
    wish = {
        "dataset": str(dataset),
        "subjects": [{"prompt": prompt["slug"]}],
        "evaluators": [{"evaluator": slug} for slug in EVALUATORS],
        "max_concurrency": CONCURRENCY,
    }
    return str(stack.call("POST", "/evaluations", wish, token)["id"])


class Memory(threading.Thread):
    """Of a process group, each second."""

    def __init__(self, group: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[float] = []
        self._group = group
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(1):
            self.seen.append(memory_mib(self._group))

    def stop(self) -> list[float]:
        self._stopping.set()
        self.join()
        return self.seen


def evaluation_ended(stack: Stack, token: str, evaluation_id: str) -> Any:
    while True:
        evaluation = stack.call("GET", f"/evaluations/{evaluation_id}", token=token)
        if evaluation["finished_at"]:
            return evaluation
        time.sleep(0.25)


def batch_rate(stack: Stack, token: str, prompt: dict[str, Any], items: int) -> float:
    started = time.perf_counter()
    wait_for_end(stack, token, post(stack, token, prompt, items)["id"])
    return items / (time.perf_counter() - started)


def run(items: int) -> None:
    with running_stack() as stack:
        token = stack.log_in()
        prompt = prompt_with_model(stack, token)
        database = EmbeddedServices(Path(stack.environment["EVERQUANT_DATA_DIR"])).database_url
        with (
            worker(stack, 16) as one,
            worker(stack, 16) as other,
            psycopg.connect(database, autocommit=True) as rows_of,
        ):
            evaluation_ended(stack, token, post_evaluation(stack, token, rows_of, prompt, 200))
            batch = batch_rate(stack, token, prompt, min(items, BATCH_ROWS))
            watches = [Memory(one.pid), Memory(other.pid)]
            for watch in watches:
                watch.start()
            started = time.perf_counter()
            evaluation = evaluation_ended(stack, token, post_evaluation(stack, token, rows_of, prompt, items))
            took_s = time.perf_counter() - started
            memories = [watch.stop() for watch in watches]
        print(f"     {evaluation['status']} {evaluation.get('counts')}")
        print(f"     the same rows as a batch: {batch:.0f} per second")
        show(f"items per second, {items} items, 3 evaluators, 2 workers", items / took_s, "/s", goal=200,
             ratio=items / took_s / batch)  # fmt: skip
        for seen in memories:
            print("     MiB of a worker:", " ".join(f"{mib:.0f}" for mib in seen[:: max(1, len(seen) // 10)]))
        grown = max(seen[-1] - seen[len(seen) // 5] for seen in memories if seen)
        show("a worker's growth from the first fifth to the end", grown, "MiB", goal=20, at_most=True)


if __name__ == "__main__":
    run(int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
    sys.exit(not all(reached for _, reached in GOALS))
