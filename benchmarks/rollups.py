"""What rollups cost: `python -m benchmarks.rollups [ROWS]`, against the database of the environment.

Prints what counting adds to the end of an execution, how many ends a second one worker adds up, and how far behind
it is while a thousand end in each second. It makes an organization for itself and takes it away again.
"""

import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from uuid import UUID

import django
from django.conf import settings
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "everquant.settings")
django.setup()

from apps.analytics.rollups.adding import add_pending, count_waiting  # noqa: E402 (models are there only now)
from apps.analytics.rollups.cubes import EXECUTIONS  # noqa: E402
from apps.executions.keys import time_of  # noqa: E402
from apps.executions.models import Execution, Status  # noqa: E402
from apps.organizations.models import Organization  # noqa: E402
from everquant.db import uuid7  # noqa: E402

PER_SECOND, SECONDS, PAUSE_S = 1000, 20, 5.0
_FINISH = """
UPDATE executions_execution SET status = 'succeeded', finished_at = now(), latency_ms = 900, first_token_ms = 120,
    input_tokens = 400, output_tokens = 90, cost_usd = 0.0004, price = '{}' WHERE id = %s
"""


@contextmanager
def organization() -> Iterator[UUID]:
    made = Organization.objects.create(name="Benchmark", slug=f"benchmark-{time.time_ns()}")
    try:
        yield made.id
    finally:
        Execution.objects.for_organization(made.id).delete()
        with connection.cursor() as cursor:
            for table in ("analytics_pendingexecution", "analytics_executionrollup"):
                cursor.execute(f"DELETE FROM {table} WHERE organization_id = %s", [made.id])  # noqa: S608
        Organization.objects.filter(id=made.id).delete()


def store(organization_id: UUID, count: int, *, is_finished: bool, first: int = 0) -> list[UUID]:
    """Of ten prompts, four models and fifty users, now."""
    now = datetime.now(UTC)
    end = {"status": Status.SUCCEEDED, "finished_at": now, "cost_usd": "0.0004", "price": {}, "input_tokens": 400}
    running = {"status": Status.RUNNING, "started_at": now, "lease_expires_at": now + timedelta(hours=1)}
    rows = []
    for number in range(first, first + count):
        key = uuid7()
        rows.append(
            Execution(
                id=key,
                organization_id=organization_id,
                created_at=time_of(key),
                prompt_id=UUID(int=number % 10),
                prompt_version_id=UUID(int=number % 20),
                model_id=UUID(int=number % 4),
                created_by_id=UUID(int=number % 50),
                latency_ms=200 + number * 7919 % 3000,
                **(end if is_finished else running),
            )
        )
    Execution.objects.bulk_create(rows, batch_size=1000)
    return [row.id for row in rows]


def cost_of_counting(rows: int) -> None:
    """The end of an execution with and without, in turns; medians."""
    with organization() as organization_id, connection.cursor() as cursor:
        took: dict[str, list[float]] = {"on": [], "off": []}
        for number, key in enumerate(store(organization_id, rows, is_finished=False)):
            setting = ("on", "off")[number // 50 % 2]
            if number % 50 == 0:
                cursor.execute(f"SET everquant.rollups = '{setting}'")
            began = time.perf_counter()
            cursor.execute(_FINISH, [key])
            took[setting].append((time.perf_counter() - began) * 1e6)
        cursor.execute("RESET everquant.rollups")
    counted, uncounted = (statistics.median(took[setting]) for setting in ("on", "off"))
    print(
        f"end of an execution: {uncounted:.0f} us uncounted, {counted:.0f} us counted, ratio {counted / uncounted:.2f}"
    )


def capacity(rows: int) -> None:
    with organization() as organization_id:
        store(organization_id, rows, is_finished=True)
        began, used = time.perf_counter(), time.process_time()
        cells = add_pending()
        took, used = time.perf_counter() - began, time.process_time() - used
    print(f"one worker adds {rows / took:.0f} ends per second ({cells} cells; {used:.1f} s of {took:.1f} s in Python)")


def keeping_up() -> None:
    """A worker that adds every five seconds, as the periodic job does, beside a thousand ends per second."""
    is_done = threading.Event()
    took: list[float] = []

    def work() -> None:
        while not is_done.wait(PAUSE_S):
            began = time.perf_counter()
            add_pending()
            took.append(time.perf_counter() - began)
        connection.close()

    with organization() as organization_id:
        worker = threading.Thread(target=work)
        worker.start()
        began = time.perf_counter()
        stored, most = 0, 0
        while (passed := time.perf_counter() - began) < SECONDS:
            if stored < passed * PER_SECOND:
                store(organization_id, 100, is_finished=True, first=stored)
                stored += 100
            most = max(most, count_waiting(EXECUTIONS)) if stored % 500 == 0 else most
            time.sleep(0.001)
        is_done.set()
        worker.join()
    rate = stored / SECONDS
    print(
        f"{rate:.0f} ends per second for {SECONDS} s: at most {most} waited ({most / rate:.1f} s), "
        f"a turn of the worker took {statistics.median(took):.2f} s (at most {max(took):.2f} s) of every {PAUSE_S:g} s"
    )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with settings.EMBEDDED or nullcontext():
        cost_of_counting(min(rows, 4000))
        capacity(rows)
        keeping_up()


if __name__ == "__main__":
    main()
