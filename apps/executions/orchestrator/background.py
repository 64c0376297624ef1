"""What a runner does: queued executions are called from what is stored of them, one after the other."""

import time
from uuid import UUID

import structlog

from apps.executions.models import Execution, ExecutionPayload, Source, Status
from apps.executions.orchestrator import budgeting, candidates, event_log, progress
from apps.executions.orchestrator.command import Finished
from apps.executions.orchestrator.queueing import TURNS, call_runners, most_runners
from apps.executions.orchestrator.recording import fail
from apps.executions.orchestrator.resolution import Plan
from apps.executions.orchestrator.running import CRASHED, hold, run
from apps.models import gate
from apps.prompts.models import PromptVersion
from everquant.api.bulkhead import Bulkhead
from everquant.api.errors import ApiError, BudgetExceeded, ServiceUnavailable
from everquant.cache import prefetching
from everquant.db import patiently, release_connection
from everquant.workers import STOPPING

logger = structlog.get_logger(__name__)

SLICE_S = 30.0
NOT_CALLABLE = "MODEL_UNAVAILABLE"
BUDGET_EXCEEDED = "BUDGET_EXCEEDED"


RUNNERS = Bulkhead(most_runners)


def run_queued(organization_id: UUID) -> int:
    """Run queued executions, of this organization and of all others; gives how many.

    With all runners of the process busy there is nothing to do: they come to what is queued.
    """
    TURNS.announce(organization_id)
    try:
        slot = RUNNERS.enter()
    except ServiceUnavailable:
        return 0
    with slot:
        try:
            return _run_in_turn(organization_id)
        finally:
            release_connection()


def _run_in_turn(organization_id: UUID) -> int:
    count, ends_at = 0, time.monotonic() + SLICE_S
    while time.monotonic() < ends_at and not STOPPING.is_set():
        execution = TURNS.take()
        if execution is None:
            return count
        try:
            with prefetching(_names_to_prefetch(execution.organization_id), str(execution.id)):
                _run_taken(execution)
        except Exception:
            logger.exception("background_execution_failed", execution_id=str(execution.id))
            fail(execution, code=CRASHED, message="The server failed; it has been logged.")
        finally:
            TURNS.leave(execution.organization_id)
            release_connection()
        count += 1
        if execution.status != Status.QUEUED:
            progress.note_end(execution)
    call_runners(organization_id, 1)
    return count


def _names_to_prefetch(organization_id: UUID) -> tuple[str, ...]:
    """What is read of Redis to call what is stored."""
    return (*candidates.names(organization_id), *budgeting.names(organization_id), *gate.names(organization_id))


def _run_taken(execution: Execution) -> Finished | None:
    payload = execution.payload
    try:
        prepared = patiently(
            lambda: hold(execution, payload, plan_of(execution, payload)), execution_id=str(execution.id)
        )
    except ApiError as error:
        code = BUDGET_EXCEEDED if isinstance(error, BudgetExceeded) else NOT_CALLABLE
        fail(execution, code=code, message=error.message[:500])
        return None
    if not execution.is_streamed:
        return run(prepared)
    with event_log.writer(execution.id) as write:
        return run(prepared, write, write.flush)


def plan_of(execution: Execution, payload: ExecutionPayload) -> Plan:
    """The stored messages and parameters for the model as it is now, and its fallbacks now; an evaluation measures its
    model and has none.

    Raises BadRequest when the model can no longer be called.
    """
    version = PromptVersion(
        id=execution.prompt_version_id,
        version_number=execution.version_number or 0,
        tools=payload.tools or [],
        response_schema=payload.response_schema,
    )
    models = candidates.candidates_for(execution.organization_id, execution.model_id)
    if execution.source == Source.EVALUATION:
        models = models[:1]
    return Plan(version, payload.messages, models, payload.parameters)
