"""The order of one execution. Each step is a module of its own; this one only puts them in their order."""

import math
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps.executions.keys import time_of
from apps.executions.models import Execution, ExecutionPayload, Status
from apps.executions.orchestrator import budgeting, drain, idempotency, queueing, recording, response_cache
from apps.executions.orchestrator.calling import PASSING, Call, OnDelta
from apps.executions.orchestrator.command import Command, Finished, IdempotencyClaim
from apps.executions.orchestrator.embedding import EmbeddingAdapter
from apps.executions.orchestrator.leases import LEASES, lease_end
from apps.executions.orchestrator.outcome import conclude
from apps.executions.orchestrator.recording import Companion, CompanionRefused, Statement
from apps.executions.orchestrator.resolution import Plan, resolve
from apps.executions.orchestrator.response_cache import CachedAnswer
from apps.executions.orchestrator.tries import Target
from apps.models.gate import Limits
from apps.models.models import LLMModel
from apps.models.providers.base import ErrorCode, ModelRequest, ProviderError, Timeouts
from apps.models.providers.cancellation import Cancellation
from apps.models.services import adapter_for
from everquant.db import assert_no_transaction, release_connection, uuid7
from everquant.rows import new_row

CRASHED = "INTERNAL"


class Prepared:
    """An execution that is stored and has yet to be called; or one that a repeated key has found.

    `cached` is an answer that the response cache has for it; `cancellation` stops its call. Of `deadline` and
    `is_patient` see Command. `companion` is one that has been stored with it, and may be with its end.
    """

    deadline = math.inf
    is_patient = False
    companion: Companion | None = None

    def __init__(
        self,
        execution: Execution,
        payload: ExecutionPayload | None,
        plan: Plan | None,
        cached: CachedAnswer | None = None,
    ) -> None:
        self.execution = execution
        self.payload = payload
        self.plan = plan
        self.cached = cached
        self.cancellation = Cancellation()

    @property
    def is_replay(self) -> bool:
        return self.plan is None


def execute(command: Command) -> Finished:
    """Execute and wait. Raises what `prepare` raises; a failed call is a finished execution, not an exception."""
    return run(prepare(command))


def prepare(command: Command) -> Prepared:
    """Steps 2 to 5: resolved, rendered, claimed, reserved and stored.

    Raises BadRequest, NotFound, Conflict, BudgetExceeded, CompanionRefused.
    """
    plan = resolve(command)
    if command.idempotency is None and not command.is_background:
        return _insert(command, plan, uuid7())
    if command.idempotency is not None and not command.is_background and not connection.in_atomic_block:
        prepared = _insert_claiming(command, plan, command.idempotency)
        if prepared is not None:
            return prepared
    with transaction.atomic():
        execution_id, is_new = _claim(command)
        if is_new:
            prepared = _insert(command, plan, execution_id)
            if command.is_background:
                queueing.call_runners(command.organization_id, 1)
            return prepared
    return _bound(Prepared(idempotency.stored(execution_id, command.organization_id), None, None), command)


def run(prepared: Prepared, on_delta: OnDelta | None = None, before_end: Callable[[], None] | None = None) -> Finished:
    """Steps 6 and 7: called without a connection, recorded, committed. With `on_delta` the answer is streamed to it.

    `before_end` is called between the call and its recording. One in the background that the end of the process has
    stopped may be queued again when this returns.
    """
    execution, payload, plan = prepared.execution, prepared.payload, prepared.plan
    release_connection()
    if plan is None or payload is None:
        return idempotency.wait_for(execution.id, execution.organization_id, prepared.deadline, prepared.cancellation)
    assert_no_transaction()
    targets = [_target(execution, plan, model) for model in plan.candidates]
    is_patient = execution.is_background or prepared.is_patient
    patience_s = settings.BACKGROUND_PATIENCE if is_patient else 0.0
    repairs = settings.STRUCTURED_OUTPUT_REPAIRS
    # A caller that waits itself can do something else while a provider is out of order.
    waits_for = PASSING if execution.is_background else frozenset({ErrorCode.MODEL_LIMIT})
    stop = prepared.cancellation
    call = Call(targets, timeouts(), on_delta, stop, repairs, patience_s, prepared.deadline, waits_for)
    cached = prepared.cached
    with LEASES.hold(execution.id, prepared.cancellation):
        error = _make(call, execution, cached)
        try:
            if before_end is not None:
                before_end()
            finished = _record(prepared, payload, plan, call, error)
        finally:
            release_connection()
    if finished.execution is execution:
        answering = next(target for target in targets if target.model_id == execution.model_id)
        response_cache.keep(execution, payload, answering)
    return finished


def _claim(command: Command) -> tuple[UUID, bool]:
    if command.idempotency is None:
        return uuid7(), True
    return idempotency.claim(command.organization_id, command.idempotency)


def _make(call: Call, execution: Execution, cached: CachedAnswer | None) -> ProviderError | None:
    try:
        if cached is None:
            call.run()
        elif call.on_delta is not None:
            call.on_delta(cached.as_delta())
    except ProviderError as failure:
        return failure
    except BaseException:
        recording.fail(execution, code=CRASHED, message="The server failed; it has been logged.")
        raise
    return None


def _record(
    prepared: Prepared, payload: ExecutionPayload, plan: Plan, call: Call, error: ProviderError | None
) -> Finished:
    execution = prepared.execution
    if drain.may_be_handed_back(execution, call) and drain.hand_back(execution, call):
        return Finished(execution, payload, [])
    if prepared.cached is None:
        attempts = conclude(execution, payload, plan, call)
    else:
        attempts = response_cache.conclude(execution, payload, prepared.cached)
    if not recording.finish(execution, payload, attempts, prepared.companion):
        return idempotency.finished(idempotency.stored(execution.id, execution.organization_id))
    return Finished(execution, payload, attempts, retry_after_s=error.retry_after_s if error else None)


def timeouts() -> Timeouts:
    """Seconds for a whole execution, retries and fallbacks included."""
    return Timeouts(
        settings.PROVIDER_CONNECT_TIMEOUT, settings.PROVIDER_FIRST_TOKEN_TIMEOUT, settings.PROVIDER_TOTAL_TIMEOUT
    )


def _insert_claiming(command: Command, plan: Plan, given: IdempotencyClaim) -> Prepared | None:
    """With its key, in one statement; None when the key is taken."""
    execution_id = uuid7()
    claim = idempotency.claiming(command.organization_id, given, execution_id, command.companion)
    try:
        prepared = _insert(command, plan, execution_id, claim)
    except IntegrityError as error:
        if idempotency.is_refused(error):
            raise CompanionRefused from None
        if not idempotency.is_taken(error):
            raise
        return None
    if command.companion is not None:
        command.companion.note_begin()
        prepared.companion = command.companion
    return prepared


def _insert(command: Command, plan: Plan, execution_id: UUID, claim: Statement | None = None) -> Prepared:
    model = plan.candidates[0]
    execution = new_row(
        Execution,
        id=execution_id,
        organization_id=command.organization_id,
        source=command.source,
        is_streamed=command.is_streamed,
        is_background=command.is_background,
        prompt_id=plan.version.prompt_id,
        prompt_version_id=plan.version.id,
        version_number=plan.version.version_number,
        model_id=model.id,
        provider_model=model.provider_model_name,
        unit_id=command.unit_id,
        **plan.ab_columns,
        created_by_id=command.created_by_id,
        api_key_id=command.api_key_id,
        metadata=command.metadata,
        workflow_id=command.workflow_id,
        workflow_run_id=command.workflow_run_id,
        created_at=time_of(execution_id),
        **_first_state(command),
    )
    payload = new_row(
        ExecutionPayload,
        execution=execution,
        variables=command.variables,
        messages=plan.messages,
        parameters=plan.parameters_for(model),
        tools=plan.version.tools or None,
        response_schema=plan.version.response_schema,
        cache_ttl_s=command.cache_ttl_s,
    )
    return _bound(hold(execution, payload, plan, is_new=True, claim=claim), command)


def _bound(prepared: Prepared, command: Command) -> Prepared:
    if command.deadline is not None:
        prepared.deadline = command.deadline
    prepared.is_patient = command.is_patient
    return prepared


def hold(
    execution: Execution,
    payload: ExecutionPayload,
    plan: Plan,
    *,
    is_new: bool = False,
    claim: Statement | None = None,
) -> Prepared:
    """Reserved, unless the response cache has its answer; a new one is stored with that and with the claim of its key.

    Raises BudgetExceeded.
    """
    held, model = budgeting.Hold(execution, plan), plan.candidates[0]
    cached = response_cache.find(payload, lambda: _target(execution, held.plan, model))
    is_queued = execution.status == Status.QUEUED
    parameters = payload.parameters if is_queued else held.plan.parameters_for(model)
    is_free = cached is not None
    with held.reserved(is_new=is_new, is_free=is_free, is_claimed=claim is not None) as reservation:
        if is_new:
            payload.parameters = parameters
            recording.begin(execution, payload, reservation, claim)
        else:
            recording.begin_again(payload, parameters, reservation)
    payload.parameters = parameters
    return Prepared(execution, payload, held.plan, cached)


def _first_state(command: Command) -> dict[str, Any]:
    if command.is_background:
        return {"status": Status.QUEUED}
    return {"status": Status.RUNNING, "started_at": timezone.now(), "lease_expires_at": lease_end()}


def _target(execution: Execution, plan: Plan, model: LLMModel) -> Target:
    request = ModelRequest(
        model=model.provider_model_name,
        messages=plan.messages,
        parameters=plan.parameters_for(model),
        tools=plan.version.tools or None,
        response_schema=plan.version.response_schema,
        idempotency_key=plan.provider_key or str(execution.id),
        max_output_tokens=model.max_output_tokens,
    )
    limits = Limits(model.max_concurrency, model.requests_per_minute, model.tokens_per_minute)
    return Target(
        execution.organization_id,
        model.id,
        model.provider_id,
        request,
        lambda: EmbeddingAdapter(adapter_for(model.provider)) if plan.is_embedding else adapter_for(model.provider),
        limits,
        f"{model.provider.kind} {model.provider.base_url}",
    )
