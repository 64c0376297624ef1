"""What a call comes to: the columns of the finished execution, its output, its price, and a row for each try."""

from decimal import Decimal

from django.utils import timezone

from apps.executions.models import COST_PLACES, Execution, ExecutionAttempt, ExecutionPayload, Status
from apps.executions.orchestrator.calling import Call, Try
from apps.executions.orchestrator.estimates import usage_of_cancelled
from apps.executions.orchestrator.resolution import Plan
from apps.models.prices import cost, prices_of
from apps.models.providers.base import ErrorCode, Usage

_SMALLEST_USD = Decimal(1).scaleb(-COST_PLACES)
_MOST_TOKENS = 2**31 - 1


def conclude(execution: Execution, payload: ExecutionPayload, plan: Plan, call: Call) -> list[ExecutionAttempt]:
    """Fill in execution and payload from the last try, also with what came before it failed; nothing is stored."""
    last = call.tries[-1]
    execution.status = _status(last)
    execution.model_id = last.target.model_id
    execution.provider_model = last.target.request.model
    execution.latency_ms = call.latency_ms
    execution.first_token_ms = call.first_token_ms
    execution.attempt_count = len(call.tries)
    execution.finished_at = timezone.now()
    if last.error and execution.status == Status.FAILED:
        execution.error_code = last.error.code.value
        execution.error_message = last.error.message
    if last.received is not None:
        execution.finish_reason = "" if last.error else last.received.finish_reason.value
        payload.output = last.received.text
        payload.tool_calls = last.received.tool_calls
    usage = _total_usage(call)
    if execution.status == Status.CANCELLED:
        usage, execution.is_usage_estimated = usage_of_cancelled(last)
    if usage is not None:
        _charge(execution, plan, usage)
    return [_attempt(execution, each) for each in call.tries]


def _status(last: Try) -> Status:
    if last.error is None:
        return Status.SUCCEEDED
    return Status.CANCELLED if last.error.code == ErrorCode.CANCELLED else Status.FAILED


def _total_usage(call: Call) -> Usage | None:
    """Of the last try: what a failed one before it used, no provider has told."""
    received = call.tries[-1].received
    return received.usage if received else None


def _charge(execution: Execution, plan: Plan, usage: Usage) -> None:
    execution.input_tokens = usage.input_tokens
    execution.cached_input_tokens = usage.cached_input_tokens
    execution.cache_write_tokens = usage.cache_write_tokens
    execution.cache_write_1h_tokens = usage.cache_write_1h_tokens
    execution.output_tokens = usage.output_tokens
    execution.reasoning_tokens = usage.reasoning_tokens
    model = next(model for model in plan.candidates if model.id == execution.model_id)
    prices = prices_of(model, at=execution.started_at, input_tokens=usage.whole_input)
    total = cost(usage, prices)
    execution.cost_usd = None if total is None else total.quantize(_SMALLEST_USD)
    execution.price = None if prices is None else prices.as_row()


def _attempt(execution: Execution, attempt: Try) -> ExecutionAttempt:
    error, received = attempt.error, attempt.received
    usage = received.usage if received else None
    return ExecutionAttempt(
        execution_id=execution.id,
        number=attempt.number,
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
