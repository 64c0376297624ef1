"""Speed of comparisons: `python -m benchmarks.comparing [ITEMS]` (10,000), of two evaluations over HTTP.

Each has one subject and three metrics, with latency, cost and tokens of every case: eight tests in all. Prints what the
first comparison of a process takes, which loads the libraries, and the median of later ones; and the memory of the web
process.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from benchmarks.__main__ import GOALS, show
from benchmarks.evaluations import make_items, rows
from benchmarks.stack import Stack, memory_mib, running_stack
from everquant.embedded import EmbeddedServices

EVALUATORS = {"same": "exact_match", "alike": "levenshtein", "bleu": "bleu"}
_CASES = """
    INSERT INTO evaluations_evaluationcase (evaluation_id, subject, item_id, repeat, status, error_code, error_message,
        latency_ms, input_tokens, output_tokens, cost_usd, finished_at)
    SELECT %s, 0, id, 0, 'succeeded', '', '', 200 + 800 * random(), 100 + 50 * random(), 20 + 200 * random(),
        0.001 * random(), now() FROM evaluations_datasetitem WHERE dataset_id = %s ORDER BY position
"""
_SCORES = """
    INSERT INTO evaluations_evaluationscore (case_id, metric, evaluation_id, value, passed, label, reason, error_code,
        error_message, execution_ids)
    SELECT id, metric, evaluation_id, CASE metric WHEN 0 THEN (draw < 0.8)::int ELSE draw END,
        CASE metric WHEN 0 THEN draw < 0.8 END, '', '', '', '', '{}'
    FROM (SELECT id, evaluation_id, metric, random() AS draw FROM evaluations_evaluationcase,
        generate_series(0, 2) AS metric WHERE evaluation_id = %s) AS drawn
"""


def make_evaluation(connection: Any, organization: UUID, version: UUID, evaluators: list[UUID]) -> UUID:
    evaluation = uuid7()
    rows(
        connection,
        "INSERT INTO evaluations_evaluation (id, organization_id, created_at, updated_at, name, dataset_version_id, "
        "split, repeats, max_concurrency, metadata, status, error_code, error_message, item_count, case_count, "
        "has_cases, succeeded_count, failed_count, score_count, score_error_count, cost_usd, evaluator_cost_usd, "
        "reopening, round, fence, queued_at, finished_at) VALUES (%s, %s, now(), now(), '', %s, '', 1, 16, '{}', "
        "'succeeded', '', '', 0, 0, true, 0, 0, 0, 0, 0, 0, '', 0, 0, now(), now())",
        evaluation, organization, version,
    )  # fmt: skip
    rows(
        connection,
        "INSERT INTO evaluations_evaluationsubject (evaluation_id, position, name, kind, parameters) "
        "VALUES (%s, 0, 'one', 'recorded', '{}')",
        evaluation,
    )
    for position, (name, evaluator) in enumerate(zip(EVALUATORS, evaluators, strict=True)):
        rows(
            connection,
            "INSERT INTO evaluations_evaluationmetric (evaluation_id, position, name, evaluator_version_id) "
            "VALUES (%s, %s, %s, %s)",
            evaluation, position, name, evaluator,
        )  # fmt: skip
    [(dataset,)] = rows(connection, "SELECT dataset_id FROM evaluations_datasetversion WHERE id = %s", version)
    rows(connection, _CASES, evaluation, dataset)
    rows(connection, _SCORES, evaluation)
    return evaluation


def make_evaluators(stack: Stack, token: str, connection: Any) -> list[UUID]:
    for slug, kind in EVALUATORS.items():
        stack.call("POST", "/evaluators", {"slug": slug, "name": slug, "kind": kind}, token)
    found = rows(connection, "SELECT slug, current_version_id FROM evaluations_evaluator WHERE deleted_at IS NULL")
    return [dict(found)[slug] for slug in EVALUATORS]


def compare(items: int) -> None:
    with running_stack(WEB_PROCESSES="1") as stack:
        token = stack.log_in()
        database = EmbeddedServices(Path(stack.environment["EVERQUANT_DATA_DIR"])).database_url
        with psycopg.connect(database, autocommit=True) as connection:
            [(organization,)] = rows(connection, "SELECT id FROM organizations_organization LIMIT 1")
            evaluators = make_evaluators(stack, token, connection)
            version = make_items(connection, organization, items)
            before, after = (make_evaluation(connection, organization, version, evaluators) for _ in range(2))
            rows(connection, "ANALYZE")
        idle_mib = memory_mib(stack.group)
        took_s = [_timed(stack, token, f"/evaluations/{after}/compare?against={before}") for _ in range(6)]
        print(f"     first comparison of a process, 2 x {items} items, 8 tests: {took_s[0]:.2f} s")
        show(f"comparison, median of {len(took_s) - 1}", statistics.median(took_s[1:]), "s", goal=2, at_most=True)
        print(f"     web memory: {idle_mib:.0f} MiB before, {memory_mib(stack.group):.0f} MiB after")


def _timed(stack: Stack, token: str, path: str) -> float:
    started = time.perf_counter()
    found = stack.call("GET", path, token=token)
    took_s = time.perf_counter() - started
    if found["tests"] != 8:
        raise SystemExit(f"{found['tests']} tests")
    return took_s


if __name__ == "__main__":
    compare(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    sys.exit(not all(reached for _, reached in GOALS))
