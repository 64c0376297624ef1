"""ETags over what is answered, `If-None-Match` for reads and `If-Match` for writes."""

import hashlib
import re
from typing import Any

from rest_framework.exceptions import ValidationError

from everquant.api.envelope import dumps
from everquant.api.errors import PreconditionFailed


def etag_of(data: Any) -> str:
    """A strong validator of an object's representation."""
    return etag_of_bytes(dumps(data))


def etag_of_bytes(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


_FORM = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")
_READS = {"GET", "HEAD"}


def check_conditional_header(request: Any) -> None:
    """Raises ValidationError when the header that makes this request conditional is empty, long or not ASCII."""
    name = "If-None-Match" if request.method in _READS else "If-Match"
    value = request.META.get(f"HTTP_{name.replace('-', '_').upper()}")  # `headers` would parse all of them
    if value is not None and not is_conditional(value):
        raise ValidationError({name: ["1 to 255 visible ASCII characters."]})


def is_conditional(header: str) -> bool:
    """Whether an If-Match or If-None-Match header has a form that is read at all."""
    return _FORM.fullmatch(header) is not None


def matches(header: str, etag: str) -> bool:
    """Whether an If-Match or If-None-Match header names the tag (weak prefixes are ignored, `*` names any)."""
    return any(part.strip().removeprefix("W/") in {etag, "*"} for part in header.split(","))


def require_match(header: str, etag: str) -> None:
    if not matches(header, etag):
        raise PreconditionFailed("The object has changed since; read it again.", headers={"ETag": etag})
