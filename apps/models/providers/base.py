"""What every provider adapter takes, returns and raises. Pure: no Django, no database."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from apps.models.providers.cancellation import Cancellation

Json = dict[str, Any]

RETRYABLE_STATUSES = frozenset({408, 409, 429})
MESSAGE_LIMIT = 500


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"


class ErrorCode(StrEnum):
    RATE_LIMITED = "RATE_LIMITED"
    TIMEOUT_CONNECT = "TIMEOUT_CONNECT"
    TIMEOUT_FIRST_TOKEN = "TIMEOUT_FIRST_TOKEN"  # noqa: S105 - a timeout's name, no secret
    TIMEOUT_TOTAL = "TIMEOUT_TOTAL"
    CONNECTION = "CONNECTION"
    HTTP_5XX = "HTTP_5XX"
    INVALID_REQUEST = "INVALID_REQUEST"
    AUTHENTICATION = "AUTHENTICATION"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    INVALID_RESPONSE = "INVALID_RESPONSE"
    TOO_LARGE = "TOO_LARGE"
    BLOCKED_ADDRESS = "BLOCKED_ADDRESS"
    UNSUPPORTED = "UNSUPPORTED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    MODEL_LIMIT = "MODEL_LIMIT"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    INVALID_OUTPUT = "INVALID_OUTPUT"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds from the start of one attempt.

    `first_token_s` holds for streams. An answer that is not streamed arrives in one piece after its last token, so
    that only `connect_s` and `total_s` hold for it.
    """

    connect_s: float = 5.0
    first_token_s: float = 60.0
    total_s: float = 300.0


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call in the form of OpenAI's chat completions, which adapters translate.

    `messages`, `tools` and `parameters` have OpenAI's shapes; `response_schema` is a bare JSON Schema.
    `max_output_tokens` is the model's own limit, for protocols that demand one when `parameters` name none.
    `cancellation` ends the call from another thread.
    """

    model: str
    messages: list[Json]
    parameters: Json = field(default_factory=dict)
    tools: list[Json] | None = None
    response_schema: Json | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    idempotency_key: str | None = None
    max_output_tokens: int | None = None
    cancellation: Cancellation | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in disjoint buckets: their sum is everything the provider charges for.

    `cache_write_1h_tokens` are those that Anthropic keeps for an hour, at a price of their own.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def whole_input(self) -> int:
        return self.input_tokens + self.cached_input_tokens + self.cache_write_tokens + self.cache_write_1h_tokens

    @property
    def total(self) -> int:
        return self.whole_input + self.output_tokens + self.reasoning_tokens


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer. `tool_calls` are in OpenAI's form: `{id, type, function: {name, arguments}}`.

    `usage` is None when the provider did not say; `first_token_ms` is None for an answer that was not streamed.
    """

    text: str
    tool_calls: list[Json] = field(default_factory=list)
    finish_reason: FinishReason = FinishReason.OTHER
    usage: Usage | None = None
    first_token_ms: int | None = None
    provider_request_id: str | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class ToolCallFragment:
    """A piece of the tool call at `index`; `id` and `name` come with its first piece, `arguments` is to be appended."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a stream. The last one, and only that one, carries the whole `completion`."""

    text: str = ""
    tool_calls: tuple[ToolCallFragment, ...] = ()
    completion: Completion | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """One vector for each text, in the order of the texts."""

    vectors: list[list[float]]
    usage: Usage | None = None
    provider_request_id: str | None = None
    model: str = ""


class ProviderError(Exception):
    """The only exception that adapters raise for a failed call.

    `started` says that a token had arrived, after which nothing may be retried; `partial` then holds what came.
    The message is safe to show and to log: it never holds the key.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        status: int | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        started: bool = False,
        partial: Completion | None = None,
    ) -> None:
        self.code = code
        self.message = message[:MESSAGE_LIMIT]
        self.status = status
        self.retryable = retryable and not started
        self.retry_after_s = retry_after_s
        self.started = started
        self.partial = partial
        super().__init__(f"{code}: {self.message}")

    def interrupted(self, partial: Completion) -> "ProviderError":
        """The same failure after the first token."""
        return ProviderError(
            self.code, self.message, status=self.status, retry_after_s=self.retry_after_s, started=True, partial=partial
        )

    def stopped(self, cancellation: Cancellation) -> "ProviderError":
        """What the failure is called when it was us who stopped the call."""
        code, message = ErrorCode.CANCELLED, "The call was cancelled."
        if cancellation.is_interruption:
            code, message = ErrorCode.INTERRUPTED, "The process that made the call was told to stop."
        return ProviderError(code, message, started=self.started, partial=self.partial)


class ProviderAdapter(ABC):
    """Safe to share between threads. Closing a stream's generator closes its connection."""

    kind: str

    @abstractmethod
    def complete(self, request: ModelRequest) -> Completion:
        """Raises ProviderError."""

    @abstractmethod
    def stream(self, request: ModelRequest) -> Iterator[Delta]:
        """Raises ProviderError, from the first `next()` on."""

    def embed(self, model: str, texts: list[str], timeouts: Timeouts | None = None) -> EmbeddingResult:
        """Raises ProviderError."""
        raise ProviderError(ErrorCode.UNSUPPORTED, f"Providers of the kind {self.kind} have no embeddings.")
