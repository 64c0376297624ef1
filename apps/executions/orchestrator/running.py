"""The order of one execution. Each step is a module of its own; this one only puts them in their order."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.executions.keys import time_of
from apps.executions.models import Execution, ExecutionPayload, Status
from apps.executions.orchestrator import idempotency, recording
from apps.executions.orchestrator.calling import Call, OnDelta, Target
from apps.executions.orchestrator.command import Command, Finished
from apps.executions.orchestrator.outcome import conclude
from apps.executions.orchestrator.resolution import Plan, resolve
from apps.models.models import LLMModel
from apps.models.providers.base import ModelRequest, ProviderError, Timeouts
from apps.models.services import adapter_for
from everquant.db import assert_no_transaction, release_connection, uuid7

# Beyond the deadline of the calls: recording waits for a database that restarts.
LEASE_GRACE = timedelta(seconds=60)
CRASHED = "INTERNAL"


class Prepared:
    """An execution that is stored as running and has yet to be called; or one that a repeated key has found."""

    def __init__(self, execution: Execution, payload: ExecutionPayload | None, plan: Plan | None) -> None:
        self.execution = execution
        self.payload = payload
        self.plan = plan

    @property
    def is_replay(self) -> bool:
        return self.plan is None


def execute(command: Command) -> Finished:
    """Execute and wait. Raises what `prepare` raises; a failed call is a finished execution, not an exception."""
    return run(prepare(command))


def prepare(command: Command) -> Prepared:
    """Steps 2 to 5: resolved, rendered, claimed and stored. Raises BadRequest, NotFound, Conflict.

    Room for step 4: a budget is reserved between `resolve` and the insert, in the transaction of `_insert`.
    """
    plan = resolve(command)
    if command.idempotency is None:
        return _insert(command, plan, uuid7())
    with transaction.atomic():
        execution_id, is_new = idempotency.claim(command.organization_id, command.idempotency)
        if is_new:
            return _insert(command, plan, execution_id)
    return Prepared(idempotency.stored(execution_id, command.organization_id), None, None)


def run(prepared: Prepared, on_delta: OnDelta | None = None) -> Finished:
    """Steps 6 and 7: called without a connection, recorded, committed. With `on_delta` the answer is streamed to it."""
    execution, payload, plan = prepared.execution, prepared.payload, prepared.plan
    release_connection()
    if plan is None or payload is None:
        return idempotency.wait_for(execution.id, execution.organization_id)
    assert_no_transaction()
    call = Call([_target(execution, plan, model) for model in plan.candidates], timeouts(), on_delta)
    error = None
    try:
        call.run()
    except ProviderError as failure:
        error = failure
    except BaseException:
        execution.fail(code=CRASHED, message="The server failed; it has been logged.")
        raise
    try:
        return _record(execution, payload, plan, call, error)
    finally:
        release_connection()


def _record(
    execution: Execution, payload: ExecutionPayload, plan: Plan, call: Call, error: ProviderError | None
) -> Finished:
    attempts = conclude(execution, payload, plan, call)
    if not recording.finish(execution, payload, attempts):
        return idempotency.finished(idempotency.stored(execution.id, execution.organization_id))
    return Finished(execution, payload, attempts, retry_after_s=error.retry_after_s if error else None)


def timeouts() -> Timeouts:
    """Seconds for a whole execution, retries and fallbacks included."""
    return Timeouts(
        settings.PROVIDER_CONNECT_TIMEOUT, settings.PROVIDER_FIRST_TOKEN_TIMEOUT, settings.PROVIDER_TOTAL_TIMEOUT
    )


def _insert(command: Command, plan: Plan, execution_id: UUID) -> Prepared:
    model = plan.candidates[0]
    now = timezone.now()
    execution = Execution(
        id=execution_id,
        organization_id=command.organization_id,
        source=command.source,
        status=Status.RUNNING,
        is_streamed=command.is_streamed,
        prompt_id=command.prompt_id,
        prompt_version_id=plan.version.id,
        version_number=plan.version.version_number,
        model_id=model.id,
        provider_model=model.provider_model_name,
        unit_id=command.unit_id,
        created_by_id=command.created_by_id,
        api_key_id=command.api_key_id,
        metadata=command.metadata,
        created_at=time_of(execution_id),
        started_at=now,
        lease_expires_at=now + timedelta(seconds=timeouts().total_s) + LEASE_GRACE,
    )
    payload = ExecutionPayload(
        execution=execution,
        variables=command.variables,
        messages=plan.messages,
        parameters=plan.parameters_for(model),
        tools=plan.version.tools or None,
        response_schema=plan.version.response_schema,
    )
    recording.begin(execution, payload)
    return Prepared(execution, payload, plan)


def _target(execution: Execution, plan: Plan, model: LLMModel) -> Target:
    request = ModelRequest(
        model=model.provider_model_name,
        messages=plan.messages,
        parameters=plan.parameters_for(model),
        tools=plan.version.tools or None,
        response_schema=plan.version.response_schema,
        idempotency_key=str(execution.id),
        max_output_tokens=model.max_output_tokens,
    )
    return Target(model.id, model.provider_id, request, lambda: adapter_for(model.provider))
