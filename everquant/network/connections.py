"""Connections that keep a deadline and connect only to checked addresses.

Every read and write of a socket is given what remains of the call's deadline, so that a server that sends a byte now
and then gains nothing by it. Redirects are not followed, proxies of the environment are not used, nothing is retried.
"""

import importlib.util
import ssl
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from socket import socket
from typing import Any

from urllib3 import BaseHTTPResponse, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import IncompleteRead
from urllib3.exceptions import TimeoutError as TransportTimeoutError
from urllib3.util import Timeout

from everquant.network.address import open_socket

POOL_CONNECTIONS_PER_HOST = 1024
POOL_HOSTS = 256


class Deadline:
    """When a call has to be connected and when it has to end. Instants are monotonic.

    `expired` tells that the call was cut, `is_connecting` that it had no connection by then.
    """

    __slots__ = ("at", "connect_by", "expired", "is_connecting", "started_at")

    def __init__(self, *, total_s: float, connect_s: float) -> None:
        self.started_at = time.monotonic()
        self.at = self.started_at + total_s
        self.connect_by = min(self.started_at + connect_s, self.at)
        self.expired = self.is_connecting = False

    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self.started_at) * 1000)

    def apply_to(self, connection: socket) -> None:
        remaining = self.at - time.monotonic()
        if remaining <= 0:
            self.expired = True
            raise TimeoutError
        connection.settimeout(remaining)


class _DeadlineSocket(socket):
    deadline: Deadline | None = None

    def _limit(self) -> None:
        if self.deadline is not None:
            self.deadline.apply_to(self)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._limit()
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._limit()
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._limit()
        return super().sendall(*args, **kwargs)


class _DeadlineTLSSocket(_DeadlineSocket, ssl.SSLSocket):
    pass


_call = threading.local()


class _DeadlineConnection(HTTPConnection):
    """Belongs to one call at a time, whose deadline the thread that sends the request hands over."""

    allow_private = False
    _outgoing: list[bytes] | None = None

    def _new_conn(self) -> socket:
        deadline: Deadline = _call.deadline
        return open_socket(
            self._dns_host.strip("[]"),
            self.port,
            allow_private=self.allow_private,
            connect_by=deadline.connect_by,
            socket_class=_DeadlineSocket,
        )

    def connect(self) -> None:
        deadline: Deadline = _call.deadline
        deadline.is_connecting = True
        super().connect()
        deadline.is_connecting = False
        self._take_deadline()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Headers and body leave in one write: two would be two packets, and two wake-ups of the server."""
        self._take_deadline()
        self._outgoing = []
        try:
            super().request(*args, **kwargs)
        finally:
            outgoing, self._outgoing = self._outgoing, None
        super().send(b"".join(outgoing))

    def send(self, data: Any) -> None:
        if self._outgoing is None:
            super().send(data)
        else:
            self._outgoing.append(data)

    def _take_deadline(self) -> None:
        if isinstance(self.sock, _DeadlineSocket):
            self.sock.deadline = _call.deadline


class _DeadlineTLSConnection(_DeadlineConnection, HTTPSConnection):
    pass


class _PrivateConnection(_DeadlineConnection):
    allow_private = True


class _PrivateTLSConnection(_DeadlineTLSConnection):
    allow_private = True


class _Pool(HTTPConnectionPool):
    ConnectionCls = _DeadlineConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _DeadlineTLSConnection


class _PrivatePool(HTTPConnectionPool):
    ConnectionCls = _PrivateConnection


class _PrivateTLSPool(HTTPSConnectionPool):
    ConnectionCls = _PrivateTLSConnection


_MAKING = threading.Lock()


@cache
def _pools(allow_private: bool, purpose: str) -> PoolManager:
    """Connections opened with the guard and those opened without it are never mixed.

    Each purpose has pools of its own, as those of the hosts that were called longest ago are closed.
    """
    context = ssl.create_default_context()
    if importlib.util.find_spec("certifi"):
        import certifi  # noqa: PLC0415 - the system's certificates alone will do where it is not installed

        context.load_verify_locations(certifi.where())
    context.sslsocket_class = _DeadlineTLSSocket
    manager = PoolManager(num_pools=POOL_HOSTS, maxsize=POOL_CONNECTIONS_PER_HOST, ssl_context=context)
    manager.pool_classes_by_scheme = (
        {"http": _PrivatePool, "https": _PrivateTLSPool} if allow_private else {"http": _Pool, "https": _TLSPool}
    )
    return manager


def pool_for(
    *, scheme: str | None, host: str | None, port: int | None, allow_private: bool, purpose: str = "providers"
) -> HTTPConnectionPool:
    """Shared by all threads. Its requests go through `send`, which hands over the deadline."""
    # A cache alone lets all threads that come first make one each, of which a TLS context is 30 ms of work.
    with _MAKING:
        pools = _pools(allow_private, purpose)
    return pools.connection_from_host(host, port, scheme)


def post(
    pool: HTTPConnectionPool, path: str, *, body: bytes, headers: Mapping[str, str], deadline: Deadline
) -> BaseHTTPResponse:
    """As `send`."""
    return send(pool, "POST", path, body=body, headers=headers, deadline=deadline)


def send(
    pool: HTTPConnectionPool,
    method: str,
    path: str,
    *,
    body: bytes | None,
    headers: Mapping[str, str],
    deadline: Deadline,
) -> BaseHTTPResponse:
    """The answer, of which no more than the head is read yet; it has to be given back.

    Raises BlockedAddressError, urllib3's HTTPError, OSError, HTTPException, and ValueError for unusable headers.
    """
    _call.deadline = deadline
    try:
        return pool.urlopen(
            method,
            path,
            body=body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=Timeout(None),
            preload_content=False,
        )
    finally:
        _call.deadline = None


def read_limited(response: BaseHTTPResponse, limit: int) -> bytes | None:
    """None when there is more than `limit` bytes."""
    body = response.read(limit + 1, decode_content="content-encoding" in response.headers)
    if len(body) > limit:
        return None
    if response.length_remaining:
        raise IncompleteRead(len(body), response.length_remaining)
    return body


def give_back(response: BaseHTTPResponse) -> None:
    """A connection whose answer was read to its end is in its pool already; any other is closed."""
    response.close()
    response.release_conn()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number of seconds or an HTTP date."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.replace(".", "", 1).isdecimal():
        return float(value[:12])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError | TransportTimeoutError) or any(
        isinstance(cause, TimeoutError) for cause in error.args
    )
