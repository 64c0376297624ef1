"""What a call asks of the gate before it goes to a provider, and what it tells afterwards. Times in milliseconds."""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

# Of a window of a minute. One more slot counts than a minute has seconds, so that no minute ever holds too much.
SLOT_MS = 1000
SLOTS = 61


class Verdict(IntEnum):
    """A probe is the one call that finds out whether a circuit that was open may be closed."""

    GRANTED = 0
    PROBE = 1
    CIRCUIT_OPEN = 2
    CONCURRENCY = 3
    REQUESTS = 4
    TOKENS = 5


class Outcome(IntEnum):
    """What a try says of its provider: nothing, that it answers, or that it fails."""

    NEUTRAL = 0
    ALIVE = 1
    FAILED = 2


class Change(IntEnum):
    """What the end of a try did to the circuit."""

    NONE = 0
    OPENED = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one model; None is no limit. Requests and tokens are for a minute."""

    concurrency: int | None = None
    requests: int | None = None
    tokens: int | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.concurrency, self.requests, self.tokens))


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """`failures` in a row, with at most `window_ms` between two, open a circuit for `open_ms`."""

    failures: int
    window_ms: int
    open_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One try. `tokens` is an estimate of all it will use; `lease_ms` is when it has ended for certain."""

    organization_id: UUID
    provider_id: UUID
    provider_model: str
    model_id: UUID
    limits: Limits
    tokens: int
    lease_ms: int

    @property
    def reserved_tokens(self) -> int:
        """What is held of the limit: more than the whole of it could never be granted."""
        return 0 if self.limits.tokens is None else min(self.tokens, self.limits.tokens)


@dataclass(frozen=True, slots=True)
class Entry:
    """The answer to an ask. `wait_ms` is when asking again may help, 0 when nobody knows.

    `slot` is where the tokens of a granted one are counted.
    """

    verdict: Verdict
    wait_ms: int = 0
    holder: str = ""
    slot: int = 0

    @property
    def is_granted(self) -> bool:
        return self.verdict <= Verdict.PROBE


def slot_of(now_ms: int) -> int:
    return now_ms // SLOT_MS


def slot_end_ms(slot: int) -> int:
    """When what is in this slot counts no more."""
    return (slot + SLOTS) * SLOT_MS
