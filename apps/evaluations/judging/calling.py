"""How evaluators call models: through the orchestrator, so that each call is recorded, limited and paid for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.evaluations.judging.failing import failure_of, refusal
from apps.executions import orchestrator
from apps.executions.models import INTERRUPTED, Source
from apps.executions.orchestrator import Command, Finished, IdempotencyClaim, InlinePrompt
from apps.executions.orchestrator.embedding import embedding_messages, vectors_of
from apps.executions.orchestrator.forecast import most_cost_of
from apps.models.providers.cancellation import Cancellation
from apps.workflows.evaluating import Answer, Caller, Vectors
from everquant.api.errors import ApiError
from everquant.db import release_connection

# Of one call whose process dies each time.
MAX_BEGINNINGS = 3

Allow = Callable[[Decimal | None], None]


def caller_for(
    *,
    organization_id: UUID,
    created_by_id: UUID | None,
    api_key_id: UUID | None,
    key_prefix: str,
    deadline: float | None = None,
    cancellation: Cancellation | None = None,
    allow: Allow | None = None,
    metadata: dict[str, Any] | None = None,
) -> Caller:
    """Calls on behalf of these, each made once for its key after `key_prefix`, however often it is asked for.

    `deadline` is when all of them end at the latest, in seconds of `time.monotonic()`. `allow` is given the most that a
    call can cost, in USD and None where no price is known, and refuses it with an EvaluationError: then it is not made.
    `metadata` is that of the executions.
    """
    command = Command(
        organization_id=organization_id,
        source=Source.JUDGE,
        created_by_id=created_by_id,
        api_key_id=api_key_id,
        deadline=deadline,
        is_patient=True,
        is_pinned=True,
        is_limited=allow is not None,
        metadata=metadata or {},
    )
    return _Orchestrated(command, key_prefix, cancellation or Cancellation(), allow)


@dataclass(frozen=True, slots=True)
class _Orchestrated:
    """What is common to the calls, and what each adds to it."""

    common: Command
    key_prefix: str
    cancellation: Cancellation
    allow: Allow | None = field(default=None)

    def ask(
        self,
        *,
        key: str,
        model_id: UUID,
        messages: list[dict[str, Any]],
        response_schema: dict[str, Any] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Answer:
        inline = InlinePrompt(messages, response_schema=response_schema)
        finished = self._call(key, replace(self.common, inline=inline, model_id=model_id, parameters=parameters or {}))
        return Answer(finished.payload.output or "", finished.execution.id, finished.execution.cost_usd)

    def embed(self, *, key: str, model_id: UUID, texts: Sequence[str]) -> Vectors:
        inline = InlinePrompt(embedding_messages(texts))
        finished = self._call(key, replace(self.common, inline=inline, model_id=model_id, is_embedding=True))
        execution = finished.execution
        return Vectors(vectors_of(finished.payload.output or "[]"), execution.id, execution.cost_usd)

    def _call(self, key: str, command: Command) -> Finished:
        """One that another process has begun and not ended is begun again; the provider is told that it is the same."""
        provider_key = _digest(self.key_prefix, key)
        for beginning in range(MAX_BEGINNINGS):
            claim = _digest(self.key_prefix, key, *[str(beginning)] * bool(beginning))
            claimed = replace(command, idempotency=IdempotencyClaim(f"judge:{claim}", claim), provider_key=provider_key)
            finished = self._once(claimed)
            if not (finished.is_replayed and finished.execution.error_code == INTERRUPTED):
                break
        if not finished.has_succeeded:
            raise failure_of(finished)
        return finished

    def _once(self, command: Command) -> Finished:
        try:
            if self.allow is not None:
                self.allow(most_cost_of(command, timezone.now()))
            prepared = orchestrator.prepare(command)
            with self.cancellation.includes(prepared.cancellation):
                return orchestrator.run(prepared)
        except ApiError as error:
            raise refusal(error, self.cancellation) from error
        finally:
            release_connection()


def _digest(*parts: str) -> str:
    """Prefixes and keys may be longer than what is claimed."""
    return sha256("\0".join(parts).encode()).hexdigest()
