"""Signatures as the Standard Webhooks specification 1.0 has them (https://www.standardwebhooks.com)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

PREFIX = "whsec_"
SECRET_BYTES = 32
MAX_SIGNATURES = 16


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature_header(keys: Iterable[str], *, event_id: str, timestamp: int, body: bytes) -> str:
    """One `v1,…` for each secret, with spaces between. `timestamp` is in seconds since 1970."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{_signature(key, signed)}" for key in keys)


def is_signed(keys: Iterable[str], *, event_id: str, timestamp: int, body: bytes, header: str) -> bool:
    """Whether one of the signatures in the header is one of these keys'. All are compared, each in constant time."""
    expected = signature_header(keys, event_id=event_id, timestamp=timestamp, body=body).encode().split(b" ")
    given = header.encode().split(b" ")[:MAX_SIGNATURES]
    found = [hmac.compare_digest(one, other) for one in expected for other in given]
    return any(found)


def _signature(key: str, signed: bytes) -> str:
    digest = hmac.new(base64.b64decode(key.removeprefix(PREFIX)), signed, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
