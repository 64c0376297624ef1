"""An execution as it is answered and streamed: plain values made once, without a serializer for each."""

from typing import TYPE_CHECKING, Any

import orjson

from apps.executions.models import Execution, ExecutionAttempt, ExecutionPayload, Status

if TYPE_CHECKING:
    from apps.executions.orchestrator import Finished

Json = dict[str, Any]

_BEFORE_CALL = (
    "id", "organization_id", "prompt_id", "prompt_version_id", "version_number", "model_id", "provider_model", "source",
    "is_streamed", "is_background", "batch_id", "batch_row", "retry_of_id", "workflow_id", "workflow_run_id",
    "unit_id", "metadata", "ab_test_id", "ab_variant", "ab_phase", "created_by_id", "api_key_id", "created_at",
    "started_at",
)  # fmt: skip
_SAID = ("variables", "messages", "parameters", "tools", "response_schema", "cache_ttl_s")


def summarize(execution: Execution) -> Json:
    """What a list shows: everything but what is large."""
    return {
        "id": execution.id,
        "prompt_id": execution.prompt_id,
        "prompt_version_id": execution.prompt_version_id,
        "version_number": execution.version_number,
        "model_id": execution.model_id,
        "provider_model": execution.provider_model,
        "status": execution.status,
        "source": execution.source,
        "is_streamed": execution.is_streamed,
        "is_background": execution.is_background,
        "batch_id": execution.batch_id,
        "batch_row": execution.batch_row,
        "retry_of_id": execution.retry_of_id,
        "workflow_id": execution.workflow_id,
        "workflow_run_id": execution.workflow_run_id,
        "unit_id": execution.unit_id or None,
        "metadata": execution.metadata,
        "finish_reason": execution.finish_reason or None,
        "error": _error(execution.error_code, execution.error_message),
        "input_tokens": execution.input_tokens,
        "cached_input_tokens": execution.cached_input_tokens,
        "cache_write_tokens": execution.cache_write_tokens,
        "cache_write_1h_tokens": execution.cache_write_1h_tokens,
        "output_tokens": execution.output_tokens,
        "reasoning_tokens": execution.reasoning_tokens,
        "cost_usd": None if execution.cost_usd is None else f"{execution.cost_usd:f}",
        "price": execution.price,
        "is_usage_estimated": execution.is_usage_estimated,
        "is_cached": execution.is_cached,
        "saved_cost_usd": None if execution.saved_cost_usd is None else f"{execution.saved_cost_usd:f}",
        "queue_ms": execution.queue_ms,
        "latency_ms": execution.latency_ms,
        "first_token_ms": execution.first_token_ms,
        "attempt_count": execution.attempt_count,
        "ab_test": _ab_test(execution),
        "created_by": execution.created_by_id,
        "api_key_id": execution.api_key_id,
        "created_at": execution.created_at,
        "started_at": execution.started_at,
        "finished_at": execution.finished_at,
        "cancel_requested_at": execution.cancel_requested_at,
    }


def represent(execution: Execution, payload: ExecutionPayload, attempts: list[ExecutionAttempt]) -> Json:
    return {
        **summarize(execution),
        "is_payload_purged": payload.is_purged,
        "variables": payload.variables,
        "messages": payload.messages,
        "parameters": payload.parameters,
        "tools": payload.tools,
        "response_schema": payload.response_schema,
        "cache_ttl_s": payload.cache_ttl_s,
        "output": payload.output,
        "output_json": _output_json(execution, payload),
        "tool_calls": payload.tool_calls,
        "attempts": [_attempt(attempt) for attempt in attempts],
    }


def represent_finished(finished: "Finished") -> Json:
    return represent(finished.execution, finished.payload, finished.attempts)


def represent_stored(execution: Execution) -> Json:
    """Of a row of `whole()`."""
    return represent(execution, execution.kept_payload, list(execution.attempts.all()))


def end_event(execution: Execution) -> str:
    """The name of the last event of a stream."""
    names = {Status.SUCCEEDED: "completed", Status.FAILED: "failed", Status.CANCELLED: "cancelled"}
    return f"execution.{names[Status(execution.status)]}"


def represent_start(execution: Execution) -> Json:
    """A row of `whole()` as it was when its call began."""
    begun = Execution(**{name: getattr(execution, name) for name in _BEFORE_CALL}, status=Status.RUNNING)
    kept = execution.kept_payload
    payload = ExecutionPayload(execution=begun, **{name: getattr(kept, name) for name in _SAID})
    payload.is_purged = kept.is_purged
    return represent(begun, payload, [])


def _output_json(execution: Execution, payload: ExecutionPayload) -> Any:
    """The value of an answer that fits its schema; None for one that has none or made do with calls of tools."""
    if payload.response_schema is None or execution.status != Status.SUCCEEDED or not payload.output:
        return None
    try:
        return orjson.loads(payload.output)
    except orjson.JSONDecodeError:
        return None


def _attempt(attempt: ExecutionAttempt) -> Json:
    return {
        "number": attempt.number,
        "model_id": attempt.model_id,
        "provider_id": attempt.provider_id,
        "provider_model": attempt.provider_model,
        "status": attempt.status,
        "error": _error(attempt.error_code, attempt.error_message),
        "provider_request_id": attempt.provider_request_id or None,
        "latency_ms": attempt.latency_ms,
        "first_token_ms": attempt.first_token_ms,
        "input_tokens": attempt.input_tokens,
        "output_tokens": attempt.output_tokens,
        "started_at": attempt.started_at,
    }


def _ab_test(execution: Execution) -> Json | None:
    if execution.ab_test_id is None:
        return None
    return {"id": execution.ab_test_id, "variant": execution.ab_variant, "phase": execution.ab_phase}


def _error(code: str, message: str) -> Json | None:
    return {"code": code, "message": message} if code else None
