"""The only place where a provider is spoken to over the network, by `everquant.network`."""

import http.client
import ssl
import time
from collections.abc import Iterator, Mapping
from socket import socket
from typing import Any, Never

import orjson
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError, HTTPError, SSLError

from apps.models.providers.base import RETRYABLE_STATUSES, ErrorCode, Json, ProviderError, Timeouts
from apps.models.providers.cancellation import Cancellation
from apps.models.providers.sse import EventParser, EventTooLargeError, ServerSentEvent
from everquant.network import connections
from everquant.network.address import BlockedAddressError, parse_base_url
from everquant.network.connections import Pool, give_back, is_timeout, pool_for, post, read_limited, retry_after_s

MAX_RESPONSE_BYTES = 8 * 1024 * 1024
# A stream spends some 250 bytes of framing on each token of four.
MAX_STREAM_BYTES = 8 * MAX_RESPONSE_BYTES
MAX_ERROR_BYTES = 64 * 1024
MAX_NAME_LENGTH = 200
DRAIN_S = 0.05
_READ_BYTES = 65536
_SUCCESS, _CLIENT_ERRORS, _SERVER_ERRORS = range(200, 300), range(400, 500), range(500, 600)
_STATUS_CODES = {
    401: ErrorCode.AUTHENTICATION,
    403: ErrorCode.AUTHENTICATION,
    404: ErrorCode.NOT_FOUND,
    408: ErrorCode.TIMEOUT_TOTAL,
    409: ErrorCode.CONFLICT,
    429: ErrorCode.RATE_LIMITED,
}


class Deadline(connections.Deadline):
    """When a call has to end, and under which name it then fails."""

    __slots__ = ("_cancellation", "_code", "total_at")

    def __init__(self, timeouts: Timeouts, *, streamed: bool, cancellation: Cancellation | None = None) -> None:
        super().__init__(total_s=timeouts.total_s, connect_s=timeouts.connect_s)
        self._cancellation = cancellation
        self.total_at = self.at
        self._code = ErrorCode.TIMEOUT_TOTAL
        if streamed and timeouts.first_token_s < timeouts.total_s:
            self.at = self.started_at + timeouts.first_token_s
            self._code = ErrorCode.TIMEOUT_FIRST_TOKEN
        self.connect_by = min(self.connect_by, self.at)

    @property
    def code(self) -> ErrorCode:
        return ErrorCode.TIMEOUT_CONNECT if self.is_connecting else self._code

    def apply_to(self, connection: socket) -> None:
        if self._cancellation is not None and not self._cancellation.hold(connection):
            self.expired = True
            raise TimeoutError
        super().apply_to(connection)

    def first_token(self) -> int:
        """From now on only the whole call's limit holds. Milliseconds since the start."""
        self.at = self.total_at
        self._code = ErrorCode.TIMEOUT_TOTAL
        return self.elapsed_ms()


class Endpoint:
    """A provider's base URL with the headers of every call to it."""

    def __init__(self, base_url: str, headers: Mapping[str, str], *, secret: str, allow_private: bool) -> None:
        """Raises ValueError for a URL that may not be called or a key that cannot be sent."""
        parts = parse_base_url(base_url)
        if not secret.isascii() or not secret.isprintable():
            raise ValueError("The key holds characters that cannot be sent in a header.")
        self._scheme, self._host, self._port = parts.scheme, parts.host, parts.port
        self._path = (parts.path or "").rstrip("/")
        self._headers = {"Content-Type": "application/json", "User-Agent": "everquant", **headers}
        self._secret = secret
        self._allow_private = allow_private
        self._pool: Pool | None = None

    def post_json(
        self, path: str, payload: Json, deadline: Deadline, headers: Json, max_bytes: int = MAX_RESPONSE_BYTES
    ) -> tuple[Json, Mapping[str, str]]:
        """The decoded body and the headers of a 2xx answer. Raises ProviderError."""
        response = self._post(path, payload, deadline, headers)
        try:
            body = read_limited(response, max_bytes)
        except (HTTPError, OSError, http.client.HTTPException) as error:
            self._raise_failure(error, deadline)
        finally:
            give_back(response)
        if body is None:
            raise ProviderError(ErrorCode.TOO_LARGE, "The provider's answer is too large.", status=response.status)
        return parse_json_object(body), response.headers

    def post_events(self, path: str, payload: Json, deadline: Deadline, headers: Json) -> "EventStream":
        """Raises ProviderError when the answer is not a 2xx."""
        return EventStream(self, self._post(path, payload, deadline, headers), deadline)

    def _post(self, path: str, payload: Json, deadline: Deadline, headers: Json) -> BaseHTTPResponse:
        try:
            body = orjson.dumps(payload)
        except orjson.JSONEncodeError:
            raise ProviderError(ErrorCode.INVALID_REQUEST, "The request cannot be written as JSON.") from None
        if self._pool is None:
            self._pool = pool_for(
                scheme=self._scheme, host=self._host, port=self._port, allow_private=self._allow_private
            )
        try:
            response = post(
                self._pool, self._path + path, body=body, headers={**self._headers, **headers}, deadline=deadline
            )
        except BlockedAddressError:
            raise ProviderError(ErrorCode.BLOCKED_ADDRESS, "The provider's address is not allowed.") from None
        except (HTTPError, OSError, http.client.HTTPException) as error:
            self._raise_failure(error, deadline)
        except ValueError:
            raise ProviderError(ErrorCode.INVALID_REQUEST, "A header of the request cannot be sent.") from None
        if response.status not in _SUCCESS:
            self._raise_status(response, deadline)
        return response

    def _raise_failure(self, error: Exception, deadline: Deadline) -> Never:
        """Without the cause: its text and its frames may hold headers."""
        if deadline.expired or is_timeout(error):
            raise ProviderError(deadline.code, "The provider did not answer in time.", retryable=True) from None
        if isinstance(error, DecodeError):
            raise ProviderError(ErrorCode.INVALID_RESPONSE, "The provider's answer cannot be decoded.") from None
        if isinstance(error, SSLError | ssl.SSLCertVerificationError):
            raise ProviderError(ErrorCode.CONNECTION, "No trusted TLS connection to the provider.") from None
        raise ProviderError(ErrorCode.CONNECTION, "The connection to the provider failed.", retryable=True) from None

    def _raise_status(self, response: BaseHTTPResponse, deadline: Deadline) -> Never:
        try:
            body = read_limited(response, MAX_ERROR_BYTES) or b""
        except (HTTPError, OSError, http.client.HTTPException):
            body = b""
        finally:
            give_back(response)
        status = response.status
        raise ProviderError(
            _error_code(status),
            self.redact(_error_message(body) or f"The provider answered with status {status}."),
            status=status,
            retryable=status in RETRYABLE_STATUSES or status in _SERVER_ERRORS,
            retry_after_s=retry_after_s(response.headers),
        )

    def redact(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


class EventStream:
    """The events of one streamed answer. Close it; unless it was read to its end its connection is not used again."""

    def __init__(self, endpoint: Endpoint, response: BaseHTTPResponse, deadline: Deadline) -> None:
        self._endpoint = endpoint
        self._response = response
        self._parser = EventParser(MAX_RESPONSE_BYTES)
        self.deadline = deadline
        self.headers: Mapping[str, str] = response.headers

    def __iter__(self) -> Iterator[ServerSentEvent]:
        """Ends where the answer ends, which need not be where the protocol says so. Raises ProviderError."""
        received = 0
        while chunk := self._read():
            received += len(chunk)
            if received > MAX_STREAM_BYTES:
                raise ProviderError(ErrorCode.TOO_LARGE, "The provider's answer is too large.")
            try:
                events = self._parser.feed(chunk)
            except EventTooLargeError:
                raise ProviderError(ErrorCode.TOO_LARGE, "The provider's answer is too large.") from None
            yield from events

    def drain(self) -> None:
        """After the protocol's last event: take the end of the body, so that the connection can be used again."""
        self.deadline.at = time.monotonic() + DRAIN_S
        try:
            self._response.read1(_READ_BYTES)
        except (HTTPError, OSError, http.client.HTTPException):
            self.close()

    def close(self) -> None:
        give_back(self._response)

    def _read(self) -> bytes:
        try:
            return self._response.read1(_READ_BYTES)
        except (HTTPError, OSError, http.client.HTTPException) as error:
            self._endpoint._raise_failure(error, self.deadline)


def parse_json_object(body: bytes | str) -> Json:
    """Raises ProviderError. NUL, which PostgreSQL cannot store, becomes U+FFFD."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ProviderError(ErrorCode.INVALID_RESPONSE, "The provider's answer is not a JSON object.")
    escaped = b"\\u0000" if isinstance(body, bytes) else "\\u0000"
    return _without_nul(parsed) if escaped in body else parsed  # type: ignore[operator]  # same type as body


def token_count(counts: Any, name: str) -> int:
    """A count of a usage object, 0 when it is missing or absurd."""
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and 0 < value < 2**31 else 0


def short_text(value: Any) -> str:
    """A name or an id that a provider gave, as it may be stored."""
    return str(value or "")[:MAX_NAME_LENGTH].replace("\0", "")


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


def _error_message(body: bytes) -> str:
    """The text in OpenAI's and in Anthropic's form of an error, `{"error": {"message": …}}`, or empty."""
    try:
        error = parse_json_object(body).get("error")
    except ProviderError:
        return ""
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def _error_code(status: int) -> ErrorCode:
    if status in _SERVER_ERRORS:
        return ErrorCode.HTTP_5XX
    if status in _CLIENT_ERRORS:
        return _STATUS_CODES.get(status, ErrorCode.INVALID_REQUEST)
    return ErrorCode.INVALID_RESPONSE
