"""How long the questions of dashboards take, and with what plans.

`python -m benchmarks.analytics query [EXECUTIONS]` makes a database of its own beside the development one, fills it,
asks each question over and over in this process, and drops it. Plans go to docs/plans.
"""
# ruff: noqa: PLC0415 (Django is set up before anything of it is imported)

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django

USUAL_COUNT = 1_000_000
REPEATS = 30
GOAL_MS = 100
PLANS = Path(__file__).parents[1] / "docs" / "plans"
ORGANIZATION = "measured"
DAY, WEEK, MONTH = 1, 7, 30
# What is asked: the endpoint, its parameters, and how many days back from now.
QUESTIONS: list[tuple[str, str, dict[str, Any], int]] = [
    ("a day in sum", "overview", {}, DAY),
    ("a month in sum, and the month before", "overview", {"compare": "previous"}, MONTH),
    ("a day by hour", "timeseries", {"interval": "hour"}, DAY),
    ("a week by hour, five models", "timeseries", {"interval": "hour", "group_by": "model", "limit": 5}, WEEK),
    ("a month by day in Berlin", "timeseries", {"interval": "day", "timezone": "Europe/Berlin"}, MONTH),
    ("a month by day in Kathmandu", "timeseries", {"interval": "day", "timezone": "Asia/Kathmandu"}, MONTH),
    ("an hour by minute", "timeseries", {"interval": "minute"}, 0),
    ("prompts of a month", "breakdown", {"group_by": "prompt"}, MONTH),
    ("users of a month", "breakdown", {"group_by": "user"}, MONTH),
    ("prompts and models of a week", "breakdown", {"group_by": ["prompt", "model"]}, WEEK),
    ("failures by provider of a week", "breakdown", {"group_by": "provider", "status": "failed"}, WEEK),
    ("latencies of a month by model", "latency", {"group_by": "model"}, MONTH),
    ("costs of a month by prompt, with the forecast", "costs", {"group_by": "prompt"}, MONTH),
    ("scores of a week by version", "quality", {"group_by": "version"}, WEEK),
    ("versions that fail most in a week", "top", {"group_by": "version", "by": "error_rate"}, WEEK),
    ("prompts that cost most, and the week before", "top", {"by": "cost_usd", "compare": "previous"}, WEEK),
]  # fmt: skip


@contextmanager
def own_database() -> Iterator[None]:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ["ENVIRONMENT"] = "test"
    django.setup()
    from django.conf import settings
    from django.db import connection

    if settings.EMBEDDED is not None:
        settings.EMBEDDED.start()
    name = settings.DATABASES["default"]["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def query(count: int) -> None:
    """Fill the database, then ask each question; the plans are those of the last time."""
    from django.core.management import call_command

    started = time.perf_counter()
    call_command("seed_executions", count=count, organization=ORGANIZATION, verbosity=0)
    print(f"     {count:,} executions stored and added up in {time.perf_counter() - started:.0f} s")
    client = _signed_in()
    plans = []
    for name, path, parameters, days in QUESTIONS:
        given = {**parameters, "from": _back(days)}
        ask = _asking(client, f"/api/v1/analytics/{path}", given)
        plans += [f"== {name}\n{plan}" for plan in explained(ask)]
        waits = [seconds(ask) * 1000 for _ in range(REPEATS)]
        p95 = statistics.quantiles(waits, n=20)[-1]
        print(
            f"{'ok  ' if p95 <= GOAL_MS else 'MISS'} {name}: median {statistics.median(waits):.1f} ms, p95 {p95:.1f} ms"
        )
    PLANS.mkdir(exist_ok=True)
    (PLANS / f"analytics-{count}.txt").write_text("\n\n".join(plans) + "\n")


def _signed_in() -> Any:
    from apps.organizations.models import Organization
    from tests.conftest import client_for, make_person

    organization = Organization.objects.get(slug=ORGANIZATION)
    return make_person(organization, "bench@measured.example", "admin", client_for).client


def _back(days: int) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) - (timedelta(days=days) or timedelta(hours=1))).isoformat()


def _asking(client: Any, path: str, given: dict[str, Any]) -> Callable[[], None]:
    def ask() -> None:
        answer = client.get(path, given)
        if answer.status_code != 200:
            raise SystemExit(answer.content.decode())

    return ask


def explained(call: Callable[[], None]) -> list[str]:
    """EXPLAIN (ANALYZE, BUFFERS) of each statement over the rollups that the call makes."""
    from django.db import connection

    statements: list[tuple[str, Any]] = []

    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "rollup" in sql:
            statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(keep):
        call()
    found = []
    with connection.cursor() as cursor:
        for sql, params in statements:
            begins = sql.index("SELECT")  # after the settings of its own
            cursor.execute(f"{sql[:begins]} EXPLAIN (ANALYZE, BUFFERS) {sql[begins:]}", params)
            while cursor.description is None:
                cursor.nextset()
            found.append("\n".join(row[0][:300] for row in cursor.fetchall()))
    return found


def seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


PARTS: dict[str, Callable[[int], None]] = {"query": query}


if __name__ == "__main__":
    wanted, count = [*sys.argv[1:], *["query", str(USUAL_COUNT)][len(sys.argv[1:]) :]]
    with own_database():
        PARTS[wanted](int(count))
