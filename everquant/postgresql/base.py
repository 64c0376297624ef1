from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    @property
    def pool(self) -> Any:
        """The pool of this database; its check of a connection empties it of others as broken as that one."""
        pool = super().pool
        if pool is not None and pool._check is ConnectionPool.check_connection:
            pool._check = check_or_drain
        return pool


def check_or_drain(connection: "psycopg.Connection[Any]") -> None:
    """Raises what the check raises.

    When the server was restarted, every idle connection is broken. The pool tries them one by one with pauses of 0,
    1, 2, 4, 8 and 15 seconds between: the next request would wait for half a minute. So all of them go at the first.
    """
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.OperationalError:
        pool = getattr(connection, "_pool", None)
        if pool is not None:
            pool.drain()
        raise
