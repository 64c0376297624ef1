"""A node's call of a model: one execution for each attempt, however often the attempt is begun."""

from hashlib import sha256
from typing import Any

import orjson

from apps.executions import orchestrator
from apps.executions.models import INTERRUPTED, Execution, ExecutionPayload, Source, Status
from apps.executions.orchestrator import Command, Finished, IdempotencyClaim, Statement
from apps.models.providers.base import ErrorCode
from apps.prompts.rendering import PromptError
from apps.prompts.rendering.messages import check_messages
from apps.workflows.nodes.base import NodeCall, NodeFailure, Records, Result, Usage
from apps.workflows.nodes.repeating import stable_key
from apps.workflows.nodes.resolving import storable
from everquant.api.errors import ApiError, ServiceUnavailable
from everquant.cache import prefetching
from everquant.db import release_connection

_RETRYABLE = frozenset(
    {
        ErrorCode.RATE_LIMITED, ErrorCode.TIMEOUT_CONNECT, ErrorCode.TIMEOUT_FIRST_TOKEN, ErrorCode.TIMEOUT_TOTAL,
        ErrorCode.CONNECTION, ErrorCode.HTTP_5XX, ErrorCode.CONFLICT, ErrorCode.MODEL_LIMIT, ErrorCode.CIRCUIT_OPEN,
        ErrorCode.INVALID_OUTPUT, ErrorCode.INTERRUPTED,
    }
)  # fmt: skip
MESSAGE_LENGTH = 500


def ask(call: NodeCall, wish: dict[str, Any], said: Any, *, is_streamed: bool) -> Result:
    """Execute this wish (the fields of a Command) on behalf of the run. `said` is the step's input.

    Raises NodeFailure with the execution's error code.
    """
    companion = _Companion(call.records, said) if call.records is not None else None
    command = _command(call, {**wish, "companion": companion}, is_streamed=is_streamed)
    try:
        with prefetching(orchestrator.names_to_prefetch(command.organization_id), str(call.run.id)):
            prepared = orchestrator.prepare(command)
            if call.records is not None:
                call.records.begin()
            with call.cancellation.includes(prepared.cancellation):
                finished = orchestrator.run(prepared, call.emit if is_streamed else None)
    except ApiError as error:
        raise _refusal(call, error, said) from error
    finally:
        release_connection()
    if not finished.has_succeeded:
        raise _failure(finished, said)
    if companion is not None and companion.result is not None:
        return companion.result
    return _result(finished.execution, finished.payload, said)


class _Companion:
    """The records of the node's attempt, in the statements of its execution."""

    def __init__(self, records: Records, said: Any) -> None:
        self._records, self._said = records, said
        self.result: Result | None = None
        self.begin, self.note_begin, self.note_end = (
            records.begin_with_call, records.note_begin, records.note_success,
        )  # fmt: skip

    def end(self, execution: Execution, payload: ExecutionPayload) -> Statement | None:
        """What failed is the engine's to judge and to record; so is an answer that is no result, once it is stored."""
        if execution.status != Status.SUCCEEDED:
            return None
        try:
            self.result = _result(execution, payload, self._said)
            return self._records.succeed_with_call(self.result)
        except (NodeFailure, ValueError, TypeError):
            return None


def checked_messages(messages: Any) -> list[dict[str, Any]]:
    """Raises NodeFailure."""
    if messages == []:
        return []
    try:
        check_messages(messages)
    except PromptError as error:
        told = "; ".join(f"{path}: {why}" for path, why in error.details.items())
        raise NodeFailure("BAD_REQUEST", told[:MESSAGE_LENGTH]) from error
    checked: list[dict[str, Any]] = messages
    return checked


def _command(call: NodeCall, wish: dict[str, Any], *, is_streamed: bool) -> Command:
    run = call.run
    claim = "workflow:" + _digest(call.key)
    return Command(
        organization_id=run.organization_id,
        source=Source.WORKFLOW,
        is_streamed=is_streamed,
        metadata={"node": call.path},
        created_by_id=run.created_by_id,
        api_key_id=run.api_key_id,
        idempotency=IdempotencyClaim(claim, _digest(call.key)),
        provider_key=_digest(stable_key(call)),
        workflow_id=run.workflow_id,
        workflow_run_id=run.id,
        deadline=call.deadline,
        is_patient=True,
        **wish,
    )


def _digest(key: str) -> str:
    """Paths may be longer than keys."""
    return sha256(key.encode()).hexdigest()


def _result(execution: Execution, payload: ExecutionPayload, said: Any) -> Result:
    return Result(_output(payload), input=said, execution_id=execution.id, usage=_usage(execution))


def _output(payload: ExecutionPayload) -> Any:
    text = payload.output or ""
    if payload.tool_calls:
        return storable({"text": text, "tool_calls": payload.tool_calls})
    if payload.response_schema is None:
        return storable(text)
    return storable(orjson.loads(text))


def _usage(execution: Execution) -> Usage:
    parts = (
        execution.input_tokens, execution.cached_input_tokens, execution.cache_write_tokens,
        execution.cache_write_1h_tokens,
    )  # fmt: skip
    if execution.input_tokens is None:
        return Usage(cost_usd=execution.cost_usd)
    output = (execution.output_tokens or 0) + (execution.reasoning_tokens or 0)
    return Usage(sum(part or 0 for part in parts), output, execution.cost_usd)


def _refusal(call: NodeCall, error: ApiError, said: Any) -> NodeFailure:
    """Of what was not called, or is still being called by another worker."""
    if call.cancellation.is_requested:
        code = INTERRUPTED if call.cancellation.is_interruption else ErrorCode.CANCELLED.value
        return NodeFailure(code, "The call was stopped.", is_retryable=code == INTERRUPTED, input=said)
    if "execution_id" in error.details:
        return NodeFailure(ErrorCode.TIMEOUT_TOTAL.value, error.message, is_retryable=True, input=said)
    told = "; ".join(f"{path}: {why}" for path, why in error.details.items())
    message = f"{error.message} {told}".strip()[:MESSAGE_LENGTH]
    return NodeFailure(error.code, message, is_retryable=isinstance(error, ServiceUnavailable), input=said)


def _failure(finished: Finished, said: Any) -> NodeFailure:
    execution = finished.execution
    return NodeFailure(
        execution.error_code or ErrorCode.CANCELLED.value,
        execution.error_message or "The call was cancelled.",
        is_retryable=execution.error_code in _RETRYABLE,
        retry_after_s=finished.retry_after_s,
        input=said,
        execution_id=execution.id,
        usage=_usage(execution),
    )
