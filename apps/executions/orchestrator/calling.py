"""Step 6: the one retry loop. No database here: nothing of it may be held while a provider is waited for."""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from django.utils import timezone

from apps.executions.orchestrator import admission, structured
from apps.executions.orchestrator.tries import Target, Try
from apps.models.gate import Pass
from apps.models.providers.base import Completion, Delta, ErrorCode, ProviderError, Timeouts
from apps.models.providers.cancellation import Cancellation

TRIES_PER_MODEL = 3
BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 8.0
RETRY_AFTER_MAX_S = 60.0

# What ends by itself: nobody has been asked.
PASSING = frozenset({ErrorCode.CIRCUIT_OPEN, ErrorCode.MODEL_LIMIT})

OnDelta = Callable[[Delta], None]


@dataclass(slots=True)
class Call:
    """One execution's way through the tries of its models, in order, within one deadline for all of them.

    With `on_delta` the answer is streamed to it; `cancellation` stops it. An answer that does not fit its schema is
    asked for again `repairs` times, unless it was streamed. With `patience_s` it waits so long in all for what is in
    `waits_for` to pass before it fails for it, and the timeouts do not count this. `deadline`, in seconds of
    `time.monotonic()`, counts everything. Afterwards `tries` tells of each.
    `latency_ms` and `first_token_ms` count from the start of the first, without `queue_ms`, for which it waited.
    """

    targets: Sequence[Target]
    timeouts: Timeouts
    on_delta: OnDelta | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)
    repairs: int = 0
    patience_s: float = 0.0
    deadline: float = math.inf
    waits_for: frozenset[ErrorCode] = PASSING
    tries: list[Try] = field(default_factory=list)
    latency_ms: int = 0
    first_token_ms: int | None = None
    _started: float = 0.0
    _queued_s: float = 0.0

    def run(self) -> Completion:
        """Raises the last try's ProviderError."""
        self._started = time.monotonic()
        try:
            return self._run()
        finally:
            self.latency_ms = _milliseconds(time.monotonic() - self._started - self._queued_s)

    @property
    def queue_ms(self) -> int:
        return _milliseconds(self._queued_s)

    def _run(self) -> Completion:
        while True:
            try:
                return self._run_targets()
            except ProviderError as error:
                pause_s = (error.retry_after_s or 1.0) * random.uniform(1, 1.5)  # noqa: S311 (spreads load, keeps no secret)
                may_wait = self._queued_s + pause_s <= self.patience_s and time.monotonic() + pause_s < self.deadline
                if error.code not in self.waits_for or not may_wait:
                    raise
            self._wait(pause_s)

    def _wait(self, pause_s: float) -> None:
        """What was refused before it was sent leaves no trace: it is asked again."""
        self.tries = [current for current in self.tries if current.was_asked]
        began = time.monotonic()
        self.cancellation.pause(pause_s)
        self._queued_s += time.monotonic() - began

    def _run_targets(self) -> Completion:
        for target in self.targets:
            try:
                return self._run_checked(target)
            except ProviderError as error:
                if target is self.targets[-1] or not may_fall_back(error) or self._remaining_s() <= 0:
                    raise
        raise ValueError("a call needs a target")

    def _run_checked(self, target: Target) -> Completion:
        """An answer that fits its schema. Raises ProviderError, INVALID_OUTPUT with the answer that does not."""
        repairs = 0 if self.on_delta else self.repairs
        while True:
            completion = self._run_target(target)
            problem = structured.problem_of(target.request, completion)
            if problem is None:
                return completion
            last = self.tries[-1]
            last.completion, last.error = None, _invalid_output(problem, completion)
            if repairs <= 0 or not structured.is_repairable(completion) or self._remaining_s() <= 0:
                raise last.error
            repairs -= 1
            target = replace(target, request=structured.repair_request(target.request, completion, problem))

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
        passed = self._admit(target)
        current = Try(target, timezone.now())
        self.tries.append(current)
        before_s = time.monotonic() - self._started - self._queued_s
        began = time.monotonic()
        try:
            current.was_asked = not self.cancellation.is_requested
            current.completion = self._ask(target)
        except ProviderError as error:
            current.error = error.stopped(self.cancellation) if self.cancellation.is_requested else error
            raise current.error from None
        finally:
            current.latency_ms = _milliseconds(time.monotonic() - began)
            admission.leave(passed, current)
            if current.received is not None and current.received.first_token_ms is not None:
                current.first_token_ms = current.received.first_token_ms
                self.first_token_ms = _milliseconds(before_s) + current.first_token_ms
        return current.completion

    def _admit(self, target: Target) -> Pass:
        """One that is refused is a try too, of which the provider has not heard."""
        began = time.monotonic()
        try:
            return admission.enter(target, self._remaining_s(), self.cancellation)
        except ProviderError as error:
            error = error.stopped(self.cancellation) if self.cancellation.is_requested else error
            self.tries.append(Try(target, timezone.now(), error=error, was_asked=False))
            raise error from None
        finally:
            self._queued_s += time.monotonic() - began

    def _ask(self, target: Target) -> Completion:
        if self.cancellation.is_requested:
            raise ProviderError(ErrorCode.CANCELLED, "The call was cancelled.")
        request = replace(target.request, timeouts=self._timeouts_now(), cancellation=self.cancellation)
        if self.on_delta is None:
            return target.adapter().complete(request)
        return _consume(target.adapter().stream(request), self.on_delta)

    def _remaining_s(self) -> float:
        elapsed_s = time.monotonic() - self._started
        own_s = self.timeouts.total_s - (elapsed_s - self._queued_s if self.patience_s else elapsed_s)
        return min(own_s, self.deadline - time.monotonic())

    def _timeouts_now(self) -> Timeouts:
        remaining_s = max(self._remaining_s(), 0.001)
        return Timeouts(
            connect_s=min(self.timeouts.connect_s, remaining_s),
            first_token_s=min(self.timeouts.first_token_s, remaining_s),
            total_s=remaining_s,
        )


def may_fall_back(error: ProviderError) -> bool:
    """Not once a token has come; nor when a provider refused the request itself, which every model would."""
    if error.code in {ErrorCode.CANCELLED, ErrorCode.INTERRUPTED}:
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


def _invalid_output(problem: str, completion: Completion) -> ProviderError:
    return ProviderError(ErrorCode.INVALID_OUTPUT, problem, started=True, partial=completion)


def _consume(deltas: Iterator[Delta], on_delta: OnDelta) -> Completion:
    for delta in deltas:
        if delta.completion is not None:
            return delta.completion
        on_delta(delta)
    raise ProviderError(ErrorCode.INVALID_RESPONSE, "The provider's answer ended before its end.")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
