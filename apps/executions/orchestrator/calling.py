"""Step 6: the one retry loop. No database here: nothing of it may be held while a provider is waited for."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from apps.models.providers.base import (
    Completion,
    Delta,
    ErrorCode,
    ModelRequest,
    ProviderAdapter,
    ProviderError,
    Timeouts,
)
from apps.models.providers.cancellation import Cancellation

TRIES_PER_MODEL = 3
BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 8.0
RETRY_AFTER_MAX_S = 60.0

OnDelta = Callable[[Delta], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A model that may answer: the request for it (without timeouts), and how to reach its provider."""

    model_id: UUID
    provider_id: UUID
    request: ModelRequest
    adapter: Callable[[], ProviderAdapter]


@dataclass(slots=True)
class Try:
    """One request to a provider and how it ended: with a completion or with an error.

    `was_asked` is False for one that was cancelled before the provider had heard of it.
    """

    number: int
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


@dataclass(slots=True)
class Call:
    """One execution's way through the tries of its models, in order, within one deadline for all of them.

    With `on_delta` the answer is streamed to it; `cancellation` stops it. Afterwards `tries` tells of each,
    `latency_ms` and `first_token_ms` count from the start of the first.
    """

    targets: Sequence[Target]
    timeouts: Timeouts
    on_delta: OnDelta | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)
    tries: list[Try] = field(default_factory=list)
    latency_ms: int = 0
    first_token_ms: int | None = None
    _started: float = 0.0

    def run(self) -> Completion:
        """Raises the last try's ProviderError."""
        self._started = time.monotonic()
        try:
            return self._run()
        finally:
            self.latency_ms = _milliseconds(time.monotonic() - self._started)

    def _run(self) -> Completion:
        for target in self.targets:
            try:
                return self._run_target(target)
            except ProviderError as error:
                if target is self.targets[-1] or not may_fall_back(error) or self._remaining_s() <= 0:
                    raise
        raise ValueError("a call needs a target")

    def _run_target(self, target: Target) -> Completion:
        tries = 1
        while True:
            try:
                return self._try(target)
            except ProviderError as error:
                pause_s = backoff_s(error, tries)
                if not error.retryable or tries >= TRIES_PER_MODEL or pause_s is None or pause_s >= self._remaining_s():
                    raise
            self.cancellation.pause(pause_s)
            tries += 1

    def _try(self, target: Target) -> Completion:
        current = Try(len(self.tries) + 1, target, timezone.now())
        self.tries.append(current)
        before_s = time.monotonic() - self._started
        try:
            current.was_asked = not self.cancellation.is_requested
            current.completion = self._ask(target)
        except ProviderError as error:
            current.error = error.cancelled() if self.cancellation.is_requested else error
            raise current.error from None
        finally:
            current.latency_ms = _milliseconds(time.monotonic() - self._started - before_s)
            if current.received is not None and current.received.first_token_ms is not None:
                current.first_token_ms = current.received.first_token_ms
                self.first_token_ms = _milliseconds(before_s) + current.first_token_ms
        return current.completion

    def _ask(self, target: Target) -> Completion:
        if self.cancellation.is_requested:
            raise ProviderError(ErrorCode.CANCELLED, "The call was cancelled.")
        request = replace(target.request, timeouts=self._timeouts_now(), cancellation=self.cancellation)
        if self.on_delta is None:
            return target.adapter().complete(request)
        return _consume(target.adapter().stream(request), self.on_delta)

    def _remaining_s(self) -> float:
        return self.timeouts.total_s - (time.monotonic() - self._started)

    def _timeouts_now(self) -> Timeouts:
        remaining_s = max(self._remaining_s(), 0.001)
        return Timeouts(
            connect_s=min(self.timeouts.connect_s, remaining_s),
            first_token_s=min(self.timeouts.first_token_s, remaining_s),
            total_s=remaining_s,
        )


def may_fall_back(error: ProviderError) -> bool:
    """Not once a token has come; nor when a provider refused the request itself, which every model would."""
    if error.code == ErrorCode.CANCELLED:
        return False
    return not error.started and not (error.code == ErrorCode.INVALID_REQUEST and error.status is not None)


def backoff_s(error: ProviderError, tries: int) -> float | None:
    """Seconds to wait after `tries` failed tries: what the provider asks for, else exponential with full jitter.

    None when the provider asks for more than RETRY_AFTER_MAX_S.
    """
    if error.retry_after_s is not None:
        return error.retry_after_s if error.retry_after_s <= RETRY_AFTER_MAX_S else None
    ceiling_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (tries - 1))
    return random.uniform(0, ceiling_s)  # noqa: S311 (spreads load, keeps no secret)


def _consume(deltas: Iterator[Delta], on_delta: OnDelta) -> Completion:
    for delta in deltas:
        if delta.completion is not None:
            return delta.completion
        on_delta(delta)
    raise ProviderError(ErrorCode.INVALID_RESPONSE, "The provider's answer ended before its end.")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
