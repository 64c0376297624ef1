"""Writes beside the orchestrator's."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.executions.keys import time_of
from apps.executions.models import Execution, ExecutionPayload, Score, Status
from apps.executions.orchestrator import queueing
from apps.executions.orchestrator.background import plan_of
from apps.executions.orchestrator.leases import announce_cancellation
from apps.executions.orchestrator.running import hold
from apps.executions.orchestrator.telling import tell_of_end
from apps.executions.score_checks import NewScore, check_score
from apps.users.principal import Principal
from everquant.api.errors import Conflict
from everquant.db import uuid7

# What a retry has in common with what it retries.
_ASKED = (
    "organization_id", "source", "is_streamed", "prompt_id", "prompt_version_id", "version_number", "unit_id",
    "metadata", "workflow_id", "workflow_run_id",
)  # fmt: skip
_SAID = ("variables", "messages", "parameters", "tools", "response_schema", "cache_ttl_s")


@transaction.atomic
def cancel_execution(*, execution: Execution) -> Execution:
    """A queued one is cancelled at once, a running one as soon as its process has seen the wish.

    Gives the execution as it is then; raises Conflict when it had ended.
    """
    now = timezone.now()
    row = Execution.objects.filter(id=execution.id)
    if row.filter(status=Status.QUEUED).update(status=Status.CANCELLED, cancel_requested_at=now, finished_at=now):
        tell_of_end(row.get())
    elif row.filter(status=Status.RUNNING).update(cancel_requested_at=Coalesce("cancel_requested_at", now)):
        announce_cancellation()
    else:
        raise Conflict("The execution has ended.", details={"status": row.get().status})
    found: Execution = row.whole().get()
    return found


@transaction.atomic
def retry_execution(*, execution: Execution, by: Principal) -> Execution:
    """A new execution, in the background, of what a failed or cancelled one was asked.

    It begins with the model that was asked first. Raises Conflict for others and those whose payload is purged,
    BadRequest when the model cannot be called any more, BudgetExceeded.
    """
    if execution.status not in {Status.FAILED, Status.CANCELLED}:
        raise Conflict("Only what has failed or was cancelled is retried.", details={"status": execution.status})
    said = execution.kept_payload
    if said.is_purged:
        raise Conflict("What was asked is not kept any more.", details={"is_payload_purged": "It is true."})
    first = execution.attempts.first()
    again = Execution(
        id=uuid7(),
        status=Status.QUEUED,
        is_background=True,
        retry_of_id=execution.id,
        model_id=first.model_id if first else execution.model_id,
        provider_model=first.provider_model if first else execution.provider_model,
        created_by_id=by.user_id,
        api_key_id=by.api_key_id,
        **{name: getattr(execution, name) for name in _ASKED},
    )
    again.created_at = time_of(again.id)
    payload = ExecutionPayload(execution=again, **{name: getattr(said, name) for name in _SAID})
    hold(again, payload, plan_of(again, payload), is_new=True)
    queueing.call_runners(again.organization_id, 1)
    found: Execution = Execution.objects.whole().get(id=again.id)
    return found


def add_score(
    *,
    execution: Execution,
    name: str,
    type: str,  # noqa: A002 (the field's name in the API)
    value: float | bool | str,
    comment: str,
    by: Principal,
) -> Score:
    """Raises IntegrityError for a value that does not fit its type, BadRequest for one that a check refuses."""
    check_score(NewScore(execution.organization_id, name, type, value))
    columns: dict[str, Any] = {"text": value} if isinstance(value, str) else {"number": float(value)}
    return Score.objects.create(
        organization_id=execution.organization_id,
        execution_id=execution.id,
        name=name,
        type=type,
        comment=comment,
        source=Score.Source.API if by.api_key_id else Score.Source.HUMAN,
        created_by_id=by.user_id,
        **columns,
    )
