"""Connections that keep a deadline and connect only to checked addresses.

Every read and write of a socket is given what remains of the call's deadline, so that a server that sends a byte now
and then gains nothing by it. Redirects are not followed, proxies of the environment are not used, nothing is retried.
"""

import http.client
import importlib.util
import re
import select
import ssl
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import cache
from socket import socket
from typing import Any, cast

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import IncompleteRead, SSLError
from urllib3.exceptions import TimeoutError as TransportTimeoutError

from everquant.network.address import DEFAULT_PORTS, open_socket

POOL_CONNECTIONS_PER_HOST = 1024
POOL_HOSTS = 256
_TARGET = re.compile(r"[!-~]+")
_HEADER = re.compile(r"[^:\s][^:\r\n]*: [^\r\n]*")
_FOLD = re.compile(r"\r?\n[ \t]*")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


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


class Pool:
    """The connections to one host that no call uses, last used last; a call without one opens its own."""

    def __init__(
        self, scheme: str, host: str, port: int | None, *, allow_private: bool, context: ssl.SSLContext
    ) -> None:
        self._host, self._port = host.strip("[]"), port or DEFAULT_PORTS[scheme]
        self._allow_private = allow_private
        self._context = context if scheme == "https" else None
        self._free: list[_DeadlineSocket] = []
        weakref.finalize(self, _close, self._free)
        name = host.rstrip(".")
        self.authority = name if port in {None, DEFAULT_PORTS[scheme]} else f"{name}:{port}"

    def take(self, deadline: Deadline) -> _DeadlineSocket:
        """Raises BlockedAddressError, OSError."""
        connection = self._kept() or self._opened(deadline)
        connection.deadline = deadline
        return connection

    def _kept(self) -> _DeadlineSocket | None:
        with suppress(IndexError):  # none is left, or another thread was quicker
            while _has_news(connection := self._free.pop()):
                connection.close()
            return connection
        return None

    def _opened(self, deadline: Deadline) -> _DeadlineSocket:
        deadline.is_connecting = True
        connection = open_socket(
            self._host,
            self._port,
            allow_private=self._allow_private,
            connect_by=deadline.connect_by,
            socket_class=_DeadlineSocket,
        )
        if self._context is not None:
            try:
                connection = self._context.wrap_socket(connection, server_hostname=self._host.rstrip("."))
            except BaseException:
                connection.close()
                raise
        deadline.is_connecting = False
        return cast("_DeadlineSocket", connection)

    def _put_conn(self, connection: _DeadlineSocket) -> None:
        """Called by urllib3's answers when they were read to their end, and when they were given up and are closed."""
        if connection.fileno() < 0:
            return
        connection.deadline = None
        if len(self._free) < POOL_CONNECTIONS_PER_HOST:
            self._free.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        _close(self._free)


def _close(connections: list[_DeadlineSocket]) -> None:
    with suppress(IndexError):
        while True:
            connections.pop().close()


def _has_news(connection: socket) -> bool:
    """A connection that nobody uses can only be told of its end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class _Pools:
    """Those of the hosts that were called last: connections to the one called longest ago are closed for a new one."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._context = _tls_context()
        self._pools: OrderedDict[tuple[str, str, int | None], Pool] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, scheme: str, host: str, port: int | None) -> Pool:
        key = (scheme, host, port)
        with self._lock:
            pool = self._pools.pop(key, None) or Pool(*key, allow_private=self._allow_private, context=self._context)
            self._pools[key] = pool
            oldest = self._pools.popitem(last=False)[1] if len(self._pools) > POOL_HOSTS else None
        if oldest is not None:
            oldest.close()
        return pool


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if importlib.util.find_spec("certifi"):
        import certifi  # noqa: PLC0415 - the system's certificates alone will do where it is not installed

        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = _DeadlineTLSSocket
    return context


_MAKING = threading.Lock()


@cache
def _pools(allow_private: bool, purpose: str) -> _Pools:
    """Connections opened with the guard and those opened without it are never mixed; each purpose has its own."""
    return _Pools(allow_private=allow_private)


def pool_for(
    *, scheme: str | None, host: str | None, port: int | None, allow_private: bool, purpose: str = "providers"
) -> Pool:
    """Shared by all threads."""
    # A cache alone lets all threads that come first make one each, of which a TLS context is 30 ms of work.
    with _MAKING:
        pools = _pools(allow_private, purpose)
    return pools.of(str(scheme), str(host), port)


def post(pool: Pool, path: str, *, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> BaseHTTPResponse:
    """As `send`."""
    return send(pool, "POST", path, body=body, headers=headers, deadline=deadline)


def send(
    pool: Pool,
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
    message = _message(method, path, pool.authority, headers, body)
    try:
        connection = pool.take(deadline)
        try:
            # A server may have answered, and closed the connection, before it has read everything.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(message)
            return _answer(method, connection, pool)
        except BaseException:
            connection.close()
            raise
    except ssl.SSLError as error:
        raise SSLError(error) from error


def _message(method: str, path: str, authority: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Head and body in one: two writes would be two packets, and two wake-ups of the server."""
    if not _TARGET.fullmatch(path):
        raise ValueError("The URL cannot be sent.")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}", "Accept-Encoding: identity"]
    if body is not None or method in _WITH_BODY:
        lines.append(f"Content-Length: {len(body or b'')}")
    for name, value in headers.items():
        line = f"{name}: {value}"
        if not _HEADER.fullmatch(line):
            raise ValueError("A header cannot be sent.")
        lines.append(line)
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def _answer(method: str, connection: _DeadlineSocket, pool: Pool) -> BaseHTTPResponse:
    head = http.client.HTTPResponse(connection, method=method)
    try:
        head.begin()
    except BaseException:
        head.close()
        raise
    return HTTPResponse(
        head,
        HTTPHeaderDict((name, _FOLD.sub(" ", value)) for name, value in head.headers.items()),
        head.status,
        preload_content=False,
        original_response=head,
        pool=None if head.will_close else cast("Any", pool),
        connection=cast("Any", connection),
        request_method=method,
    )


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
