"""What this process runs: its leases are renewed while it lives, and a wish to cancel reaches the call.

One daemon thread does both for all executions of the process, and exists only while something runs. A lease says that
the process lives, not how long the call may take: when it is over, the sweeper ends the execution.

A wish to cancel is a column of the execution. So that nobody has to read it all the time, whoever writes it also
changes one value in Redis, which the thread looks at every CANCEL_POLL_S. Without Redis it is seen at the next
renewal.
"""

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone
from psycopg_pool import PoolTimeout

from apps.models.providers.cancellation import Cancellation
from everquant.cache import RedisAway, with_redis
from everquant.db import release_connection

logger = structlog.get_logger(__name__)

CANCEL_POLL_S = 0.5
# How often a changed value is followed by a look at the rows: an execution may be announced here just after one.
_LOOKS_AFTER_CHANGE = 4
_IDLE_S = 30.0
_NEWS = "eq:executions:cancelled"
_NEWS_KEPT_S = 3600
_RENEW = (
    "UPDATE executions_execution SET lease_expires_at = %s WHERE id = ANY(%s) AND status = 'running' "
    "RETURNING id, cancel_requested_at IS NOT NULL"
)
_LOOK = "SELECT id FROM executions_execution WHERE id = ANY(%s) AND cancel_requested_at IS NOT NULL"


def lease_end() -> datetime:
    """Until when a process that gives a sign of life now may be silent."""
    return timezone.now() + timedelta(seconds=settings.LEASE_S)


def announce_cancellation() -> None:
    """Have every process look for wishes to cancel, once the running transaction has committed."""
    transaction.on_commit(_send_news)


def _send_news() -> None:
    try:
        with_redis(lambda redis: redis.set(_NEWS, secrets.token_hex(8), ex=_NEWS_KEPT_S))
    except RedisAway:
        logger.warning("cancellation_delayed", at_most_s=settings.LEASE_RENEW_S)


class Leases:
    """The executions that this process runs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[UUID, Cancellation] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, execution_id: UUID, cancellation: Cancellation) -> Iterator[None]:
        """While its call is made."""
        with self._changed:
            self._held[execution_id] = cancellation
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="leases", daemon=True)
                self._thread.start()
            elif len(self._held) == 1:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._held.pop(execution_id, None)

    @property
    def count(self) -> int:
        return len(self._held)

    def interrupt_all(self) -> None:
        """Stop every call of the process, which is about to end: what has come is recorded as interrupted."""
        for cancellation in list(self._held.values()):
            cancellation.request(is_interruption=True)

    def _watch(self) -> None:
        watcher = _Watcher()
        while True:
            with self._changed:
                if not self._held and not self._changed.wait_for(lambda: self._held, _IDLE_S):
                    self._thread = None
                    return
                held = dict(self._held)
            watcher.look_after(held)
            time.sleep(CANCEL_POLL_S)


class _Watcher:
    """What the thread remembers between two looks."""

    def __init__(self) -> None:
        self._news: bytes | None = None
        self._looks_left = 0
        self._renewed_at = time.monotonic()

    def look_after(self, held: dict[UUID, Cancellation]) -> None:
        try:
            for execution_id in self._cancelled(list(held)):
                held[execution_id].request()
        except (DatabaseError, InterfaceError, PoolTimeout) as error:
            logger.warning("leases_not_renewed", error=str(error))
        except Exception:
            logger.exception("leases_failed")
        finally:
            release_connection()

    def _cancelled(self, ids: list[UUID]) -> list[UUID]:
        if time.monotonic() >= self._renewed_at + settings.LEASE_RENEW_S:
            with connection.cursor() as cursor:
                cursor.execute(_RENEW, [lease_end(), ids])
                found = [row[0] for row in cursor.fetchall() if row[1]]
            self._renewed_at = time.monotonic()
            return found
        if not self._has_news():
            return []
        with connection.cursor() as cursor:
            cursor.execute(_LOOK, [ids])
            return [row[0] for row in cursor.fetchall()]

    def _has_news(self) -> bool:
        try:
            news = with_redis(lambda redis: redis.get(_NEWS))
        except RedisAway:
            return False
        if news is not None and news != self._news:
            self._news, self._looks_left = news, _LOOKS_AFTER_CHANGE
        self._looks_left -= 1
        return self._looks_left >= 0


LEASES = Leases()
