"""What nodes did, as rows: the truth of a run. What is recorded here as ended is never done again.

Each record is one statement: the run's counters and the number of the event, the step, the event. It names the fence
that the run was taken with, and changes nothing when another worker has taken the run since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from apps.workflows.definition.model import ERROR
from apps.workflows.engine.events import Event, in_order
from apps.workflows.models import RunStatus, StepStatus, WorkflowRun
from apps.workflows.nodes.base import Usage
from everquant.db import patiently, prepared_cursor

Json = Any
State = dict[str, Json]

# What is larger stays in its step's row; the state refers to it.
INLINE_BYTES = 64 * 1024
# Of those in bodies, when they are read again: there may be thousands of them, and most are not needed any more.
INNER_BYTES = 2 * 1024
EVENT_BYTES = 8 * 1024
STORED = "$stored"
ENDED = ("ok", "error", "skipped")

# The run's status is a parameter, as the planner takes the index of what runs for one that is written out: it would
# look through all that runs at that time.
_RECORD = """
WITH run AS (
    UPDATE workflows_workflowrun SET last_event = last_event + %(event_count)s, node_count = node_count + %(counts)s,
        input_tokens = input_tokens + coalesce(%(input_tokens)s::integer, 0),
        output_tokens = output_tokens + coalesce(%(output_tokens)s::integer, 0),
        cost_usd = cost_usd + coalesce(%(cost_usd)s::numeric, 0)
    WHERE id = %(run_id)s AND fence = %(fence)s AND status = %(held)s RETURNING id, last_event, node_count, cost_usd
),
step AS (
    INSERT INTO workflows_workflowstep (run_id, path, node_id, kind, attempt, status, handle, input, output, error_code,
        error_message, execution_id, input_tokens, output_tokens, cost_usd, started_at, finished_at)
    SELECT run.id, %(path)s, %(node_id)s, %(kind)s, %(attempt)s, %(status)s, %(handle)s, %(input)s::json,
        %(output)s::json, %(error_code)s, %(error_message)s, %(execution_id)s::uuid, %(input_tokens)s::integer,
        %(output_tokens)s::integer, %(cost_usd)s::numeric, %(started_at)s::timestamptz, %(finished_at)s::timestamptz
    FROM run
    ON CONFLICT (run_id, path, attempt) DO UPDATE SET status = excluded.status, handle = excluded.handle,
        input = excluded.input, output = excluded.output, error_code = excluded.error_code,
        error_message = excluded.error_message, execution_id = excluded.execution_id,
        input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, cost_usd = excluded.cost_usd,
        finished_at = excluded.finished_at
),
event AS (
    INSERT INTO workflows_runevent (run_id, number, type, data, created_at)
    SELECT run.id, run.last_event - %(event_count)s + place, type, data, now()
    FROM run, jsonb_to_recordset(%(events)s::jsonb) AS told(type text, data json, place integer)
)
SELECT node_count, cost_usd FROM run
"""
# Whether a record that nobody has answered was made all the same.
_RECORDED = """
SELECT run.node_count, run.cost_usd
FROM workflows_workflowrun run JOIN workflows_workflowstep step ON step.run_id = run.id
WHERE run.id = %(run_id)s AND run.fence = %(fence)s AND run.status = 'running' AND step.path = %(path)s
AND step.attempt = %(attempt)s AND step.status = %(status)s AND step.finished_at = %(finished_at)s::timestamptz
"""
_HISTORY = """
SELECT DISTINCT ON (path) path, attempt, status, handle, error_code, error_message,
    CASE WHEN octet_length(output::text) <= CASE WHEN path ~ '[.[]' THEN %(inner)s ELSE %(inline)s END
        THEN output::text END, output IS NOT NULL,
    min(started_at) OVER (PARTITION BY path),
    count(*) FILTER (WHERE status = 'failed') OVER (PARTITION BY path),
    count(*) FILTER (WHERE status = 'interrupted') OVER (PARTITION BY path)
FROM workflows_workflowstep WHERE run_id = %(run_id)s ORDER BY path, attempt DESC
"""


class LeaseLost(Exception):
    """Another worker has the run, or it has ended: this one has no say any more."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What earlier workers did at a node. `state` is set once it has ended."""

    attempt: int
    status: str
    state: State | None
    first_started_at: datetime
    failures: int
    interruptions: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Of the run, after a record."""

    node_count: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One attempt as it is recorded. `is_counted` adds to the run's number of node executions."""

    path: str
    node_id: str
    kind: str
    attempt: int
    status: StepStatus
    event: str
    started_at: datetime
    finished_at: datetime | None = None
    handle: str = ""
    input: Json = None
    output: Json = None
    error_code: str = ""
    error_message: str = ""
    execution_id: UUID | None = None
    usage: Usage = field(default_factory=Usage)
    is_counted: bool = False
    more: Mapping[str, Json] | None = None


def record(run: WorkflowRun, step: Step, before: Sequence[Event] = (), *, is_repeated: bool = False) -> Totals:
    """With the events that come before its own. Raises LeaseLost.

    One that `is_repeated` has been sent before, and may be stored.
    """
    output = dump(step.output)
    told = [*before, (step.event, told_of(step, output))]
    values: dict[str, Any] = {
        "run_id": run.id, "fence": run.fence, "held": RunStatus.RUNNING, "counts": int(step.is_counted),
        "path": step.path, "node_id": step.node_id, "kind": step.kind, "attempt": step.attempt, "status": step.status,
        "handle": step.handle, "input": dump(step.input), "output": output, "error_code": step.error_code,
        "error_message": step.error_message[:500], "execution_id": step.execution_id,
        "input_tokens": step.usage.input_tokens, "output_tokens": step.usage.output_tokens,
        "cost_usd": step.usage.cost_usd, "started_at": step.started_at, "finished_at": step.finished_at,
        "event_count": len(told), "events": in_order(told),
    }  # fmt: skip

    tries = count(int(is_repeated))

    def write() -> Totals | None:
        with prepared_cursor() as cursor:
            for statement in (_RECORDED, _RECORD) if next(tries) else (_RECORD,):
                cursor.execute(statement, values)
                row = cursor.fetchone()
                if row:
                    return Totals(*row)
        return None

    totals = patiently(write, run_id=str(run.id))
    if totals is None:
        raise LeaseLost
    return totals


def history(run: WorkflowRun) -> dict[str, Recorded]:
    """By path, what was recorded of the run before; large outputs as references."""
    with connection.cursor() as cursor:
        cursor.execute(_HISTORY, {"run_id": run.id, "inline": INLINE_BYTES, "inner": INNER_BYTES})
        rows = cursor.fetchall()
    found = {}
    for path, attempt, status, handle, code, message, output, has_output, first, failures, interruptions in rows:
        state = None
        if status == StepStatus.SKIPPED:
            state = skipped()
        elif handle and status in {StepStatus.SUCCEEDED, StepStatus.FAILED}:
            value = {STORED: path} if has_output and output is None else in_state(path, orjson.loads(output or "null"))
            error = {"code": code, "message": message} if code else None
            state = {
                "status": "error" if handle == ERROR and status == StepStatus.FAILED else "ok",
                "handle": handle,
                "output": value,
                "error": error,
            }
        found[path] = Recorded(attempt, status, state, first, failures, interruptions)
    return found


def times_begun(run_id: UUID, path: str) -> int:
    """How often attempts at a node were begun, those made again after a worker's sudden end included."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM workflows_runevent WHERE run_id = %s AND type = 'node.started' "
            "AND data ->> 'path' = %s",
            [run_id, path],
        )
        return int(cursor.fetchone()[0])


def skipped() -> State:
    return {"status": "skipped", "handle": "", "output": None, "error": None}


def stored_output(run_id: UUID, path: str) -> Json:
    """A large output, of the step whose attempt ended well."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT output::text FROM workflows_workflowstep WHERE run_id = %s AND path = %s AND output IS NOT NULL "
            "ORDER BY attempt DESC LIMIT 1",
            [run_id, path],
        )
        row = cursor.fetchone()
    return orjson.loads(row[0]) if row else None


def in_state(path: str, output: Json) -> Json:
    """The output itself, or a reference to its step when it is large, or looks like one."""
    if output is None:
        return None
    return {STORED: path} if is_stored(output) or len(orjson.dumps(output)) > INLINE_BYTES else output


def is_stored(output: Json) -> bool:
    return isinstance(output, dict) and len(output) == 1 and STORED in output


def told_of(step: Step, output: str | None) -> dict[str, Json]:
    """An event's data; `output` is the step's as JSON."""
    said: dict[str, Json] = {
        "path": step.path,
        "node_id": step.node_id,
        "kind": step.kind,
        "attempt": step.attempt,
        "status": step.status,
    }
    if step.handle:
        said["handle"] = step.handle
    if output is not None and len(output) <= EVENT_BYTES:
        said["output"] = step.output
    if step.error_code:
        said["error"] = {"code": step.error_code, "message": step.error_message[:500]}
    if step.usage.cost_usd is not None:
        said["cost_usd"] = f"{step.usage.cost_usd:f}"
    return {**said, **(step.more or {})}


def dump(value: Json) -> str | None:
    """As it is sent to a column of JSON."""
    return None if value is None else orjson.dumps(value, default=str).decode()
