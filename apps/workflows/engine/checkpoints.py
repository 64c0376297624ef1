"""LangGraph's checkpoints of runs, in PostgreSQL: the states of a run's nodes between two walks.

They are written when a walk ends that another one goes on from. What happens in between is recorded node by node (see
steps.py), and that is what a walk after a crash goes by; see docs/decisions.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from procrastinate.contrib.django.utils import connector_params
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from apps.workflows.engine.steps import LeaseLost
from apps.workflows.models import RunStatus, WorkflowRun

MOST_CONNECTIONS = 4
_OURS = (
    "UPDATE workflows_workflowrun SET has_checkpoints = true WHERE id = %s AND fence = %s AND status = %s RETURNING id"
)
_lock = threading.Lock()
_pools: list[ConnectionPool[Any]] = []


class RunSaver(PostgresSaver):
    """One run's: LangGraph's saver holds a lock, which runs must not share. Only who has the run's lease writes.

    What LangGraph puts is kept here until it is to be stored: of a run that has ended nobody reads it.
    """

    def __init__(self, run: WorkflowRun) -> None:
        # Plain JSON only: nothing in a checkpoint can name a class to be made.
        serializer = JsonPlusSerializer(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)
        super().__init__(_pool(), serde=serializer)
        self._run = run
        self._kept: list[Callable[[], Any]] = []

    def get_tuple(self, config: Any) -> Any:
        return super().get_tuple(config) if self._run.has_checkpoints else None

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        self._kept.append(partial(super().put, config, checkpoint, metadata, new_versions))
        return config

    def put_writes(self, *of_task: Any, **named: Any) -> None:
        self._kept.append(partial(super().put_writes, *of_task, **named))

    def store(self) -> None:
        """What was kept, once the walk is over; a second time changes nothing. Raises LeaseLost, OperationalError."""
        for write in self._kept:
            write()

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Any]:
        with (
            _as_djangos(),
            self.lock,
            _pool().connection() as held,
            held.transaction(),
            held.cursor(binary=True) as cursor,
        ):
            if pipeline:
                cursor.execute(_OURS, [self._run.id, self._run.fence, RunStatus.RUNNING])
                if cursor.fetchone() is None:
                    raise LeaseLost
            yield cursor


@contextmanager
def _as_djangos() -> Iterator[None]:
    """A database that is away is told of as everywhere else (see DATABASE_AWAY): it is no fault of the run."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise OperationalError(str(error)) from error


def _pool() -> ConnectionPool[Any]:
    with _lock:
        if not _pools:
            options = {**connector_params(), "autocommit": True, "row_factory": dict_row, "prepare_threshold": None}
            pool: ConnectionPool[Any] = ConnectionPool(
                kwargs=options,
                min_size=0,
                max_size=MOST_CONNECTIONS,
                max_idle=30.0,
                open=True,
                check=ConnectionPool.check_connection,
                name="checkpoints",
            )
            _pools.append(pool)
        return _pools[0]


def close_pool() -> None:
    """For tests: the next saver opens another one."""
    with _lock:
        while _pools:
            _pools.pop().close()


def purge() -> int:
    """Delete the checkpoints of runs that ended some time ago; gives of how many."""
    ended_before = timezone.now() - timedelta(seconds=settings.WORKFLOW_CHECKPOINTS_KEPT_S)
    old = WorkflowRun.objects.filter(has_checkpoints=True, finished_at__lt=ended_before)
    ids = list(old.values_list("id", flat=True)[:1000])
    threads = [str(run_id) for run_id in ids]
    with connection.cursor() as cursor:
        for table in ("checkpoint_writes", "checkpoint_blobs", "checkpoints"):
            cursor.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)", [threads])  # noqa: S608 (names above)
    WorkflowRun.objects.filter(id__in=ids).update(has_checkpoints=False)
    return len(ids)
