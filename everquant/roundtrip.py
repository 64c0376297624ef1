"""One command to Redis and its answer, without what the client does around each: that took three times as long.

The client's pool locks, counts and asks the socket whether it is open for every command, and a socket with a time limit
waits before each send and each read until it may: four system calls more, each of which gives up the interpreter's
lock. Here a connection is asked whether it is open after a pause only, and the system keeps the time limit.
"""

import os
import socket
import ssl
import struct
import time
from collections import defaultdict
from typing import Any

from hiredis import pack_command
from redis import ConnectionPool, Redis
from redis.exceptions import RedisError, ResponseError

TRUSTED_FOR_S = 0.25
# By the pool whose connections they are like, those that nobody uses, last used last, with when that was.
_free: defaultdict[ConnectionPool, list[tuple[Any, float]]] = defaultdict(list)
os.register_at_fork(after_in_child=_free.clear)


def ask(redis: Redis, *command: Any) -> Any:
    """The answer to a command. Raises RedisError and OSError.

    Nothing is sent again when a connection fails, as counters would count twice.
    """
    free = _free[redis.connection_pool]
    connection = _open_connection(free) or _connect(redis.connection_pool)
    is_answered = False
    try:
        connection.send_packed_command([pack_command(command)], check_health=False)
        answer = connection.read_response()
        is_answered = True
    except ResponseError:  # an answer as well
        is_answered = True
        raise
    finally:
        if is_answered and connection.is_connected:
            free.append((connection, time.monotonic()))
        else:  # an answer might still come, and would be taken for that of the next command
            connection.disconnect()
    return answer


def _open_connection(free: list[tuple[Any, float]]) -> Any:
    try:
        connection, used_at = free.pop()
    except IndexError:
        return None
    if time.monotonic() - used_at > TRUSTED_FOR_S and not _is_open(connection):
        connection.disconnect()
        return None
    return connection


def _is_open(connection: Any) -> bool:
    try:
        return not connection.can_read()  # there is nothing to read but the end
    except (RedisError, OSError):
        return False


def _connect(pool: ConnectionPool) -> Any:
    connection: Any = pool.connection_class(**pool.connection_kwargs)
    connection.connect()
    limit_s = connection.socket_timeout
    if limit_s and not isinstance(connection._sock, ssl.SSLSocket):
        limit = struct.pack("ll", int(limit_s), int(limit_s % 1 * 1_000_000))
        connection._sock.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection._sock.setsockopt(socket.SOL_SOCKET, option, limit)
    return connection
