"""Secrets at rest: Fernet with a list of keys, of which the first one writes and all read."""

from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class DecryptionError(Exception):
    """No configured key opens this value."""


@cache
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def _current() -> MultiFernet:
    return _fernet(tuple(settings.ENCRYPTION_KEYS))


def encrypt(value: str | bytes) -> bytes:
    return _current().encrypt(value.encode() if isinstance(value, str) else value)


def decrypt(value: bytes | memoryview) -> bytes:
    """The clear bytes; raises DecryptionError when the key has been taken away."""
    try:
        return _current().decrypt(bytes(value))
    except InvalidToken as error:
        raise DecryptionError("no key in ENCRYPTION_KEYS opens this secret") from error


def rotate(value: bytes | memoryview) -> bytes:
    """The same secret under the first key; raises DecryptionError."""
    try:
        return _current().rotate(bytes(value))
    except InvalidToken as error:
        raise DecryptionError("no key in ENCRYPTION_KEYS opens this secret") from error
