"""`manage.py worker`: runs background jobs. Tasks are synchronous and wait a lot, so each running job has a thread."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from procrastinate import App, exceptions
from procrastinate.connector import BaseConnector
from procrastinate.contrib.django import app as django_app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.psycopg_connector import PsycopgConnector

from everquant.postgresql.limits import limit_statements
from everquant.workers import STOPPING, end_drain, set_capacity

log = structlog.get_logger(__name__)

# Threads beyond those of the jobs, for what the event loop itself sends there (name lookups).
SPARE_THREADS = 4
# After the drain, what a job may take to notice that it is to abort before the process ends regardless.
ABORT_GRACE_S = 5.0
RECONNECT_MAX_S = 15.0
# Procrastinate forgets a notification that comes while it asks for jobs, as those do that a job enqueues at once: such
# a job is found by asking again, which would be 5 s later.
ASK_AGAIN_S = 1.0


class WorkerConnector(PsycopgConnector):
    """The worker's own queries run on its event loop; a job that a task enqueues joins the task's transaction."""

    def __init__(self, enqueue_through: BaseConnector, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._enqueue_through = enqueue_through

    def get_sync_connector(self) -> BaseConnector:
        return self._enqueue_through


class Command(BaseCommand):
    help = "Run background jobs until SIGTERM or Ctrl-C, then finish those that run (WORKER_DRAIN_S)."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--concurrency", type=int, default=settings.WORKER_CONCURRENCY, help="jobs at once (WORKER_CONCURRENCY)"
        )
        parser.add_argument("--queues", default="", help="comma-separated names; every queue when left out")

    def handle(self, *_args: Any, concurrency: int, queues: str, **_options: Any) -> None:
        if concurrency < 1:
            raise CommandError("--concurrency must be at least 1")
        set_capacity(concurrency)
        limit_statements(settings.WRITE_TIMEOUT)
        names = [name.strip() for name in queues.split(",") if name.strip()]
        asyncio.run(Worker(concurrency=concurrency, queues=names).run())


class Worker:
    """One worker process: starts procrastinate's worker again when the database went away, ends it on a signal."""

    def __init__(self, *, concurrency: int, queues: list[str]) -> None:
        self._concurrency = concurrency
        self._queues = queues or None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Returns when told to stop. A database that is away at the first start is an error; later it is waited for."""
        loop = asyncio.get_running_loop()
        # Its own default is cores + 4, which would quietly be the limit of jobs at once.
        loop.set_default_executor(ThreadPoolExecutor(self._concurrency + SPARE_THREADS, thread_name_prefix="job"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, loop)
        pause_s = 1.0
        has_run = False
        while not self._stopping.is_set():
            try:
                async with opened_app() as app:
                    has_run, pause_s = True, 1.0
                    await self._run_jobs(app)
            except (exceptions.ConnectorException, psycopg.Error) as error:
                if not has_run:
                    raise CommandError(f"the worker cannot reach its database: {error.__cause__ or error}") from error
                log.warning("worker.database_away", error=str(error.__cause__ or error), retry_in_s=pause_s)
            if not self._stopping.is_set():
                await _first_of(self._stopping.wait(), asyncio.sleep(pause_s))
                pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    async def _run_jobs(self, app: App) -> None:
        """Ends when told to stop (jobs are drained) or when the worker has lost its database."""
        options: dict[str, Any] = {"queues": self._queues} if self._queues else {}
        log.info("worker.started", concurrency=self._concurrency, queues=self._queues or "all")
        jobs = asyncio.create_task(
            app.run_worker_async(
                concurrency=self._concurrency,
                shutdown_graceful_timeout=settings.WORKER_DRAIN_S,
                install_signal_handlers=False,
                fetch_job_polling_interval=ASK_AGAIN_S,
                delete_jobs="successful",
                **options,
            )
        )
        await _first_of(jobs, self._stopping.wait())
        if not jobs.done():
            jobs.cancel()  # procrastinate takes it as the request to drain
        outcome = (await asyncio.gather(jobs, return_exceptions=True))[0]
        if isinstance(outcome, Exception):
            raise outcome
        log.info("worker.stopped")

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._stopping.is_set():
            os._exit(1)
        self._stopping.set()
        STOPPING.set()
        loop.call_later(settings.WORKER_DRAIN_S, end_drain)
        # Threads cannot be cancelled: a job that ignores its abort must not keep the process.
        loop.call_later(settings.WORKER_DRAIN_S + ABORT_GRACE_S, os._exit, 1)


@asynccontextmanager
async def opened_app() -> AsyncIterator[App]:
    """procrastinate's Django app with a connector that can listen, for the time of the block."""
    parameters = connector_params()
    # The pool would try for half a minute, and not say why.
    await (await psycopg.AsyncConnection.connect(**parameters)).close()
    connector = WorkerConnector(django_app.connector, kwargs=parameters)
    with django_app.replace_connector(connector) as app:
        await connector.open_async()
        try:
            yield app
        finally:
            await connector.close_async()


async def _first_of(*waits: Any) -> None:
    """Wait for one; what is not a task of the caller's own is cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task, wait in zip(tasks, waits, strict=True):
        if task is not wait:
            task.cancel()
