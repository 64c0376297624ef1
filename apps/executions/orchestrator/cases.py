"""Calls of an evaluation: stored a few at a time by the evaluation's driver, and made by runners like every queued one.

They have a place like the rows of a batch, so that an evaluation is one more batch to the queue: what people wait for
goes first.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from apps.executions.keys import time_of
from apps.executions.models import INTERRUPTED, Execution, ExecutionAttempt, Source, Status
from apps.executions.orchestrator import queueing
from apps.executions.orchestrator.batching import EXECUTION_COLUMNS, PAYLOAD_COLUMNS
from apps.executions.orchestrator.budgeting import most_for
from apps.executions.orchestrator.command import Json
from apps.executions.orchestrator.drain import MOST_INTERRUPTED
from apps.executions.orchestrator.idempotency import INTERRUPTED_MESSAGE
from apps.executions.orchestrator.leases import announce_cancellation
from apps.executions.orchestrator.recording import Statement
from apps.executions.orchestrator.resolution import Plan
from apps.models.models import LLMModel

logger = structlog.get_logger(__name__)

_AT_ONCE = 500


def _storing(table: str, columns: Sequence[str]) -> str:
    """JSON goes in, and the table's own type makes rows of it."""
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{table}, %s::json)"  # noqa: S608 (names of tables)


_STORE = _storing("executions_execution", EXECUTION_COLUMNS)
_STORE_PAYLOADS = _storing("executions_executionpayload", PAYLOAD_COLUMNS)
_CANCEL = """
UPDATE executions_execution SET cancel_requested_at = coalesce(cancel_requested_at, %(now)s),
    status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
    finished_at = CASE status WHEN 'queued' THEN %(now)s ELSE finished_at END
WHERE id = ANY(%(ids)s) AND status IN ('queued', 'running')
"""


@dataclass(frozen=True, slots=True)
class Asker:
    """On whose behalf calls are made."""

    organization_id: UUID
    created_by_id: UUID | None
    api_key_id: UUID | None


@dataclass(frozen=True, slots=True)
class CaseCall:
    """A call with the id that its execution will have. `place` counts from 0."""

    execution_id: UUID
    plan: Plan
    variables: Json
    prompt_id: UUID | None
    place: int

    @property
    def parameters(self) -> Json:
        return self.plan.parameters_for(self.plan.candidates[0])


def limited(plan: Plan) -> tuple[Plan, Decimal | None]:
    """The plan with the limit of output that goes with its price, and USD that it costs at most; None for no price."""
    plan = replace(plan, is_limited=True)
    amount, unpriced = most_for(plan, timezone.now())
    return plan, None if unpriced is not None else amount


def storing(calls: Sequence[CaseCall], asker: Asker) -> list[Statement]:
    """What stores them as queued, with the rest of the caller's transaction; runners are to be called for them."""
    return [
        (_STORE, [_rows(EXECUTION_COLUMNS, _executions(calls, asker))]),
        (_STORE_PAYLOADS, [_rows(PAYLOAD_COLUMNS, _payloads(calls))]),
    ]


def call_runners(organization_id: UUID, waiting: int) -> None:
    """For so many that are queued, the driver's new ones among them; in the transaction that stores those."""
    queueing.call_missing_runners_for(organization_id, waiting)


def cancel_calls(ids: Sequence[UUID]) -> None:
    """What is queued is cancelled at once, what runs as soon as its processes have seen the wish."""
    with connection.cursor() as cursor:
        cursor.execute(_CANCEL, {"ids": list(ids), "now": timezone.now()})
    announce_cancellation()


def take_back_calls() -> int:
    """Queue again the calls of evaluations whose process is gone; gives how many.

    The call that was cut is recorded as a try, and the provider is asked again under the same key. One that was cut
    MOST_INTERRUPTED times before, or whose model is gone, is left to fail.
    """
    with transaction.atomic():
        cut = Execution.objects.interrupted().filter(source=Source.EVALUATION, is_background=True)
        found = list(cut.select_for_update(skip_locked=True).order_by("id")[:_AT_ONCE])
        tries = _cut_tries(found)
        ExecutionAttempt.objects.bulk_create(tries)
        ids = [each.execution_id for each in tries]
        Execution.objects.filter(id__in=ids).update(
            status=Status.QUEUED, started_at=None, lease_expires_at=None, attempt_count=F("attempt_count") + 1
        )
        for organization_id, count in Counter(each.organization_id for each in found if each.id in set(ids)).items():
            queueing.call_runners(organization_id, count)
    if ids:
        logger.warning("evaluation_calls_taken_back", count=len(ids))
    return len(ids)


def _cut_tries(executions: Sequence[Execution]) -> list[ExecutionAttempt]:
    stopped = ExecutionAttempt.objects.filter(execution_id__in=[each.id for each in executions], error_code=INTERRUPTED)
    before = Counter(stopped.values_list("execution_id", flat=True))
    wanted = {each.model_id for each in executions if each.model_id}
    providers = dict(LLMModel.objects.filter(id__in=wanted).values_list("id", "provider_id"))
    return [
        _cut_try(each, each.model_id, providers[each.model_id])
        for each in executions
        if before[each.id] < MOST_INTERRUPTED and each.model_id is not None and each.model_id in providers
    ]


def _cut_try(execution: Execution, model_id: UUID, provider_id: UUID) -> ExecutionAttempt:
    now = timezone.now()
    started_at = execution.started_at or now
    return ExecutionAttempt(
        execution_id=execution.id,
        number=execution.attempt_count + 1,
        model_id=model_id,
        provider_id=provider_id,
        provider_model=execution.provider_model,
        error_code=INTERRUPTED,
        error_message=INTERRUPTED_MESSAGE,
        started_at=started_at,
        latency_ms=round((now - started_at).total_seconds() * 1000),
    )


def _rows(columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> str:
    return orjson.dumps([dict(zip(columns, row, strict=True)) for row in rows]).decode()


def _executions(calls: Sequence[CaseCall], asker: Asker) -> Iterator[tuple[Any, ...]]:
    for call in calls:
        model, version = call.plan.candidates[0], call.plan.version
        yield (
            call.execution_id, asker.organization_id, Source.EVALUATION.value, Status.QUEUED.value, False, True, None,
            call.place, call.prompt_id, version.id, version.version_number, model.id, model.provider_model_name, "",
            None, "", None, asker.created_by_id, asker.api_key_id, {}, "", "", "", 0, 0, time_of(call.execution_id),
        )  # fmt: skip


def _payloads(calls: Sequence[CaseCall]) -> Iterator[tuple[Any, ...]]:
    for call in calls:
        version = call.plan.version
        yield (
            call.execution_id, call.variables, call.plan.messages, call.parameters, version.tools or None,
            version.response_schema, None, [],
        )  # fmt: skip
