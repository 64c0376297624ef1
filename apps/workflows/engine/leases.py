"""While this process has runs: their leases are renewed, wishes to cancel and the end of their time are heeded.

One daemon thread does it for all of them, and stores what comes of streamed answers. A run whose lease could not be
renewed in time is given up here before another worker may take it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog
from django.conf import settings
from django.db import connection

from apps.executions.orchestrator.leases import lease_end
from apps.workflows.engine import events
from apps.workflows.engine.walk import WALKS, Halt, Walk
from everquant.db import DATABASE_AWAY, release_connection
from everquant.workers import STOPPING

logger = structlog.get_logger(__name__)

TICK_S = 0.2
LOOK_S = 1.0
YOUNG_S = 0.25
_IDLE_S = 30.0
_RENEW = (
    "UPDATE workflows_workflowrun r SET lease_expires_at = %s FROM unnest(%s::uuid[], %s::integer[]) "
    "AS held(id, fence) WHERE r.id = held.id AND r.fence = held.fence AND r.status = 'running' RETURNING r.id"
)
_LOOK = "SELECT id FROM workflows_workflowrun WHERE id = ANY(%s) AND cancel_requested_at IS NOT NULL"


class _Keeper:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._renewed_at = self._looked_at = 0.0

    def begin(self) -> None:
        with self._changed:
            if self._thread is None:
                self._renewed_at = time.monotonic()
                self._thread = threading.Thread(target=self._keep, name="workflow-leases", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _keep(self) -> None:
        while True:
            with self._changed:
                if not WALKS.all() and not self._changed.wait_for(WALKS.all, _IDLE_S):
                    self._thread = None
                    return
            walks = WALKS.all()
            self._heed_time(walks)
            try:
                self._write(walks)
            except DATABASE_AWAY as error:
                logger.warning("workflow_leases_not_renewed", error=str(error))
            except Exception:
                logger.exception("workflow_leases_failed")
            finally:
                release_connection()
            time.sleep(TICK_S)

    def _heed_time(self, walks: list[Walk]) -> None:
        now = time.monotonic()
        is_late = now > self._renewed_at + settings.LEASE_S
        for walk in walks:
            if is_late and now > walk.started + settings.LEASE_S:
                walk.halt(Halt.LOST)
            elif now > walk.deadline:
                walk.halt(Halt.TIMED_OUT)
            elif STOPPING.is_set():
                walk.halt(Halt.DRAINING, with_calls=False)

    def _write(self, walks: list[Walk]) -> None:
        _store_deltas(walks)
        now = time.monotonic()
        if now >= self._renewed_at + settings.LEASE_RENEW_S:
            self._renew(walks)
        if now >= self._looked_at + LOOK_S:
            self._looked_at = now
            with connection.cursor() as cursor:
                cursor.execute(_LOOK, [[walk.run.id for walk in walks]])
                cancelled = {row[0] for row in cursor.fetchall()}
            for walk in walks:
                if walk.run.id in cancelled:
                    walk.halt(Halt.CANCELLED)

    def _renew(self, walks: list[Walk]) -> None:
        begun = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(_RENEW, [lease_end(), [w.run.id for w in walks], [w.run.fence for w in walks]])
            renewed = {row[0] for row in cursor.fetchall()}
        self._renewed_at = begun
        open_now = set(WALKS.all())
        for walk in walks:
            if walk.run.id not in renewed and walk in open_now:
                walk.halt(Halt.LOST)


def _store_deltas(walks: list[Walk]) -> None:
    with ExitStack() as storing:
        told = []
        for walk in walks:
            with ExitStack() as taking:
                taking.enter_context(walk.storing)
                if own := walk.take_deltas(older_than_s=YOUNG_S):
                    told.append((walk, own))
                    storing.push(taking.pop_all())
        try:
            events.append_to_many([(walk.run, own) for walk, own in told])
        except DATABASE_AWAY:
            for walk, own in told:
                walk.put_back(own)
            raise


_KEEPER = _Keeper()


@contextmanager
def held(walk: Walk) -> Iterator[None]:
    """While this process works at the run."""
    WALKS.add(walk)
    _KEEPER.begin()
    try:
        yield
    finally:
        WALKS.remove(walk)
