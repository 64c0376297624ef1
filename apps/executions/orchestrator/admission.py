"""A try waits here for its turn: for the limits of its model, and for a circuit that is closed.

Waiting is asking again. A process asks for all its waiting calls of a model together about a hundred times a second,
however many they are; who of them is next is left to chance.
"""

import math
import random
import threading
import time
from collections import Counter
from uuid import UUID

from django.conf import settings

from apps.executions.orchestrator.estimates import tokens_received, tokens_sent
from apps.executions.orchestrator.tries import Target, Try
from apps.models.gate import GATE, Ask, Entry, Outcome, Pass, Verdict
from apps.models.providers.base import ErrorCode, ModelRequest, ProviderError
from apps.models.providers.cancellation import Cancellation
from everquant.metrics import MODEL_WAIT

ASK_AGAIN_S = 0.01
# What an answer is taken to be when the request does not say how long it may be; corrected by what it was.
EXPECTED_OUTPUT_TOKENS = 512
# After a call's deadline, until its process is taken for dead.
LEASE_MARGIN_S = 5.0
_FAILURES = frozenset(
    {
        ErrorCode.CONNECTION,
        ErrorCode.HTTP_5XX,
        ErrorCode.TIMEOUT_CONNECT,
        ErrorCode.TIMEOUT_FIRST_TOKEN,
        ErrorCode.TIMEOUT_TOTAL,
    }
)
_LIMITS = {
    Verdict.CONCURRENCY: "calls at once",
    Verdict.REQUESTS: "requests in a minute",
    Verdict.TOKENS: "tokens in a minute",
}

_waiting: Counter[UUID] = Counter()
_waiting_lock = threading.Lock()


def enter(target: Target, remaining_s: float, cancellation: Cancellation) -> Pass:
    """Waits at most MODEL_QUEUE_TIMEOUT, or what is left of the call's deadline; gives the pass to `leave` with.

    Raises ProviderError: CIRCUIT_OPEN at once, MODEL_LIMIT after waiting in vain, CANCELLED.
    """
    if cancellation.is_requested:
        raise _cancelled()
    answer = GATE.enter(_ask(target, remaining_s))
    if isinstance(answer, Pass):
        return answer
    if answer.verdict == Verdict.CIRCUIT_OPEN:
        raise _circuit_open(answer)
    started = time.monotonic()
    try:
        return _wait(target, answer, remaining_s, cancellation)
    finally:
        MODEL_WAIT.observe(time.monotonic() - started)


def leave(passed: Pass, current: Try) -> None:
    """To be called when the try has ended, however it did."""
    GATE.leave(passed, _outcome(current), _used_tokens(passed, current))


def _wait(target: Target, answer: Entry, remaining_s: float, cancellation: Cancellation) -> Pass:
    started = time.monotonic()
    ends_at = started + min(remaining_s, settings.MODEL_QUEUE_TIMEOUT)
    with _waiting_lock:
        _waiting[target.model_id] += 1
    try:
        while True:
            now = time.monotonic()
            if now >= ends_at or _certain_s(answer) > ends_at - now:
                raise _limited(answer)
            wait_s = ASK_AGAIN_S * _waiting[target.model_id] * random.uniform(0.5, 1.5)  # noqa: S311 (spreads load, keeps no secret)
            cancellation.pause(min(max(wait_s, _certain_s(answer)), ends_at - now))
            if cancellation.is_requested:
                raise _cancelled()
            given = GATE.enter(_ask(target, remaining_s - (time.monotonic() - started)))
            if isinstance(given, Pass):
                return given
            answer = given
            if answer.verdict == Verdict.CIRCUIT_OPEN:
                raise _circuit_open(answer)
    finally:
        with _waiting_lock:
            _waiting[target.model_id] -= 1
            if not _waiting[target.model_id]:
                del _waiting[target.model_id]


def _certain_s(answer: Entry) -> float:
    """How long asking again is in vain. Tokens may come back sooner than their minute ends: from calls that run."""
    return answer.wait_ms / 1000 if answer.verdict == Verdict.REQUESTS else 0.0


def _ask(target: Target, remaining_s: float) -> Ask:
    return Ask(
        organization_id=target.organization_id,
        provider_id=target.provider_id,
        provider_model=target.request.model,
        model_id=target.model_id,
        limits=target.limits,
        tokens=0 if target.limits.tokens is None else expected_tokens(target.request),
        lease_ms=round((max(remaining_s, 0) + LEASE_MARGIN_S) * 1000),
    )


def expected_tokens(request: ModelRequest) -> int:
    """A guess at all tokens of a call."""
    names = ("max_completion_tokens", "max_tokens")
    allowed = [value for name in names if isinstance(value := request.parameters.get(name), int)]
    return tokens_sent(request) + min([EXPECTED_OUTPUT_TOKENS, *allowed])


def _outcome(current: Try) -> Outcome:
    error = current.error
    if error is None:
        return Outcome.ALIVE if current.completion else Outcome.NEUTRAL
    if error.code in _FAILURES and not (error.started and error.code == ErrorCode.TIMEOUT_TOTAL):
        return Outcome.FAILED
    is_refusal = error.status is not None and error.code not in {ErrorCode.RATE_LIMITED, ErrorCode.CANCELLED}
    return Outcome.ALIVE if is_refusal else Outcome.NEUTRAL


def _used_tokens(passed: Pass, current: Try) -> int:
    """What the provider told; what it was taken for when it did not tell of an answer; nothing for a refusal."""
    told = current.used_tokens
    if told is not None:
        return told
    if not passed.ask.limits.tokens:
        return 0
    if current.received is not None:
        return tokens_sent(current.target.request) + tokens_received(current.received)
    is_refusal = current.error is not None and current.error.status is not None
    return 0 if is_refusal else passed.ask.reserved_tokens


def _limited(answer: Entry) -> ProviderError:
    what = _LIMITS[answer.verdict]
    message = f"The model's limit of {what} is reached, and did not fall in time."
    return ProviderError(ErrorCode.MODEL_LIMIT, message, retry_after_s=max(1, math.ceil(answer.wait_ms / 1000)))


def _circuit_open(answer: Entry) -> ProviderError:
    retry_after_s = math.ceil(answer.wait_ms / 1000)
    message = "The provider has failed repeatedly and is not called for now."
    return ProviderError(ErrorCode.CIRCUIT_OPEN, message, retry_after_s=retry_after_s)


def _cancelled() -> ProviderError:
    return ProviderError(ErrorCode.CANCELLED, "The call was cancelled.")
