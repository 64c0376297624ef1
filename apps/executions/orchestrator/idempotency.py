"""Step 3: one key, one execution. The key's row and the execution have the same id, so that one names the other.

Both are inserted in one transaction, which is one statement for a key that is new. A repeated request finds the
execution, or waits for it while it runs; the lease ends the wait for an execution whose process died.
"""

import math
import time
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone
from psycopg.errors import NotNullViolation

from apps.executions.models import INTERRUPTED, Execution, Status
from apps.executions.orchestrator.command import Finished, IdempotencyClaim
from apps.executions.orchestrator.recording import Companion, Statement
from apps.models.providers.cancellation import Cancellation
from everquant.api.errors import Conflict
from everquant.api.idempotency import HEADER, refuse_other_request
from everquant.api.models import IdempotencyKey
from everquant.db import release_connection

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5
INTERRUPTED_MESSAGE = "The process that ran it ended before it had recorded an answer."


_SCOPE = "executions:"
_CLAIM = (
    "INSERT INTO api_idempotencykey (id, scope, key, fingerprint, headers, created_at, updated_at) "
    "VALUES (%s, %s, %s, %s, '{}', %s, %s) RETURNING id"
)
# Without a companion's row there is no id, which the key's table refuses.
_CLAIM_WITH_COMPANION = _CLAIM.replace("(%s,", "((SELECT %s::uuid FROM companion),", 1)


def claiming(
    organization_id: UUID, given: IdempotencyClaim, execution_id: UUID, companion: Companion | None = None
) -> Statement:
    """What claims a key that nobody has, to be sent with what stores its execution: see `is_taken`, `is_refused`."""
    now = timezone.now()
    values = [execution_id, f"{_SCOPE}{organization_id}", given.key, given.fingerprint, now, now]
    if companion is None:
        return f"claimed AS ({_CLAIM})", values
    parts, more = companion.begin()
    return f"{parts}, claimed AS ({_CLAIM_WITH_COMPANION})", more + values


def is_taken(error: IntegrityError) -> bool:
    """Whether it was refused because the key is somebody's, or was."""
    told = getattr(error.__cause__, "diag", None)
    return told is not None and told.constraint_name == "api_idempotencykey_unique"


def is_refused(error: IntegrityError) -> bool:
    """Whether the companion of the claim had no row."""
    return isinstance(error.__cause__, NotNullViolation) and error.__cause__.diag.table_name == "api_idempotencykey"


def claim(organization_id: UUID, given: IdempotencyClaim) -> tuple[UUID, bool]:
    """The execution's id under this key, and whether it is this call that has to make it.

    In the transaction of the insert. Raises Conflict when the key was used for another request.
    """
    scope = f"{_SCOPE}{organization_id}"
    record, is_new = IdempotencyKey.claim(scope=scope, key=given.key, fingerprint=given.fingerprint)
    refuse_other_request(record, given.fingerprint)
    return record.id, is_new


def wait_for(execution_id: UUID, organization_id: UUID, deadline: float, cancellation: Cancellation) -> Finished:
    """The finished execution; raises Conflict with its Location when it still runs by then, or this is cancelled.

    `deadline` is in seconds of `time.monotonic()`; infinity stands for WRITE_TIMEOUT from now.
    """
    give_up_at = deadline if math.isfinite(deadline) else time.monotonic() + settings.WRITE_TIMEOUT
    pause_s = _FIRST_PAUSE_S
    while True:
        execution = stored(execution_id, organization_id)
        release_connection()
        if execution.is_finished:
            return finished(execution)
        if time.monotonic() >= give_up_at or cancellation.is_requested:
            raise _still_running(execution_id)
        cancellation.pause(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def stored(execution_id: UUID, organization_id: UUID) -> Execution:
    """As recorded now; one whose lease is over is failed on the way."""
    executions = Execution.objects.for_organization(organization_id)
    execution: Execution | None = executions.whole().filter(id=execution_id).first()
    if execution is None:
        raise _no_longer_kept()
    if execution.status == Status.RUNNING and executions.interrupted().filter(id=execution_id).exists():
        execution.fail(code=INTERRUPTED, message=INTERRUPTED_MESSAGE)
    return execution


def finished(execution: Execution) -> Finished:
    payload = execution.kept_payload
    if payload.is_purged:
        raise _no_longer_kept()
    return Finished(execution, payload, list(execution.attempts.all()), is_replayed=True)


def _no_longer_kept() -> Conflict:
    return Conflict("The result of this Idempotency-Key is no longer kept.", details={HEADER: "No longer kept."})


def _still_running(execution_id: UUID) -> Conflict:
    return Conflict(
        "The execution of this Idempotency-Key still runs.",
        details={HEADER: "Still running.", "execution_id": str(execution_id)},
        headers={"Location": f"/api/v1/executions/{execution_id}", "Retry-After": "5"},
    )
