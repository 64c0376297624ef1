"""`manage.py worker` as a process: jobs at once, transactions, draining, a database that goes away."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from procrastinate.contrib.django.models import ProcrastinateJob, ProcrastinateWorker

from everquant.management.commands.worker import Worker
from tests.databases import database_url
from tests.project.processes import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.django_db(transaction=True)

JOBS = "tests.project.jobs.tasks"
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a worker on the test's database; it has a sign of life in the database when this returns."""
    workers: list[subprocess.Popen[bytes]] = []

    def start_worker(*arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        before = ProcrastinateWorker.objects.count()
        workers.append(
            subprocess.Popen(
                [sys.executable, "manage.py", "worker", *arguments],
                cwd=CHECKOUT,
                env={
                    **os.environ,
                    "DJANGO_SETTINGS_MODULE": "tests.project.worker_settings",
                    "DATABASE_URL": database_url(),
                    "REDIS_URL": settings.REDIS_URL,
                    "PGAPPNAME": "worker under test",
                    **environment,
                },
            )
        )
        wait_until(lambda: ProcrastinateWorker.objects.count() > before, "the worker is registered")
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.kill()
        worker.wait(30)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


def jobs() -> "QuerySet[ProcrastinateJob]":
    """Ours, without the product's periodic ones."""
    return ProcrastinateJob.objects.filter(task_name__startswith=JOBS)


def enqueue(task_name: str, queue: str = "default", **arguments: Any) -> int:
    from procrastinate.contrib.django import app

    task = f"{JOBS}.{task_name}"
    return app.configure_task(task, allow_unknown=True, queue=queue).defer(**arguments)


def test_one_worker_does_many_at_once_outlives_its_connections_and_ends_in_spite_of_a_job_that_never_does(
    start: Start, tmp_path: Path
) -> None:
    """Four things of one process, whose start costs more than they do."""
    for number in range(40):
        enqueue("meet", folder=str(tmp_path), name=str(number))
    worker = start("--concurrency", "40", MEETING_SIZE="40", WORKER_DRAIN_S="0.1")
    check_all_run_at_once(tmp_path)
    check_jobs_of_jobs_share_their_transaction(tmp_path)
    check_cut_connections_are_made_anew(tmp_path)
    assert worker.poll() is None
    check_job_that_never_ends_does_not_keep_the_worker(worker, tmp_path)


def check_all_run_at_once(folder: Path) -> None:
    """More than asyncio's own number of threads, which is at most 32 and often 6."""
    wait_until(lambda: len(list(folder.iterdir())) == 40, "all jobs met")
    wait_until(lambda: not jobs().exists(), "jobs that succeeded are removed")


def check_jobs_of_jobs_share_their_transaction(folder: Path) -> None:
    failing = enqueue("enqueue_in_transaction", path=str(folder / "rolled-back"), fail=True)
    enqueue("enqueue_in_transaction", path=str(folder / "committed"), fail=False)
    wait_until((folder / "committed").exists, "the committed one ran")
    wait_until(lambda: jobs().filter(id=failing, status="failed").exists(), "the other one failed")
    wait_until(lambda: not jobs().exclude(id=failing).exists(), "nothing else is queued")
    assert not (folder / "rolled-back").exists()


def check_cut_connections_are_made_anew(folder: Path) -> None:
    enqueue("note", path=str(folder / "before"))
    wait_until((folder / "before").exists, "a job ran")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'worker under test'"
        )
        assert cursor.fetchone()[0] > 0
    enqueue("note", path=str(folder / "after"))
    wait_until((folder / "after").exists, "a job ran on new connections")


def check_job_that_never_ends_does_not_keep_the_worker(worker: "subprocess.Popen[bytes]", folder: Path) -> None:
    started = folder / "started"
    enqueue("wait_for", started=str(started), path=str(folder / "never"))
    wait_until(started.exists, "the job runs")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 1


def test_worker_of_named_queues_leaves_the_others_and_told_to_stop_finishes_its_job(
    start: Start, tmp_path: Path
) -> None:
    left = enqueue("note_elsewhere", queue="elsewhere", path=str(tmp_path / "elsewhere"))
    enqueue("note", path=str(tmp_path / "here"))
    worker = start("--queues", "default, other", "--concurrency", "1", WRITE_TIMEOUT="12")
    wait_until((tmp_path / "here").exists, "the named queue is worked on")
    assert (tmp_path / "here").read_text() == "12s"
    assert jobs().get(id=left).status == "todo"

    started, go = tmp_path / "started", tmp_path / "go"
    enqueue("wait_for", started=str(started), path=str(go))
    wait_until(started.exists, "the job runs")
    late = enqueue("note", path=str(tmp_path / "late"))
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.5)
    go.touch()
    assert worker.wait(30) == 0
    assert set(jobs().values_list("id", "status")) == {(left, "todo"), (late, "todo")}
    assert not ProcrastinateWorker.objects.exists()


def test_a_notification_that_was_forgotten_delays_a_job_by_a_second_at_most() -> None:
    """Procrastinate clears its event after it has asked for jobs, and would ask again after 5 s."""
    asked: dict[str, Any] = {}

    class App:
        async def run_worker_async(self, **options: Any) -> None:
            asked.update(options)

    async def run() -> None:
        await Worker(concurrency=1, queues=[])._run_jobs(cast("Any", App()))

    asyncio.run(run())
    assert asked["fetch_job_polling_interval"] <= 1


def test_worker_without_a_database_says_so(tmp_path: Path) -> None:
    url = f"postgresql://nobody@/nothing?host={quote(str(tmp_path))}"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": url}
    environment |= {"REDIS_URL": settings.REDIS_URL, "WRITE_TIMEOUT": "1"}
    done = subprocess.run(
        [sys.executable, "manage.py", "worker"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1
    assert "the worker cannot reach its database" in done.stderr
    assert "Traceback" not in done.stderr
