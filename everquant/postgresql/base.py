import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg import _queries
from psycopg_pool import ConnectionPool
from psycopg_pool.base import AttemptWithBackoff

BELIEVED_S = 0.25
# A database that is back is noticed within a second, however long it was away: the pool would double its pauses.
AttemptWithBackoff.DELAY_BACKOFF = 1.0
# psycopg parses the text of a statement anew when it has over 50, for 0.1 ms; a call with its node and key has over 60.
_queries.MAX_CACHED_STATEMENT_PARAMS = 100
_arranging = threading.Lock()


class LastUsedFirst(deque[Any]):
    """The idle connections of a pool: what came back last goes out first.

    A server process needs a third more of the processor for the same statement when others have run since its last one.
    In the pool's own order all connections take turns, however few of them are needed at a time.
    """

    append = deque.appendleft


class DatabaseWrapper(base.DatabaseWrapper):
    @property
    def pool(self) -> Any:
        """The pool of this database; its check of a connection empties it of others as broken as that one."""
        pool = super().pool
        if pool is not None and pool._check is ConnectionPool.check_connection:
            with _arranging:
                if pool._check is ConnectionPool.check_connection:
                    pool._pool = LastUsedFirst()
                    pool._check = check_or_drain
        return pool

    @contextmanager
    def prepared_cursor(self) -> Iterator[Any]:
        """A cursor whose statements the server parses once and plans once for each connection, for all parameters.

        For what is sent with every call: planning it takes as long as doing it. One statement at a time. Where this
        thread has no connection one is taken from the pool for the block alone, without Django's preparations of it,
        and each statement is a transaction.
        """
        pool = self.pool
        if self.connection is not None or self.queries_logged or self.execute_wrappers or pool is None:
            self.ensure_connection()
            with self.wrap_database_errors:
                self.connection.prepare_threshold = 0
                cursor = self._prepare_cursor(base.ServerBindingCursor(self.connection))  # type: ignore[attr-defined,call-arg] # the stubs know neither
            with cursor:
                yield cursor
            return
        with self.wrap_database_errors:
            pool.open()
            connection = pool.getconn()
            try:
                connection.prepare_threshold = 0
                with base.ServerBindingCursor(connection) as cursor:  # type: ignore[attr-defined,call-arg] # as above
                    yield cursor
                connection.checked_at = time.monotonic()
            finally:
                pool.putconn(connection)


def check_or_drain(connection: "psycopg.Connection[Any]") -> None:
    """Raises what the check raises.

    A connection that was good a moment ago is believed, as no restart is that quick: the check is a round trip, of
    which a short request has only one or two of its own.

    When the server was restarted, every idle connection is broken. The pool tries them one by one with pauses of 0,
    1, 2, 4, 8 and 15 seconds between: the next request would wait for half a minute. So all of them go at the first.
    """
    now = time.monotonic()
    if now - getattr(connection, "checked_at", 0.0) < BELIEVED_S:
        return
    try:
        ConnectionPool.check_connection(connection)
        connection.checked_at = now  # type: ignore[attr-defined] # ours, on the pool's connection
    except psycopg.OperationalError:
        pool = getattr(connection, "_pool", None)
        if pool is not None:
            pool.drain()
        raise
