"""The API as the command asks it: over HTTP, with a key, from wherever CI runs."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import orjson
import urllib3

from apps.evaluations.ci.failures import CommandFailure, UsageFailure

Json = Any
TIMEOUT_S = 60.0
ATTEMPTS = 6
LONGEST_PAUSE_S = 20.0
_AGAIN = {429, 500, 502, 503, 504}


class Client:
    """Failures that pass are tried again: a repetition has the same Idempotency-Key, and makes nothing twice."""

    def __init__(self, url: str, api_key: str) -> None:
        """Raises UsageFailure for what can be no key."""
        api_key = api_key.strip()
        if not (api_key.isascii() and api_key.isprintable()):
            raise UsageFailure("The API key has characters that no key has.")
        self._base = f"{url.rstrip('/')}/api/v1"
        self._headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(TIMEOUT_S))

    def get(self, path: str, **parameters: Json) -> Json:
        """The `data` of the answer; parameters that are None are left out."""
        given = {name: str(value) for name, value in parameters.items() if value is not None}
        return self._call("GET", path, fields=given)

    def post(self, path: str, body: Json = None) -> Json:
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid4())}
        try:
            content = orjson.dumps(body or {})
        except TypeError as error:
            raise UsageFailure(f"This is no JSON: {error}") from error
        return self._call("POST", path, body=content, headers=headers)

    def _call(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Json) -> Json:
        """Raises UsageFailure for what the server refuses, CommandFailure where it cannot be asked."""
        reason = ""
        for pause_s in _pauses():
            asked_s = 0.0
            try:
                answer = self._pool.request(
                    method, f"{self._base}/{path}", headers={**self._headers, **(headers or {})}, **options
                )
            except urllib3.exceptions.LocationValueError as error:
                raise UsageFailure(f"The address of the server is wrong: {error}") from error
            except urllib3.exceptions.HTTPError as error:
                reason = f"{self._base} does not answer: {error}"
            else:
                if answer.status not in _AGAIN:
                    return _data(answer)
                reason = f"{method} {path}: {_refusal(answer)}"
                asked_s = _retry_after(answer)
            time.sleep(min(max(pause_s, asked_s), LONGEST_PAUSE_S))
        raise CommandFailure(reason)


def _pauses() -> Iterator[float]:
    """Seconds before each further attempt; the last is no pause."""
    yield from (min(0.25 * 2**number, 4.0) for number in range(ATTEMPTS - 1))
    yield 0.0


def _retry_after(answer: urllib3.BaseHTTPResponse) -> float:
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else 0.0


def _data(answer: urllib3.BaseHTTPResponse) -> Json:
    if answer.status >= 400:
        raise UsageFailure(_refusal(answer))
    try:
        return orjson.loads(answer.data)["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageFailure(f"This is no EverQuant: HTTP {answer.status} without its envelope.") from error


def _refusal(answer: urllib3.BaseHTTPResponse) -> str:
    """What the envelope of an error says, in lines."""
    try:
        error = orjson.loads(answer.data)["error"]
        said = [f"{error['code']}: {error['message']}", *(f"  {at}: {why}" for at, why in error["details"].items())]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return f"HTTP {answer.status}"
    return "\n".join(said)
