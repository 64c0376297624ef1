"""Calls of triggers: whose they are, and the run that each starts once."""

import hashlib
import hmac
import re
from datetime import timedelta
from functools import cache
from uuid import UUID

import orjson
import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.organizations.webhooks.signing import is_signed, new_secret
from apps.workflows.models import WorkflowRun, WorkflowTrigger
from apps.workflows.starting import reason_of, start_for
from apps.workflows.triggers.mapping import inputs_of
from everquant.api.envelope import dumps
from everquant.api.errors import ApiError, Conflict, Unauthorized
from everquant.api.models import IdempotencyKey
from everquant.api.parsers import parse_json
from everquant.encryption import DecryptionError, decrypt, encrypt

logger = structlog.get_logger(__name__)

TOLERANCE = timedelta(minutes=5)
_MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,255}")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")


def authenticate(trigger_id: UUID, *, message_id: str, timestamp: str, signature: str, body: bytes) -> WorkflowTrigger:
    """The trigger that these headers sign the body for. Raises Unauthorized.

    A trigger that is not there, or not active, takes as long as a wrong signature, and reads the same.
    """
    found: WorkflowTrigger | None = (
        WorkflowTrigger.objects.of_living().filter(id=trigger_id, organization__is_active=True).first()
    )
    trigger = found or _decoy()
    now = timezone.now()
    is_wellformed = bool(_MESSAGE_ID.fullmatch(message_id) and _TIMESTAMP.fullmatch(timestamp) and signature.isascii())
    sent_at = int(timestamp) if is_wellformed else 0
    is_now = abs(now.timestamp() - sent_at) <= TOLERANCE.total_seconds()
    is_right = is_signed(
        _secrets(trigger), event_id=message_id, timestamp=sent_at, body=body, header=signature if is_wellformed else ""
    )
    if found is None or not (found.is_active and is_wellformed and is_now and is_right):
        raise Unauthorized("There is no such trigger, or the signature does not fit.")
    return found


def _secrets(trigger: WorkflowTrigger) -> list[str]:
    try:
        return trigger.reveal_secrets(timezone.now())
    except DecryptionError:
        logger.exception("trigger_secret_unreadable", trigger_id=str(trigger.id))
        return []


@cache
def _decoy() -> WorkflowTrigger:
    """Stands in for those that are not there, so that as much is computed."""
    trigger = WorkflowTrigger()
    trigger.set_secret(new_secret())
    return trigger


def fire(*, trigger: WorkflowTrigger, message_id: str, body: bytes) -> UUID:
    """The id of the run that this message starts, or has started before.

    Raises Conflict for another body under the same id, and what `inputs_of` and `start_for` raise; the trigger
    then says why.
    """
    try:
        with transaction.atomic():
            return _fire_once(trigger, message_id, body)
    except ApiError as error:
        WorkflowTrigger.objects.filter(id=trigger.id).update(last_error=reason_of(error))
        raise


def _fire_once(trigger: WorkflowTrigger, message_id: str, body: bytes) -> UUID:
    fingerprint = hmac.new(settings.SECRET_KEY.encode(), body, hashlib.sha256).hexdigest()
    record, is_new = IdempotencyKey.claim(scope=f"trigger:{trigger.id}", key=message_id, fingerprint=fingerprint)
    if record.fingerprint != fingerprint:
        raise Conflict("This webhook-id came with another body.", details={"webhook-id": "Already used."})
    if not is_new:
        return UUID(orjson.loads(decrypt(record.body or b""))["run_id"])
    run = start_for(trigger, inputs=inputs_of(trigger.inputs, parse_json(body)), metadata={"webhook_id": message_id})
    _note(trigger, run)
    record.status, record.body = 202, encrypt(dumps({"run_id": run.id}))
    record.save_fields("status", "body")
    return run.id


def _note(trigger: WorkflowTrigger, run: WorkflowRun) -> None:
    """Without an entry in the audit log: the run is the record."""
    WorkflowTrigger.objects.filter(id=trigger.id).update(last_run_at=timezone.now(), last_run_id=run.id, last_error="")
