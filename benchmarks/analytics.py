"""How long the questions of dashboards and the pages of executions take in databases of different sizes, side by side.

`python -m benchmarks.analytics ask FOLDER ...` asks everything of each database in turns, so that ratios (to the first
folder) are of the same minutes. A folder is a data directory (EVERQUANT_DATA_DIR) that was filled by
`manage.py seed_executions --organization measured`. With `--plans FILE` the plans in the last one are written there.
`python -m benchmarks.analytics ingest FOLDER ...` makes executions over HTTP, in turns as well.
"""
# ruff: noqa: PLC0415 (Django is set up before anything of it is imported)

import multiprocessing
import os
import re
import statistics
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import django

from benchmarks.stack import PASSWORD, Stack, free_port, process, services, wait_for

REPEATS = 40
ROUNDS, EXECUTES, CALLERS = 6, 200, 8
MOST_MS, MOST_PAGE_MS, MOST_RATIO, MOST_INGEST_RATIO = 100, 50, 1.3, 1.2
ORGANIZATION, EMAIL = "measured", "bench@measured.example"
DAY, WEEK, MONTH = 1, 7, 30
PER_PAGE, LAST_PAGE = 20, 100
# What is asked: the endpoint, its parameters, and how many days back from now; 0 is an hour.
QUESTIONS: list[tuple[str, str, dict[str, Any], int]] = [
    ("a day in sum", "overview", {}, DAY),
    ("a month in sum, and the month before", "overview", {"compare": "previous"}, MONTH),
    ("a day by hour", "timeseries", {"interval": "hour"}, DAY),
    ("a week by hour, five models", "timeseries", {"interval": "hour", "group_by": "model", "limit": 5}, WEEK),
    ("a month by day in Berlin", "timeseries", {"interval": "day", "timezone": "Europe/Berlin"}, MONTH),
    ("a month by day in Kathmandu", "timeseries", {"interval": "day", "timezone": "Asia/Kathmandu"}, MONTH),
    ("a month by day and model", "timeseries", {"interval": "day", "group_by": "model"}, MONTH),
    ("an hour by minute", "timeseries", {"interval": "minute"}, 0),
    ("prompts of a month", "breakdown", {"group_by": "prompt"}, MONTH),
    ("users of a month", "breakdown", {"group_by": "user"}, MONTH),
    ("prompts and models of a week", "breakdown", {"group_by": ["prompt", "model"]}, WEEK),
    ("users and prompts of a month", "breakdown", {"group_by": ["user", "prompt"]}, MONTH),
    ("failures by provider of a week", "breakdown", {"group_by": "provider", "status": "failed"}, WEEK),
    ("latencies of a month by model", "latency", {"group_by": "model"}, MONTH),
    ("costs of a month by prompt, with the forecast", "costs", {"group_by": "prompt"}, MONTH),
    ("scores of a week by version", "quality", {"group_by": "version"}, WEEK),
    ("versions that fail most in a week", "top", {"group_by": "version", "by": "error_rate"}, WEEK),
    ("prompts that cost most, and the week before", "top", {"by": "cost_usd", "compare": "previous"}, WEEK),
]  # fmt: skip
LISTS: list[tuple[str, dict[str, str]]] = [
    ("executions", {}),
    ("executions that failed", {"status": "failed"}),
    ("executions that were cancelled", {"status": "cancelled"}),
    ("executions of a prompt", {"prompt_id": "prompt"}),
    ("executions of a model", {"model_id": "model"}),
    ("executions of a person", {"created_by": "user"}),
    ("executions by an API key", {"api_key_id": "key"}),
    ("executions of a prompt that failed", {"prompt_id": "prompt", "status": "failed"}),
    ("executions of a prompt by a rare person", {"prompt_id": "prompt", "created_by": "rare_user"}),
    ("executions of a version", {"prompt_version_id": "version"}),
    ("executions that took over ten seconds", {"min_latency_ms": "10000"}),
    ("executions that cost over a cent", {"min_cost_usd": "0.01"}),
    ("executions with this error", {"error_code": "RATE_LIMITED"}),
    ("executions from the cache", {"is_cached": "true"}),
    ("executions older than a week", {"created_before": "week"}),
]
Ask = Callable[[], None]
_SAME_EVERYWHERE = re.compile(r"\s*(Index Searches|Batches|Sort Method|Sort Key|Group Key|Planning|Output|Cache)\b")


@contextmanager
def database_of(folder: str) -> Iterator[None]:
    """Django set up on this data directory; once in a process."""
    os.environ |= {"EVERQUANT_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "everquant.settings", "LOG_LEVEL": "WARNING"}
    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    with settings.EMBEDDED:
        call_command("migrate", verbosity=0)
        yield


class Side:
    """One database, of which a process of its own asks."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(folder, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.count, self.names = self.get()

    def get(self, request: Any = None) -> Any:
        """What the process gives; raises EOFError when it has ended."""
        if request is not None:
            self._pipe.send(request)
        return self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(60)


def _serve(folder: str, pipe: Connection) -> None:
    with database_of(folder):
        from django.conf import settings

        from apps.executions.models import Execution

        settings.ALLOWED_HOSTS = ["testserver"]
        settings.RATELIMIT_ENABLE = False
        asked = dict(_all_questions())
        pipe.send((Execution.objects.count(), list(asked)))
        while (request := pipe.recv()) is not None:
            kind, name = request
            pipe.send(explained(asked[name]) if kind == "explain" else seconds(asked[name]) * 1000)
    pipe.close()


def _all_questions() -> Iterator[tuple[str, Ask]]:
    client = _signed_in()
    for name, path, parameters, days in QUESTIONS:
        yield name, _asking(client, f"/api/v1/analytics/{path}", {**parameters, "from": _back(days)})
    for name, filters in LISTS:
        given = {"per_page": PER_PAGE, **_named(filters)}
        yield f"{name}, first page", _asking(client, "/api/v1/executions", given)
        cursor = None
        for _ in range(LAST_PAGE - 1):
            answer = client.get("/api/v1/executions", {**given, **({"cursor": cursor} if cursor else {})}).json()
            cursor = answer["meta"]["next_cursor"]
            if cursor is None:
                break
        else:
            yield f"{name}, hundredth page", _asking(client, "/api/v1/executions", {**given, "cursor": cursor})


def _signed_in() -> Any:
    """As an admin of the organization, who is made."""
    from apps.organizations.models import Organization
    from apps.users.models import Membership, User
    from apps.users.permissions import Role
    from tests.conftest import client_for

    organization = Organization.objects.get(slug=ORGANIZATION)
    user = User.objects.filter(email=EMAIL).first() or User.objects.create_user(email=EMAIL, password=PASSWORD)
    return client_for(Membership.objects.get_or_create(organization=organization, user=user, role=Role.ADMIN)[0])


def _named(filters: dict[str, str]) -> dict[str, str]:
    """With the ids of those who were seeded in place of what they are called here."""
    from apps.models.models import LLMModel
    from apps.prompts.models import Prompt
    from apps.users.models import ApiKey, User

    prompt = Prompt.objects.get(organization__slug=ORGANIZATION, slug="seed/prompt-03")
    known = {
        "prompt": prompt.id,
        "version": prompt.current_version_id,
        "model": LLMModel.objects.get(organization__slug=ORGANIZATION, slug="seed/large").id,
        "user": User.objects.get(email=f"seed-2@{ORGANIZATION}.example").id,
        "rare_user": User.objects.get(email=f"seed-25@{ORGANIZATION}.example").id,
        "key": ApiKey.objects.filter(organization__slug=ORGANIZATION).order_by("id").first().id,
        "week": _back(WEEK),
    }
    return {name: str(known.get(value, value)) for name, value in filters.items()}


def _back(days: int) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) - (timedelta(days=days) or timedelta(hours=1))).isoformat()


def _asking(client: Any, path: str, given: dict[str, Any]) -> Ask:
    def ask() -> None:
        answer = client.get(path, given)
        if answer.status_code != 200:
            raise SystemExit(answer.content.decode())

    return ask


def explained(call: Ask) -> str:
    """EXPLAIN (ANALYZE, BUFFERS) of each statement of the call that reads executions or sums of them."""
    from django.db import connection

    statements: list[tuple[str, Any]] = []

    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "analytics_executionrollup" in sql or "analytics_scorerollup" in sql or "executions_execution" in sql:
            statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(keep):
        call()
    found = []
    with connection.cursor() as cursor:
        for sql, params in statements:
            begins = sql.index("SELECT")  # after the settings of its own
            cursor.execute(f"{sql[:begins]} EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {sql[begins:]}", params)
            while cursor.description is None:
                cursor.nextset()
            found.append("\n".join(_shortened([row[0] for row in cursor.fetchall()])))
    return "\n\n".join(found)


def _shortened(plan: list[str]) -> Iterator[str]:
    """Without the parts that were never run, what is the same in every plan, long values and deep indents."""
    skipped_from = None
    for line in plan:
        indent = len(line) - len(line.lstrip())
        if skipped_from is not None and indent > skipped_from:
            continue
        skipped_from = indent if line.endswith("(never executed)") else None
        if skipped_from is None and not _SAME_EVERYWHERE.match(line):
            short = re.sub(r"'[^']{25,}'(::\w+)?", "'…'", line.replace("executions_execution", "executions"))
            short = re.sub(r"actual time=[0-9.]+\.\.([0-9.]+) rows=([0-9]+)\.00 loops=", r"\1 ms rows=\2 loops=", short)
            yield " " * (indent // 3) + short.strip()[:200]


def seconds(call: Ask) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def ask(folders: list[str], plans: Path | None) -> None:
    sides = [Side(folder) for folder in folders]
    print("     " + ", ".join(f"{side.count:,}" for side in sides) + " executions; median and 95th percentile in ms")
    names = [name for name in sides[-1].names if all(name in side.names for side in sides)]
    for name in names:
        waits: list[list[float]] = [[] for _ in sides]
        for side in sides:
            side.get(("ask", name))  # warms up
        for _ in range(REPEATS):
            for side, found in zip(sides, waits, strict=True):
                found.append(side.get(("ask", name)))
        _show(name, waits)
    if plans is not None:
        plans.write_text("\n\n\n".join(f"{name}\n\n{sides[-1].get(('explain', name))}" for name in names) + "\n")
    for side in sides:
        side.close()


def _show(name: str, waits: list[list[float]]) -> None:
    medians = [statistics.median(found) for found in waits]
    p95s = [statistics.quantiles(found, n=20)[-1] for found in waits]
    most = MOST_PAGE_MS if name.endswith("page") else MOST_MS
    ratios = [median / medians[0] for median in medians]
    verdict = "ok  " if p95s[-1] <= most and ratios[-1] <= MOST_RATIO else "MISS"
    figures = "   ".join(f"{median:6.1f} {p95:6.1f}" for median, p95 in zip(medians, p95s, strict=True))
    print(f"{verdict} {name:<52} {figures}   ratio {ratios[-1]:.2f}", flush=True)


def ingest(folders: list[str]) -> None:
    """Executions per second by `CALLERS` connections, in turns; the ratio is of the time of one to the first folder."""
    for folder in folders:
        Side(folder).close()  # makes the admin
    with ExitStack() as running:
        sides = [running.enter_context(_serving(folder)) for folder in folders]
        rates: list[list[float]] = [[] for _ in sides]
        for turn in range(ROUNDS + 1):
            for execute, found in zip(sides, rates, strict=True):
                rate = _rate(execute)
                if turn:  # the first one warms up
                    found.append(rate)
    medians = [statistics.median(found) for found in rates]
    ratio = medians[0] / medians[-1]
    figures = ", ".join(f"{rate:.0f}/s" for rate in medians)
    print(f"{'ok  ' if ratio <= MOST_INGEST_RATIO else 'MISS'} executions over HTTP: {figures}   ratio {ratio:.2f}")


@contextmanager
def _serving(folder: str) -> Iterator[Callable[[], None]]:
    """Makes one execution over HTTP on a server of this folder."""
    port = free_port()
    env = {"EVERQUANT_DATA_DIR": folder, "PORT": str(port), "LOG_LEVEL": "WARNING"}
    with services(env), process(sys.executable, "manage.py", "web", "--port", str(port), **env) as web:
        wait_for(port, "/readyz")
        stack = Stack(port, 0, web.pid, 0, 0, env)
        token = stack.call("POST", "/auth/login", {"email": EMAIL, "password": PASSWORD})["access_token"]
        prompt = stack.call("GET", "/prompts/by-slug/seed/prompt-01", token=token)["id"]
        yield lambda: stack.call("POST", f"/prompts/{prompt}/execute", {"variables": {"question": "Why?"}}, token)


def _rate(execute: Callable[[], None]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as callers:
        for done in [callers.submit(execute) for _ in range(EXECUTES)]:
            done.result()
    return EXECUTES / (time.perf_counter() - started)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["ask", "ingest"])
    parser.add_argument("folders", nargs="+", help="data directories, the first of which is compared with")
    parser.add_argument("--plans", type=Path, help="where the plans in the last folder's database are written")
    given = parser.parse_args()
    folders = [str(Path(folder).resolve()) for folder in given.folders]
    if given.part == "ask":
        ask(folders, given.plans)
    else:
        ingest(folders)


if __name__ == "__main__":
    main()
