"""Steps 5 and 7: what is stored before the call and after it, each in one statement and so in one transaction.

The statements are written out because they are on the path of every call: the ORM would make four of them, in two
transactions of three round trips each.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Protocol

import orjson
from django.db import DataError, transaction

from apps.executions.models import Execution, ExecutionAttempt, ExecutionPayload, Status
from apps.executions.orchestrator.telling import is_told, tell_of_end
from everquant.db import patiently, prepared_cursor

_EXECUTION = (
    "id", "organization_id", "source", "status", "is_streamed", "is_background", "prompt_id", "prompt_version_id",
    "version_number", "model_id", "provider_model", "unit_id", "ab_test_id", "ab_variant", "ab_phase", "created_by_id",
    "api_key_id", "metadata", "created_at", "started_at", "lease_expires_at", "retry_of_id", "workflow_id",
    "workflow_run_id",
)  # fmt: skip
_PAYLOAD = ("execution_id", "variables", "messages", "parameters", "tools", "response_schema", "cache_ttl_s")
_RESULT = (
    "status", "model_id", "provider_model", "finish_reason", "error_code", "error_message", "input_tokens",
    "cached_input_tokens", "cache_write_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens",
    "cost_usd", "price", "is_usage_estimated", "is_cached", "saved_cost_usd", "queue_ms", "latency_ms",
    "first_token_ms", "attempt_count", "finished_at",
)  # fmt: skip
_ATTEMPT = {
    "number": "smallint", "model_id": "uuid", "provider_id": "uuid", "provider_model": "text", "status": "smallint",
    "error_code": "text", "error_message": "text", "provider_request_id": "text", "started_at": "timestamptz",
    "latency_ms": "integer", "first_token_ms": "integer", "input_tokens": "integer", "output_tokens": "integer",
}  # fmt: skip
_CHANGE_PARAMETERS = "WITH changed AS (UPDATE executions_executionpayload SET parameters = %s WHERE execution_id = %s) "
_JSON = frozenset({"metadata", "variables", "messages", "parameters", "tools", "response_schema", "price"})


Statement = tuple[str, list[Any]]
"""A statement and its parameters."""


class Companion(Protocol):
    """What its caller stores in the same statements as an execution, each time a transaction less.

    `begin` and `end` give parts of a WITH clause, of which one is called `companion` and has one row where they apply.
    It locks what it locks before a budget is held: other statements that lock both must do the same.
    """

    def begin(self) -> Statement:
        """Without a row neither this nor the execution is stored; see CompanionRefused."""

    def note_begin(self) -> None:
        """It is stored."""

    def end(self, execution: Execution, payload: ExecutionPayload) -> Statement | None:
        """For what is about to be recorded; it may refer to `finished`, which is empty when the execution had ended
        already. None to record it alone."""

    def note_end(self, row: Sequence[Any]) -> None:
        """The execution's end was stored; the row is all of `companion`, of NULLs where it had none."""


class CompanionRefused(Exception):
    """Nothing was stored, as the companion had no row."""


def _places(columns: Iterable[str]) -> str:
    return ", ".join("%s" for _ in columns)


_BEGIN = (
    f"execution AS (INSERT INTO executions_execution ({', '.join(_EXECUTION)}) VALUES ({_places(_EXECUTION)})), "  # noqa: S608 (column names of this module)
    f"payload AS (INSERT INTO executions_executionpayload ({', '.join(_PAYLOAD)}) VALUES ({_places(_PAYLOAD)})) "
)
# The status is a parameter, as the planner takes the index of what runs for one that is written out: it would look
# through all that runs at that time.
_FINISH = (
    f"WITH finished AS (UPDATE executions_execution SET ({', '.join(_RESULT)}) = ROW({_places(_RESULT)}) "  # noqa: S608 (as above)
    "WHERE id = %s AND status = %s AND started_at = %s RETURNING id), "
    "payload AS (UPDATE executions_executionpayload SET output = %s, tool_calls = %s "
    "WHERE execution_id = %s AND EXISTS (SELECT FROM finished))"
)
_TRIES = (
    f", tries AS (INSERT INTO executions_executionattempt (execution_id, {', '.join(_ATTEMPT)}) "  # noqa: S608 (as above)
    "SELECT finished.id, try.* FROM finished, (VALUES {rows}) AS try)"
)
_TRY = f"({', '.join(f'%s::{kind}' for kind in _ATTEMPT.values())})"
_TOLD = " SELECT count(*) FROM finished"
_TOLD_WITH_COMPANION = (
    "SELECT told.executions, companion.* FROM (SELECT count(*) AS executions FROM finished) told "
    "LEFT JOIN companion ON true"
)


def begin(
    execution: Execution, payload: ExecutionPayload, query: Statement | None = None, claim: Statement | None = None
) -> None:
    """Store a queued or running execution with all that is needed to make it again.

    An error of the query or of the claim undoes it. The query may refer to what the claim returns as `claimed`, the
    claim to what goes before it.
    """
    text, values = query or ("SELECT", [])
    claimed, key = claim or ("", [])
    head = f"WITH {claimed}, " if claimed else "WITH "
    send((head + _BEGIN + text, key + _values(execution, _EXECUTION) + _values(payload, _PAYLOAD) + values))


def begin_again(payload: ExecutionPayload, parameters: dict[str, Any], query: Statement | None = None) -> None:
    """A stored one is to be sent with these parameters. An error of the query undoes it."""
    text, values = query or ("SELECT", [])
    if parameters != payload.parameters:
        send((_CHANGE_PARAMETERS + text, [_json(parameters), payload.execution_id, *values]))
    elif query is not None:
        send(query)


def send(statement: Statement) -> None:
    """One round trip, which is one transaction if there is none around it."""
    with prepared_cursor() as cursor:
        cursor.execute(*statement)


def finish(
    execution: Execution,
    payload: ExecutionPayload,
    attempts: list[ExecutionAttempt],
    companion: Companion | None = None,
) -> bool:
    """Store the end of a running execution. False when it had ended already: then nothing is written.

    Nor when another process has taken it meanwhile, which believed this one dead.
    """
    head = _finish(len(attempts))
    parameters = [
        *_values(execution, _RESULT), execution.id, Status.RUNNING, execution.started_at,
        payload.output, orjson.dumps(payload.tool_calls).decode(), execution.id,
        *(getattr(attempt, name) for attempt in attempts for name in _ATTEMPT),
    ]  # fmt: skip

    def write() -> bool:
        return bool(_ask(head + _TOLD, parameters)[0])

    def write_both(companion: Companion, parts: str, values: list[Any]) -> bool:
        is_stored, *row = _ask(f"{head}, {parts} {_TOLD_WITH_COMPANION}", parameters + values)
        if is_stored:
            companion.note_end(row)
        return bool(is_stored)

    if companion is not None and (beside := companion.end(execution, payload)) is not None:
        # What the companion cannot store is no reason to lose an answer that was paid for.
        with suppress(DataError):
            return _persist(lambda: write_both(companion, *beside), execution)
    return _persist(write, execution)


@cache
def _finish(tries: int) -> str:
    """With a place for each value of each try: to read them from JSON makes storing them half as dear again."""
    return _FINISH + _TRIES.format(rows=", ".join([_TRY] * tries)) if tries else _FINISH


def _ask(text: str, parameters: list[Any]) -> Any:
    """The statement's one row."""
    with prepared_cursor() as cursor:
        cursor.execute(text, parameters)
        return cursor.fetchone()


def fail(execution: Execution, *, code: str, message: str) -> bool:
    """Store a failure without an answer. False when it had ended already."""
    return _persist(lambda: execution.fail(code=code, message=message), execution)


def _persist(write: Callable[[], bool], execution: Execution) -> bool:
    """What the write gives; an answer that was paid for is worth waiting for a database that restarts."""

    def once() -> bool:
        return _told(write, execution) if is_told(execution) else write()

    return patiently(once, execution_id=str(execution.id))


def _told(write: Callable[[], bool], execution: Execution) -> bool:
    with transaction.atomic():
        has_written = write()
        if has_written:
            tell_of_end(execution)
    return has_written


def _values(row: Any, columns: Iterable[str]) -> list[Any]:
    return [_json(getattr(row, name)) if name in _JSON else getattr(row, name) for name in columns]


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
