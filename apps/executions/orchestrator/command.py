"""What is asked of the orchestrator, and what it gives back."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apps.executions.models import Execution, ExecutionAttempt, ExecutionPayload, Source, Status
from apps.executions.orchestrator.recording import Companion

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """`fingerprint` is the hash of the request that the key was given with."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class InlinePrompt:
    """What a model is asked without a prompt of the registry. Messages and tools have OpenAI's shapes."""

    messages: list[Json]
    tools: list[Json] = field(default_factory=list)
    response_schema: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A wish to execute a prompt, named by its id or its slug, or `inline` messages, on behalf of an organization.

    One that names neither a version nor a label goes through the prompt's live A/B test. So does one that
    `is_in_test`, whose version is that of units which do not take part; `segment_metadata` is what the test's segments
    look at, if not the metadata.

    One in the background is left to a worker. `append_messages` follow the rendered ones. `cache_ttl_s` is how old an
    answer from the cache may be, None for none. `provider_key` is the provider's idempotency key, if not the
    execution's id. `deadline` is when the call ends at the latest, in seconds of `time.monotonic()`; until then one
    that `is_patient` waits for limits of its model. One that `is_limited` is sent a limit of its output as within a
    hard budget; no fallback answers one that `is_pinned`; one that `is_embedding` wants the vectors of its inline
    messages' texts, and its output is a JSON list of them. A `companion` is stored with it, and has an idempotency key.
    All these are for calls that are made at once.
    """

    organization_id: UUID
    prompt_id: UUID | None = None
    slug: str | None = None
    inline: InlinePrompt | None = None
    variables: Json = field(default_factory=dict)
    version: int | None = None
    label: str | None = None
    model_id: UUID | None = None
    parameters: Json = field(default_factory=dict)
    append_messages: list[Json] = field(default_factory=list)
    cache_ttl_s: int | None = None
    is_streamed: bool = False
    is_background: bool = False
    unit_id: str = ""
    metadata: Json = field(default_factory=dict)
    is_in_test: bool = False
    segment_metadata: Json | None = None
    source: Source = Source.API
    created_by_id: UUID | None = None
    api_key_id: UUID | None = None
    idempotency: IdempotencyClaim | None = None
    provider_key: str = ""
    workflow_id: UUID | None = None
    workflow_run_id: UUID | None = None
    deadline: float | None = None
    is_patient: bool = False
    is_limited: bool = False
    is_pinned: bool = False
    is_embedding: bool = False
    companion: Companion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a batch: its own part of the command."""

    variables: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    unit_id: str = ""


@dataclass(slots=True)
class Finished:
    """An execution with everything that was recorded of it. `retry_after_s` is what a provider asked for last."""

    execution: Execution
    payload: ExecutionPayload
    attempts: list[ExecutionAttempt]
    is_replayed: bool = False
    retry_after_s: float | None = None

    @property
    def has_succeeded(self) -> bool:
        return self.execution.status == Status.SUCCEEDED
