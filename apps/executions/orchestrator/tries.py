"""A call's models and what became of each request to them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.models.gate import Limits
from apps.models.providers.base import Completion, ModelRequest, ProviderAdapter, ProviderError

NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Target:
    """A model that may answer: the request for it (without timeouts), how to reach its provider, and its limits.

    `server` tells apart what answers under the provider's id: its kind and address.
    """

    organization_id: UUID
    model_id: UUID
    provider_id: UUID
    request: ModelRequest
    adapter: Callable[[], ProviderAdapter]
    limits: Limits = NO_LIMITS
    server: str = ""


@dataclass(slots=True)
class Try:
    """One request to a provider and how it ended: with a completion or with an error.

    `was_asked` is False for one that the provider has never heard of: cancelled or refused before it was sent.
    """

    target: Target
    started_at: datetime
    latency_ms: int = 0
    first_token_ms: int | None = None
    completion: Completion | None = None
    error: ProviderError | None = None
    was_asked: bool = True

    @property
    def received(self) -> Completion | None:
        """The whole answer, or what had come of it before it failed."""
        return self.completion or (self.error.partial if self.error else None)

    @property
    def used_tokens(self) -> int | None:
        """In all buckets; None when the provider has not told."""
        received = self.received
        return received.usage.total if received and received.usage else None
