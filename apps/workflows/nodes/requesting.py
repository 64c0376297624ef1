"""One HTTP request on behalf of a node: guarded addresses, one deadline for all of it, a limit on the answer."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from socket import socket

from django.conf import settings
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError, HTTPError, SSLError
from urllib3.util import Url

from apps.models.providers.cancellation import Cancellation
from apps.workflows.nodes.base import NodeFailure
from everquant.network import connections
from everquant.network.address import BlockedAddressError
from everquant.network.connections import give_back, is_timeout, pool_for, read_limited, send

CONNECT_TIMEOUT_S = 10.0
_NO_ANSWER = (HTTPError, OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _Deadline(connections.Deadline):
    """Ends the call also when it is cancelled."""

    __slots__ = ("cancellation",)

    def __init__(self, *, total_s: float, cancellation: Cancellation) -> None:
        super().__init__(total_s=total_s, connect_s=CONNECT_TIMEOUT_S)
        self.cancellation = cancellation

    def apply_to(self, connection: socket) -> None:
        if not self.cancellation.hold(connection):
            raise TimeoutError
        super().apply_to(connection)


def request(wanted: Request, *, total_s: float, cancellation: Cancellation) -> Answer:
    """The answer, whatever its status; redirects are not followed. Raises NodeFailure."""
    deadline = _Deadline(total_s=total_s, cancellation=cancellation)
    try:
        response = _sent(wanted, deadline)
        try:
            body = read_limited(response, wanted.max_bytes)
        finally:
            give_back(response)
    except BlockedAddressError:
        raise NodeFailure("BLOCKED_ADDRESS", "The host is not on the public internet.") from None
    except _NO_ANSWER as error:
        raise _failure(error, deadline) from None
    except ValueError:
        raise NodeFailure("INVALID_CONFIG", "headers: A header cannot be sent.") from None
    if body is None:
        raise NodeFailure("TOO_LARGE", f"The answer is longer than {wanted.max_bytes} bytes.")
    return Answer(response.status, response.headers, body)


def _sent(wanted: Request, deadline: _Deadline) -> BaseHTTPResponse:
    pool = pool_for(
        scheme=wanted.url.scheme,
        host=wanted.url.host,
        port=wanted.url.port,
        allow_private=settings.ALLOW_PRIVATE_WORKFLOW_URLS,
        purpose="workflows",
    )
    return send(
        pool, wanted.method, wanted.url.request_uri, body=wanted.body, headers=wanted.headers, deadline=deadline
    )


def _failure(error: Exception, deadline: _Deadline) -> NodeFailure:
    """In our own words: the error's may hold the address that a name led to."""
    cancellation = deadline.cancellation
    if cancellation.is_requested:
        code = "INTERRUPTED" if cancellation.is_interruption else "CANCELLED"
        return NodeFailure(code, "The request was stopped.", is_retryable=cancellation.is_interruption)
    if deadline.expired or is_timeout(error):
        code, what = ("TIMEOUT_CONNECT", "accept a connection") if deadline.is_connecting else ("TIMEOUT", "answer")
        return NodeFailure(code, f"The server did not {what} in time.", is_retryable=True)
    if isinstance(error, DecodeError):
        return NodeFailure("INVALID_RESPONSE", "The answer cannot be decoded.")
    if isinstance(error, SSLError | ssl.SSLCertVerificationError):
        return NodeFailure("CONNECTION", "No trusted TLS connection to the server.")
    return NodeFailure("CONNECTION", "The connection to the server failed.", is_retryable=True)
