"""What the calls and runs of cases have come to."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from apps.evaluations.engine.cases import Pending
from apps.evaluations.engine.changes import Answer, Started
from apps.evaluations.models import CaseStatus
from apps.executions.models import TERMINAL, Status
from apps.workflows.models import TERMINAL as RUN_TERMINAL
from apps.workflows.models import RunStatus, WorkflowRun
from apps.workflows.nodes.base import NodeFailure
from apps.workflows.nodes.resolving import storable

CANCELLED = "CANCELLED"
LOST = "EXECUTION_LOST"
NO_OUTPUT = "NO_OUTPUT"
INVALID_OUTPUT = "INVALID_OUTPUT"
_MOST = 2**31 - 1
# Of outputs that are read at once: one may have megabytes.
MOST_BYTES = 8 * 1024 * 1024
_RESULTS = """
SELECT id, status, error_code, error_message, latency_ms, cost_usd, input_tokens + coalesce(cached_input_tokens, 0)
    + coalesce(cache_write_tokens, 0) + coalesce(cache_write_1h_tokens, 0),
    output_tokens + coalesce(reasoning_tokens, 0)
FROM executions_execution WHERE id = ANY(%s)
"""
_SAID = """
SELECT execution_id, output, tool_calls, response_schema IS NOT NULL FROM executions_executionpayload
WHERE execution_id = ANY(%s)
"""
_SIZES = """
SELECT execution_id, coalesce(octet_length(output), 0) FROM executions_executionpayload WHERE execution_id = ANY(%s)
"""
_FEW = ("id", "status", "outputs", "error_code", "error_message", "active_ms", "cost_usd", "input_tokens",
        "output_tokens")  # fmt: skip


def of_executions(running: Mapping[UUID, Started]) -> tuple[list[tuple[Started, Answer]], int]:
    """Those that have ended, as many as may be read at once, and how many of the others are still queued."""
    results = {row[0]: row[1:] for row in _rows(_RESULTS, list(running))}
    ended = [key for key in running if key not in results or results[key][0] in TERMINAL]
    queued = sum(result[0] == Status.QUEUED for result in results.values())
    if not ended:
        return [], queued
    ended = _readable(ended)
    said = {row[0]: row[1:] for row in _rows(_SAID, ended)}
    return [(running[key], _of_execution(running[key], results.get(key), said.get(key))) for key in ended], queued


def _readable(ended: list[UUID]) -> list[UUID]:
    """The first ones, together of at most MOST_BYTES; one at least."""
    sizes = dict(_rows(_SIZES, ended))
    sums = accumulate(sizes.get(key, 0) for key in ended)
    return [key for number, (key, size) in enumerate(zip(ended, sums, strict=True)) if not number or size <= MOST_BYTES]


def _of_execution(started: Started, result: Any, said: Any) -> Answer:
    answer = Answer(started.case_id, started.subject, started.item_id)
    if result is None:
        return failed(answer, LOST, "The execution is not stored any more.")
    status, code, message, answer.latency_ms, answer.cost_usd, input_tokens, output_tokens = result
    answer.charged_usd = answer.cost_usd or Decimal(0)
    answer.input_tokens, answer.output_tokens = _bounded(input_tokens), _bounded(output_tokens)
    if status == Status.CANCELLED:
        return failed(answer, CANCELLED, "The call was cancelled.")
    if status == Status.FAILED:
        return failed(answer, code, message)
    if said is None:
        return failed(answer, LOST, "What it has answered is not stored any more.")
    text, tool_calls, has_schema = said
    return _with_output(answer, text or "", tool_calls, has_schema=has_schema)


def _with_output(answer: Answer, text: str, tool_calls: Any, *, has_schema: bool) -> Answer:
    """As the nodes of workflows give it: JSON where a schema asked for it, and calls of tools beside their text."""
    try:
        if tool_calls:
            answer.output = storable({"text": text, "tool_calls": tool_calls})
        else:
            answer.output = storable(orjson.loads(text) if has_schema else text)
    except (NodeFailure, orjson.JSONDecodeError) as error:
        return failed(answer, INVALID_OUTPUT, str(error))
    return answer


def of_runs(running: Mapping[UUID, Started]) -> list[tuple[Started, Answer]]:
    """Those that have ended. Their latency is the time that workers were at them."""
    if not running:
        return []
    runs = WorkflowRun.objects.filter(id__in=list(running), status__in=RUN_TERMINAL).only(*_FEW)
    found = {run.id: run for run in runs}
    gone = running.keys() - set(WorkflowRun.objects.filter(id__in=list(running)).values_list("id", flat=True))
    return [
        (started, _of_run(started, found.get(key))) for key, started in running.items() if key in found or key in gone
    ]


def _of_run(started: Started, run: WorkflowRun | None) -> Answer:
    answer = Answer(started.case_id, started.subject, started.item_id)
    if run is None:
        return failed(answer, LOST, "The run is not stored any more.")
    answer.latency_ms, answer.cost_usd, answer.charged_usd = _bounded(run.active_ms), run.cost_usd, run.cost_usd
    answer.input_tokens, answer.output_tokens = _bounded(run.input_tokens), _bounded(run.output_tokens)
    if run.status == RunStatus.CANCELLED:
        return failed(answer, CANCELLED, "The run was cancelled.")
    if run.status != RunStatus.SUCCEEDED:
        return failed(answer, run.error_code, run.error_message)
    answer.output = run.outputs
    return answer


def of_recorded(rows: Sequence[Pending]) -> list[Answer]:
    """What stands in the items, and what is known of the executions that it is from."""
    sources = [row.source_execution_id for row in rows if row.source_execution_id]
    known = {row[0]: row[1:] for row in _rows(_RESULTS, sources)} if sources else {}
    return [_of_recorded(row, known.get(row.source_execution_id)) for row in rows]


def _of_recorded(row: Pending, source: Any) -> Answer:
    answer = Answer(row.case_id, row.subject, row.item_id)
    if not row.has_output:
        return failed(answer, NO_OUTPUT, "The item has no recorded output.")
    answer.output = row.output
    if source is not None:
        answer.latency_ms, answer.cost_usd = source[3], source[4]
        answer.input_tokens, answer.output_tokens = _bounded(source[5]), _bounded(source[6])
    return answer


def failed(answer: Answer, code: str, message: str) -> Answer:
    answer.status, answer.error_code, answer.error_message = CaseStatus.FAILED, code, message[:500]
    return answer


def _bounded(number: int | None) -> int | None:
    return None if number is None else min(number, _MOST)


def _rows(statement: str, ids: list[UUID]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [ids])
        return list(cursor.fetchall())
