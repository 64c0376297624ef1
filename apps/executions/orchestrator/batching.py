"""Many executions of one prompt in one transaction: rendered before anything is stored, stored by COPY.

Budgets are reserved when a row is called, not here: ten thousand worst cases at once would keep everybody else from
calling. A row that a budget refuses is a failed one, and can be retried.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.utils import timezone

from apps.executions.keys import time_of
from apps.executions.models import Batch, Source, Status
from apps.executions.orchestrator import progress, queueing
from apps.executions.orchestrator.command import Command, Row
from apps.executions.orchestrator.leases import announce_cancellation
from apps.executions.orchestrator.resolution import Plan, resolve_rows
from everquant.api.errors import Conflict
from everquant.db import uuid7

EXECUTION_COLUMNS = (
    "id", "organization_id", "source", "status", "is_streamed", "is_background", "batch_id", "batch_row", "prompt_id",
    "prompt_version_id", "version_number", "model_id", "provider_model", "unit_id", "ab_test_id", "ab_variant",
    "ab_phase", "created_by_id", "api_key_id", "metadata", "finish_reason", "error_code", "error_message", "queue_ms",
    "attempt_count", "created_at",
)  # fmt: skip
PAYLOAD_COLUMNS = (
    "execution_id", "variables", "messages", "parameters", "tools", "response_schema", "cache_ttl_s", "tool_calls",
)  # fmt: skip
_CANCEL_QUEUED = """
UPDATE executions_execution SET status = 'cancelled', cancel_requested_at = %(now)s, finished_at = %(now)s
WHERE batch_id = %(batch)s AND status = 'queued'
"""
_CANCEL_RUNNING = """
UPDATE executions_execution SET cancel_requested_at = %(now)s
WHERE batch_id = %(batch)s AND status = 'running' AND cancel_requested_at IS NULL
"""
# Of those whose payload is purged nobody knows any more what was asked.
_FAILED = """
SELECT e.id FROM executions_execution e JOIN executions_executionpayload p ON p.execution_id = e.id
WHERE e.batch_id = %s AND e.status = 'failed' ORDER BY e.batch_row
"""
_AGAIN = """
WITH wanted AS (
    SELECT * FROM unnest(%(new)s::uuid[], %(old)s::uuid[]) WITH ORDINALITY AS w(new_id, old_id, place)
),
executions AS (
    INSERT INTO executions_execution (
        id, organization_id, source, status, is_streamed, is_background, batch_id, batch_row, retry_of_id, prompt_id,
        prompt_version_id, version_number, model_id, provider_model, unit_id, ab_variant, created_by_id, api_key_id,
        metadata, finish_reason, error_code, error_message, queue_ms, attempt_count, created_at
    )
    SELECT w.new_id, e.organization_id, e.source, 'queued', e.is_streamed, true, %(batch)s, w.place - 1, e.id,
        e.prompt_id, e.prompt_version_id, e.version_number, coalesce(%(model)s, first.model_id, e.model_id),
        coalesce(first.provider_model, e.provider_model), e.unit_id, '', %(user)s, %(api_key)s, e.metadata, '', '', '',
        0, 0, %(now)s
    FROM wanted w JOIN executions_execution e ON e.id = w.old_id
    LEFT JOIN executions_executionattempt first ON first.execution_id = w.old_id AND first.number = 1
)
INSERT INTO executions_executionpayload (
    execution_id, variables, messages, parameters, tools, response_schema, cache_ttl_s, tool_calls
)
SELECT w.new_id, p.variables, p.messages, p.parameters, p.tools, p.response_schema, p.cache_ttl_s, '[]'
FROM wanted w JOIN executions_executionpayload p ON p.execution_id = w.old_id
"""


def create_batch(*, command: Command, name: str, rows: Sequence[Row]) -> Batch:
    """Raises BadRequest naming what is wrong with which row, NotFound, Conflict; then nothing is stored."""
    plans = resolve_rows(command, rows)
    with transaction.atomic():
        batch = _insert_batch(command, plans, name)
        keys = [uuid7() for _ in rows]
        _copy("executions_execution", EXECUTION_COLUMNS, _executions(batch, command, plans, rows, keys))
        _copy("executions_executionpayload", PAYLOAD_COLUMNS, _payloads(command, plans, rows, keys))
        queueing.call_runners(batch.organization_id, len(rows))
    return batch


def cancel_batch(*, batch: Batch) -> None:
    """What is queued is cancelled at once, what runs as soon as its processes have seen the wish.

    Raises Conflict when it has ended.
    """
    now = timezone.now()
    with transaction.atomic():
        changed = Batch.objects.filter(id=batch.id, finished_at__isnull=True).update(cancel_requested_at=now)
        if not changed:
            raise Conflict("The batch has ended.")
        with connection.cursor() as cursor:
            cursor.execute(_CANCEL_QUEUED, {"now": now, "batch": batch.id})
            cursor.execute(_CANCEL_RUNNING, {"now": now, "batch": batch.id})
        announce_cancellation()
        transaction.on_commit(lambda: progress.finish_if_done(batch.id))


def retry_failed(*, batch: Batch, created_by_id: UUID | None, api_key_id: UUID | None) -> Batch:
    """A new batch of the failed rows of one that has ended. Raises Conflict when it has not, or none has failed whose
    payload is kept."""
    if batch.finished_at is None:
        raise Conflict("The batch has not ended yet.")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_FAILED, [batch.id])
        old = [row[0] for row in cursor.fetchall()]
        if not old:
            raise Conflict("No row of the batch has failed.")
        again = Batch.objects.create(
            organization_id=batch.organization_id,
            name=batch.name,
            prompt_id=batch.prompt_id,
            version_number=batch.version_number,
            model_id=batch.model_id,
            row_count=len(old),
            retry_of_id=batch.id,
            created_by_id=created_by_id,
            api_key_id=api_key_id,
        )
        parameters: dict[str, Any] = {
            "new": [uuid7() for _ in old], "old": old, "batch": again.id, "model": batch.model_id,
            "user": created_by_id, "api_key": api_key_id, "now": timezone.now(),
        }  # fmt: skip
        cursor.execute(_AGAIN, parameters)
        queueing.call_runners(again.organization_id, len(old))
    return again


def _insert_batch(command: Command, plans: Sequence[Plan], name: str) -> Batch:
    batch: Batch = Batch.objects.create(
        organization_id=command.organization_id,
        name=name,
        prompt_id=plans[0].version.prompt_id,
        version_number=_common({plan.version.version_number for plan in plans}),
        model_id=_common({plan.candidates[0].id for plan in plans}),
        row_count=len(plans),
        created_by_id=command.created_by_id,
        api_key_id=command.api_key_id,
    )
    return batch


def _common(values: set[Any]) -> Any:
    return values.pop() if len(values) == 1 else None


def _executions(
    batch: Batch, command: Command, plans: Sequence[Plan], rows: Sequence[Row], keys: Sequence[UUID]
) -> Iterable[tuple[Any, ...]]:
    for number, (row, plan, key) in enumerate(zip(rows, plans, keys, strict=True)):
        model, version = plan.candidates[0], plan.version
        yield (
            key, command.organization_id, Source.BATCH.value, Status.QUEUED.value, False, True, batch.id, number,
            version.prompt_id, version.id, version.version_number, model.id, model.provider_model_name, row.unit_id,
            *plan.ab_columns.values(), command.created_by_id, command.api_key_id, _json(row.metadata), "", "", "", 0, 0,
            time_of(key),
        )  # fmt: skip


def _payloads(
    command: Command, plans: Sequence[Plan], rows: Sequence[Row], keys: Sequence[UUID]
) -> Iterable[tuple[Any, ...]]:
    for row, plan, key in zip(rows, plans, keys, strict=True):
        version = plan.version
        yield (
            key, _json(row.variables), _json(plan.messages), _json(plan.parameters_for(plan.candidates[0])),
            _json(version.tools) if version.tools else None,
            None if version.response_schema is None else _json(version.response_schema), command.cache_ttl_s, "[]",
        )  # fmt: skip


def _copy(table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
