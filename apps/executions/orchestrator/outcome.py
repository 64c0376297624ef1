"""What a call comes to: the columns of the finished execution, its output, its price, and a row for each try."""

from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal

from django.utils import timezone

from apps.executions.models import COST_PLACES, Execution, ExecutionAttempt, ExecutionPayload, Status
from apps.executions.orchestrator.calling import Call
from apps.executions.orchestrator.estimates import usage_of_stopped
from apps.executions.orchestrator.resolution import Plan
from apps.executions.orchestrator.tries import Try
from apps.models.prices import cost, prices_of
from apps.models.providers.base import ErrorCode, Usage
from everquant.rows import new_row

SMALLEST_USD = Decimal(1).scaleb(-COST_PLACES)
USAGE = tuple(field.name for field in fields(Usage))
_MOST_TOKENS = 2**31 - 1


def conclude(execution: Execution, payload: ExecutionPayload, plan: Plan, call: Call) -> list[ExecutionAttempt]:
    """Fill in execution and payload from the last try, also with what came before it failed; nothing is stored."""
    last = call.tries[-1]
    execution.status = _status(last)
    execution.model_id = last.target.model_id
    execution.provider_model = last.target.request.model
    execution.latency_ms = call.latency_ms
    execution.first_token_ms = call.first_token_ms
    execution.finished_at = timezone.now()
    if last.error and execution.status == Status.FAILED:
        execution.error_code = last.error.code.value
        execution.error_message = last.error.message
    if last.received is not None:
        execution.finish_reason = "" if last.error else last.received.finish_reason.value
        payload.output = last.received.text
        payload.tool_calls = last.received.tool_calls
    execution.queue_ms += call.queue_ms
    used = [(each, each.received.usage if each.received else None) for each in call.tries]
    if last.error is not None and last.error.code in {ErrorCode.CANCELLED, ErrorCode.INTERRUPTED}:
        usage, execution.is_usage_estimated = usage_of_stopped(last)
        used[-1] = (last, usage)
    _charge(execution, plan, [(each, usage) for each, usage in used if usage is not None])
    attempts = attempts_of(execution, call.tries)
    execution.attempt_count += len(attempts)
    return attempts


def attempts_of(execution: Execution, tries: Sequence[Try]) -> list[ExecutionAttempt]:
    """Numbered after those that are stored already, of a worker that has handed the execution back."""
    return [_attempt(execution, each, number) for number, each in enumerate(tries, execution.attempt_count + 1)]


def _status(last: Try) -> Status:
    if last.error is None:
        return Status.SUCCEEDED
    return Status.CANCELLED if last.error.code == ErrorCode.CANCELLED else Status.FAILED


def _charge(execution: Execution, plan: Plan, used: list[tuple[Try, Usage]]) -> None:
    """What every try has used, each at the prices of its model; of a failed one mostly no provider tells."""
    if not used:
        return
    for name in USAGE:
        setattr(execution, name, sum(getattr(usage, name) for _, usage in used))
    total: Decimal | None = Decimal(0)
    for each, usage in used:
        model = next(model for model in plan.candidates if model.id == each.target.model_id)
        prices = prices_of(model, at=execution.started_at, input_tokens=usage.whole_input)
        execution.price = None if prices is None else prices.as_row()
        part = cost(usage, prices)
        total = None if total is None or part is None else total + part
    execution.cost_usd = None if total is None else total.quantize(SMALLEST_USD)


def _attempt(execution: Execution, attempt: Try, number: int) -> ExecutionAttempt:
    error, received = attempt.error, attempt.received
    usage = received.usage if received else None
    return new_row(
        ExecutionAttempt,
        execution_id=execution.id,
        number=number,
        model_id=attempt.target.model_id,
        provider_id=attempt.target.provider_id,
        provider_model=attempt.target.request.model,
        status=error.status if error else None,
        error_code=error.code.value if error else "",
        error_message=error.message if error else "",
        provider_request_id=((received.provider_request_id if received else None) or "")[:200],
        started_at=attempt.started_at,
        latency_ms=attempt.latency_ms,
        first_token_ms=attempt.first_token_ms,
        input_tokens=min(usage.whole_input, _MOST_TOKENS) if usage else None,
        output_tokens=min(usage.output_tokens + usage.reasoning_tokens, _MOST_TOKENS) if usage else None,
    )
