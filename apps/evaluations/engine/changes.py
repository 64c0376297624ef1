"""What one turn of a driver has come to, stored in one transaction that the evaluation's fence guards.

The rows of many cases are one statement each: JSON goes in, and the database makes rows of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.utils import timezone

from apps.evaluations.engine.metrics import ScoreRow
from apps.evaluations.models import CaseStatus, Evaluation
from apps.executions.orchestrator.cases import Asker, CaseCall, call_runners, storing
from apps.executions.orchestrator.leases import lease_end
from apps.executions.orchestrator.recording import Statement
from apps.workflows.engine.queue import start_run
from apps.workflows.models import RunSource, Workflow, WorkflowVersion

_COUNT = """
UPDATE evaluations_evaluation SET succeeded_count = succeeded_count + %s, failed_count = failed_count + %s,
    score_count = score_count + %s, score_error_count = score_error_count + %s, cost_usd = cost_usd + %s,
    evaluator_cost_usd = evaluator_cost_usd + %s
WHERE id = %s AND fence = %s AND status = 'running'
RETURNING cancel_requested_at IS NOT NULL, budget_usd
"""
_LOOK = """
SELECT cancel_requested_at IS NOT NULL, budget_usd FROM evaluations_evaluation
WHERE id = %(id)s AND fence = %(fence)s AND status = 'running'
"""
_RENEW = """
UPDATE evaluations_evaluation SET lease_expires_at = %(lease)s
WHERE id = %(id)s AND fence = %(fence)s AND status = 'running'
RETURNING cancel_requested_at IS NOT NULL, budget_usd
"""
_ANSWERS = """
UPDATE evaluations_evaluationcase c SET status = n.status, output = n.output, error_code = n.error_code,
    error_message = n.error_message, latency_ms = n.latency_ms, input_tokens = n.input_tokens,
    output_tokens = n.output_tokens, cost_usd = n.cost_usd, reserved_usd = NULL,
    finished_at = CASE WHEN n.status = 'answered' THEN NULL ELSE %s END
FROM json_to_recordset(%s::json) AS n(case_id bigint, status text, output json, error_code text, error_message text,
    latency_ms integer, input_tokens integer, output_tokens integer, cost_usd numeric)
WHERE c.id = n.case_id
"""
_STARTED = """
UPDATE evaluations_evaluationcase c SET status = 'running', execution_id = n.execution_id,
    workflow_run_id = n.workflow_run_id, reserved_usd = n.reserved_usd
FROM json_to_recordset(%s::json) AS n(case_id bigint, execution_id uuid, workflow_run_id uuid, reserved_usd numeric)
WHERE c.id = n.case_id
"""
_PREPAID = """
UPDATE evaluations_evaluationcase c SET prepaid = coalesce(c.prepaid, '{}') || n.prepaid
FROM json_to_recordset(%s::json) AS n(case_id bigint, prepaid jsonb) WHERE c.id = n.case_id
"""
_SCORED = "UPDATE evaluations_evaluationcase SET status = 'succeeded', finished_at = %s WHERE id = ANY(%s)"
_SCORES = """
INSERT INTO evaluations_evaluationscore (evaluation_id, case_id, metric, value, passed, label, reason, details,
    error_code, error_message, cost_usd, execution_ids)
SELECT %s, n.* FROM json_to_recordset(%s::json) AS n(case_id bigint, metric smallint, value double precision,
    passed boolean, label text, reason text, details json, error_code text, error_message text, cost_usd numeric,
    execution_ids uuid[])
"""
_ANSWER_COLUMNS = (
    "case_id", "status", "output", "error_code", "error_message", "latency_ms", "input_tokens", "output_tokens",
    "cost_usd",
)  # fmt: skip
_STARTED_COLUMNS = ("case_id", "execution_id", "workflow_run_id", "reserved_usd")
_SCORE_COLUMNS = (
    "case_id", "metric", "value", "passed", "label", "reason", "details", "error_code", "error_message", "cost_usd",
    "execution_ids",
)  # fmt: skip


class LeaseLost(Exception):
    """Another driver has the evaluation, or it has ended: what this one wanted to store is not stored."""


@dataclass(frozen=True, slots=True)
class News:
    """Of the evaluation's row as it is now."""

    is_cancelled: bool
    budget_usd: Decimal | None


@dataclass(slots=True)
class Answer:
    """What a case has come to: ANSWERED, SUCCEEDED when it is scored too, FAILED, or CANCELLED.

    `charged_usd` is what the evaluation has spent for it: nothing for what was recorded.
    """

    case_id: int
    subject: int
    item_id: UUID
    status: CaseStatus = CaseStatus.ANSWERED
    output: Any = None
    error_code: str = ""
    error_message: str = ""
    latency_ms: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    charged_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Started:
    """A case whose call was asked for."""

    case_id: int
    subject: int
    item_id: UUID
    execution_id: UUID | None = None
    workflow_run_id: UUID | None = None
    reserved_usd: Decimal | None = None

    @property
    def key(self) -> UUID:
        """Of its execution or its run."""
        key = self.execution_id or self.workflow_run_id
        if key is None:
            raise ValueError("a case that runs has an execution or a run")
        return key


@dataclass(frozen=True, slots=True)
class RunWish:
    """A case whose run is to be started."""

    case: Started
    workflow: Workflow
    version: WorkflowVersion
    inputs: dict[str, Any]

    def start(self, evaluation: Evaluation) -> Started:
        run = start_run(
            workflow=self.workflow,
            version=self.version,
            inputs=self.inputs,
            source=RunSource.EVALUATION,
            created_by_id=evaluation.created_by_id,
            api_key_id=evaluation.api_key_id,
            metadata={"evaluation_id": str(evaluation.id)},
        )
        return replace(self.case, workflow_run_id=run.id)


@dataclass(slots=True)
class Changes:
    """`scored` are the ids of cases that were ANSWERED before this turn and have all their scores now. `judged_usd` is
    what evaluators have spent since the last turn, and `prepaid` by case what of it has led to no score yet.
    """

    answers: list[Answer] = field(default_factory=list)
    scores: list[ScoreRow] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    started: list[Started] = field(default_factory=list)
    calls: list[CaseCall] = field(default_factory=list)
    runs: list[RunWish] = field(default_factory=list)
    prepaid: dict[int, dict[str, str]] = field(default_factory=dict)
    judged_usd: Decimal = Decimal(0)

    @property
    def has_any(self) -> bool:
        return bool(self.answers or self.scores or self.scored or self.started or self.runs or self.prepaid)


def renew(evaluation: Evaluation) -> News:
    """Have the lease last longer. Raises LeaseLost."""
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, {"id": evaluation.id, "fence": evaluation.fence, "lease": lease_end()})
        return _news(cursor.fetchone())


def look(evaluation: Evaluation) -> News:
    """Raises LeaseLost."""
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, {"id": evaluation.id, "fence": evaluation.fence})
        return _news(cursor.fetchone())


def count(evaluation: Evaluation, **changes: int | Decimal) -> News:
    """Add to the evaluation's counts, in a transaction, whose first statement it is. Raises LeaseLost."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, _count_values(evaluation, **changes))
        return _news(cursor.fetchone())


def write(evaluation: Evaluation, changes: Changes, asker: Asker, waiting: int) -> News:
    """Store all of it, and have runners come for the `waiting` calls that are queued. Raises LeaseLost.

    It is one round trip but for the runners: threads that make calls run beside this one, and each wait is long.
    """
    with transaction.atomic():
        changes.started += [wish.start(evaluation) for wish in changes.runs]
        statements = _statements(evaluation, changes, asker)
        with connection.cursor() as cursor:
            cursor.execute(
                "; ".join(text for text, _ in statements), [value for _, values in statements for value in values]
            )
            news = _news(cursor.fetchone())
        if waiting:
            call_runners(asker.organization_id, waiting)
    return news


def _statements(evaluation: Evaluation, changes: Changes, asker: Asker) -> list[Statement]:
    """The first one gives the news."""
    now = timezone.now()
    statements: list[Statement] = [(_COUNT, _counts(evaluation, changes))]
    if changes.answers:
        statements.append((_ANSWERS, [now, _rows(_ANSWER_COLUMNS, changes.answers)]))
    if changes.scores:
        statements.append((_SCORES, [evaluation.id, _rows(_SCORE_COLUMNS, changes.scores)]))
    if changes.prepaid:
        paid = [{"case_id": case_id, "prepaid": amounts} for case_id, amounts in changes.prepaid.items()]
        statements.append((_PREPAID, [orjson.dumps(paid).decode()]))
    if changes.scored:
        statements.append((_SCORED, [now, changes.scored]))
    if changes.started:
        statements.append((_STARTED, [_rows(_STARTED_COLUMNS, changes.started)]))
    if changes.calls:
        statements += storing(changes.calls, asker)
    return statements


def _counts(evaluation: Evaluation, changes: Changes) -> list[Any]:
    ends = [answer.status for answer in changes.answers]
    errors = sum(bool(row.error_code) for row in changes.scores)
    return _count_values(
        evaluation,
        succeeded=ends.count(CaseStatus.SUCCEEDED) + len(changes.scored),
        failed=ends.count(CaseStatus.FAILED),
        scores=len(changes.scores) - errors,
        score_errors=errors,
        cost=sum((answer.charged_usd for answer in changes.answers), Decimal(0)),
        evaluator_cost=changes.judged_usd,
    )


def _count_values(evaluation: Evaluation, **changes: int | Decimal) -> list[Any]:
    names = ("succeeded", "failed", "scores", "score_errors", "cost", "evaluator_cost")
    return [*(changes.get(name, 0) for name in names), evaluation.id, evaluation.fence]


def _rows(columns: Sequence[str], rows: Sequence[Any]) -> str:
    """Nothing is copied: outputs are large."""
    return orjson.dumps([{name: getattr(row, name) for name in columns} for row in rows], default=str).decode()


def _news(row: tuple[Any, ...] | None) -> News:
    if row is None:
        raise LeaseLost
    return News(*row)
