"""One POST to an endpoint, over the project's guarded connections: what came of it, never an exception."""

import contextlib
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, SSLError

from everquant.network.address import BlockedAddressError, parse_base_url, validate_base_url
from everquant.network.connections import Deadline, give_back, is_timeout, pool_for, post

CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 64 * 1024
EXCERPT_BYTES = 1024
_SUCCESS, _REDIRECTS = range(200, 300), range(300, 400)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` is the HTTP status, None without an answer; `error` is empty where the event was taken."""

    status: int | None
    latency_ms: int
    excerpt: str = ""
    error: str = ""

    @property
    def is_taken(self) -> bool:
        return not self.error


def check_url(url: str) -> None:
    """For the moment of saving, outside of a transaction as it may look a name up. Raises ValueError."""
    _check_scheme(url)
    validate_base_url(url, settings.ALLOW_PRIVATE_WEBHOOK_URLS, with_query=True)


def check_form(url: str) -> None:
    """The part of `check_url` that asks no network. Raises ValueError."""
    _check_scheme(url)
    parse_base_url(url, with_query=True)


def _check_scheme(url: str) -> None:
    is_free = settings.ALLOW_PRIVATE_WEBHOOK_URLS or not settings.IS_PRODUCTION
    if not is_free and not url.lower().startswith("https://"):
        raise ValueError("The URL must start with https://.")


def send(url: str, *, body: bytes, headers: Mapping[str, str]) -> Outcome:
    deadline = Deadline(total_s=settings.WEBHOOK_TIMEOUT, connect_s=CONNECT_TIMEOUT_S)
    try:
        _check_scheme(url)
        parts = parse_base_url(url, with_query=True)
        pool = pool_for(
            scheme=parts.scheme,
            host=parts.host,
            port=parts.port,
            allow_private=settings.ALLOW_PRIVATE_WEBHOOK_URLS,
            purpose="webhooks",
        )
        response = post(pool, parts.request_uri, body=body, headers=headers, deadline=deadline)
    except BlockedAddressError:
        return Outcome(None, deadline.elapsed_ms(), error="The host is not on the public internet.")
    except (HTTPError, OSError, http.client.HTTPException) as error:
        return Outcome(None, deadline.elapsed_ms(), error=_failure(error, deadline))
    except ValueError as error:
        return Outcome(None, deadline.elapsed_ms(), error=str(error))
    excerpt = _excerpt(response)
    return Outcome(response.status, deadline.elapsed_ms(), excerpt, _refusal(response.status))


def _excerpt(response: BaseHTTPResponse) -> str:
    """The answer's beginning. It counts as given with its head, so what goes wrong from there on does not matter."""
    body = b""
    try:
        with contextlib.suppress(HTTPError, OSError, http.client.HTTPException):
            body = response.read(MAX_ANSWER_BYTES, decode_content=False)
    finally:
        give_back(response)
    return body[:EXCERPT_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _refusal(status: int) -> str:
    if status in _SUCCESS:
        return ""
    if status in _REDIRECTS:
        return f"The endpoint answered with status {status}. Redirects are not followed."
    return f"The endpoint answered with status {status}."


def _failure(error: Exception, deadline: Deadline) -> str:
    """In our own words: the error's may hold the address that a name led to."""
    if deadline.expired or is_timeout(error):
        return f"The endpoint did not {'accept a connection' if deadline.is_connecting else 'answer'} in time."
    if isinstance(error, SSLError | ssl.SSLCertVerificationError):
        return "No trusted TLS connection to the endpoint."
    return "The connection to the endpoint failed."
