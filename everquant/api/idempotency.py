"""`Idempotency-Key` on POST: the same key and request gives the first answer again, another request a 409."""

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from everquant.api.envelope import dumps
from everquant.api.errors import Conflict
from everquant.api.models import IdempotencyKey
from everquant.context import current
from everquant.encryption import decrypt, encrypt

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_FORM = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS = ("Location", "ETag")


def given_key(request: Any) -> str | None:
    """The request's key; raises ValidationError when it has not 1 to 255 visible ASCII characters."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")  # `headers` would parse all of them
    if key is not None and not _FORM.fullmatch(key):
        raise ValidationError({HEADER: ["1 to 255 visible ASCII characters."]})
    return key


def scope_of(request: Any) -> str:
    if request.auth is not None:
        return f"org:{request.auth.organization_id}:{request.auth.user_id}"
    context = current()
    return f"address:{context.client_ip if context else ''}"


def fingerprint_of(request: Any) -> str:
    """HMAC-SHA-256 of method, path and body, as hexadecimal: a plain hash would let a stored password be guessed."""
    content = [request.method, request.get_full_path(), request.data]
    body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hmac.new(settings.SECRET_KEY.encode(), body, hashlib.sha256).hexdigest()


def refuse_other_request(record: IdempotencyKey, fingerprint: str) -> None:
    if record.fingerprint != fingerprint:
        raise Conflict("This Idempotency-Key was used for another request.", details={HEADER: "Already used."})


def run_once(request: Any, key: str, handler: Callable[[], Response]) -> Response:
    """Do the work and keep its answer in one transaction, or answer again what was answered before.

    Failures are not kept: the transaction takes the claim back with the work.
    """
    fingerprint = fingerprint_of(request)
    with transaction.atomic():
        record, is_new = IdempotencyKey.claim(scope=scope_of(request), key=key, fingerprint=fingerprint)
        if is_new:
            response = handler()
            record.status = response.status_code
            record.body = encrypt(dumps(response.data))
            record.headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            record.save_fields("status", "body", "headers")
            return response
    refuse_other_request(record, fingerprint)
    data = orjson.loads(decrypt(record.body)) if record.body else None
    response = Response(data, status=record.status)
    for name, value in {**record.headers, REPLAYED: "true"}.items():
        response.headers[name] = value
    return response
