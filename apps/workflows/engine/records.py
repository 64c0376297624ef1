"""What is recorded of one attempt at a node: its start, and its success.

The start of an attempt that calls a model is stored in the statement that stores the execution, its success in the one
that stores the execution's end: two transactions for a call instead of four. Both name the fence, as all records do. An
end that finds the run with another worker is the execution's alone, as it was paid for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.utils import timezone

from apps.executions.orchestrator import Statement
from apps.workflows.engine.events import Event, in_order
from apps.workflows.engine.frames import Frame
from apps.workflows.engine.steps import LeaseLost, Step, Totals, dump, record, told_of
from apps.workflows.models import RunStatus, StepStatus
from apps.workflows.nodes.base import Result

# An attempt that is begun again after a worker's sudden end has its step already. Of the status see steps.py.
_BEGIN = """
companion AS (
    UPDATE workflows_workflowrun SET last_event = last_event + 1
    WHERE id = %s AND fence = %s AND status = %s RETURNING id, last_event
),
step AS (
    INSERT INTO workflows_workflowstep
        (run_id, path, node_id, kind, attempt, status, handle, error_code, error_message, started_at)
    SELECT id, %s, %s, %s, %s, 'running', '', '', '', %s FROM companion
    ON CONFLICT (run_id, path, attempt) DO NOTHING
),
event AS (
    INSERT INTO workflows_runevent (run_id, number, type, data, created_at)
    SELECT id, last_event, 'node.started', %s, now() FROM companion
)"""
_SUCCEED = """
companion AS (
    UPDATE workflows_workflowrun SET last_event = last_event + %s, node_count = node_count + 1,
        input_tokens = input_tokens + %s, output_tokens = output_tokens + %s,
        cost_usd = cost_usd + coalesce(%s::numeric, 0)
    WHERE id = %s AND fence = %s AND status = %s AND EXISTS (SELECT FROM finished)
    RETURNING id, last_event, node_count, cost_usd
),
step AS (
    UPDATE workflows_workflowstep s SET status = 'succeeded', handle = %s, input = %s::json, output = %s::json,
        execution_id = %s, input_tokens = %s, output_tokens = %s, cost_usd = %s, finished_at = %s
    FROM companion WHERE s.run_id = companion.id AND s.path = %s AND s.attempt = %s
),
event AS (
    INSERT INTO workflows_runevent (run_id, number, type, data, created_at)
    SELECT companion.id, companion.last_event - %s + place, type, data, now()
    FROM companion, jsonb_to_recordset(%s::jsonb) AS told(type text, data json, place integer)
)"""


@dataclass(slots=True)
class Records:
    """Of the attempt that `base` tells of: the fields of a Step that are known before it begins."""

    frame: Frame
    base: dict[str, Any]
    _is_begun: bool = False
    _success: tuple[Step, list[Event]] | None = None
    _totals: Totals | None = None
    _is_lost: bool = False

    def begin(self) -> None:
        """Unless that is stored already. Raises LeaseLost."""
        if not self._is_begun:
            self.frame.walk.totals = record(self.frame.run, self._start())
            self._is_begun = True

    def begin_with_call(self) -> Statement:
        run, step = self.frame.run, self._start()
        data = orjson.dumps(told_of(step, None)).decode()
        values = [
            run.id, run.fence, RunStatus.RUNNING, step.path, step.node_id, step.kind, step.attempt, step.started_at,
            data,
        ]  # fmt: skip
        return _BEGIN, values

    def note_begin(self) -> None:
        self._is_begun = True

    def succeed(self, result: Result) -> None:
        """Unless that is stored already. Raises LeaseLost."""
        if self._is_lost:
            raise LeaseLost
        if self._totals is None:
            is_repeated = self._success is not None
            step, told = self._success or self._success_of(result)
            self._totals = record(self.frame.run, step, told, is_repeated=is_repeated)
        self.frame.walk.totals = self._totals

    def succeed_with_call(self, result: Result) -> Statement:
        step, before = self._success = self._success_of(result)
        run, usage, output = self.frame.run, step.usage, dump(step.output)
        told = [*before, (step.event, told_of(step, output))]
        values = [
            len(told), usage.input_tokens or 0, usage.output_tokens or 0, usage.cost_usd, run.id, run.fence,
            RunStatus.RUNNING, step.handle, dump(step.input), output, step.execution_id, usage.input_tokens,
            usage.output_tokens, usage.cost_usd, step.finished_at, step.path, step.attempt, len(told), in_order(told),
        ]  # fmt: skip
        return _SUCCEED, values

    def note_success(self, row: Sequence[Any]) -> None:
        run_id, _, node_count, cost_usd = row
        self._is_lost = run_id is None
        if not self._is_lost:
            self._totals = Totals(node_count, cost_usd)

    def _start(self) -> Step:
        return Step(status=StepStatus.RUNNING, event="node.started", **self.base)

    def _success_of(self, result: Result) -> tuple[Step, list[Event]]:
        step = Step(
            status=StepStatus.SUCCEEDED,
            event="node.succeeded",
            finished_at=timezone.now(),
            handle=result.handle,
            input=result.input,
            output=result.output,
            execution_id=result.execution_id,
            usage=result.usage,
            is_counted=True,
            **self.base,
        )
        return step, self.frame.walk.take_deltas(step.path)
