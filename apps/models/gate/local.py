"""The gate of one process by itself, for while Redis is away. The same rules as the scripts of `shared`."""

import secrets
import threading
import time
from dataclasses import dataclass, field
from uuid import UUID

from apps.models.gate.terms import Ask, Change, CircuitPolicy, Entry, Outcome, Verdict, slot_end_ms, slot_of


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    open_until: int = 0
    probe_until: int = 0
    forget_at: int = 0


@dataclass(slots=True)
class _Traffic:
    running: dict[str, int] = field(default_factory=dict)
    requests: dict[int, int] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)


class LocalGate:
    """Thread-safe. `now_ms` is given by tests; it is the time of this machine otherwise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._circuits: dict[tuple[UUID, str], _Circuit] = {}
        self._traffic: dict[UUID, _Traffic] = {}

    def enter(self, ask: Ask, policy: CircuitPolicy, now_ms: int | None = None) -> Entry:
        now = _now_ms() if now_ms is None else now_ms
        with self._lock:
            circuit = self._circuit(ask, now)
            blocked_until = max(circuit.open_until, circuit.probe_until) if circuit else 0
            if blocked_until > now:
                return Entry(Verdict.CIRCUIT_OPEN, blocked_until - now)
            traffic = self._traffic.setdefault(ask.model_id, _Traffic())
            refusal = _refusal(traffic, ask, now)
            if refusal is not None:
                return refusal
            holder = secrets.token_hex(8)
            _take(traffic, ask, holder, now)
            verdict = Verdict.GRANTED
            if circuit is not None and circuit.open_until:
                verdict = Verdict.PROBE
                circuit.probe_until = now + min(ask.lease_ms, policy.open_ms)
                circuit.forget_at = circuit.probe_until + policy.window_ms
            return Entry(verdict, 0, holder, slot_of(now))

    def leave(
        self, ask: Ask, entry: Entry, outcome: Outcome, tokens: int, policy: CircuitPolicy, now_ms: int | None = None
    ) -> Change:
        """`tokens` is what the try has used."""
        now = _now_ms() if now_ms is None else now_ms
        with self._lock:
            traffic = self._traffic.get(ask.model_id)
            if traffic is not None:
                traffic.running.pop(entry.holder, None)
                if entry.slot in traffic.tokens and slot_end_ms(entry.slot) > now:
                    traffic.tokens[entry.slot] += tokens - ask.reserved_tokens
            return self._conclude(ask, entry.verdict == Verdict.PROBE, outcome, policy, now)

    def has_trouble(self) -> bool:
        return bool(self._circuits)

    def _conclude(self, ask: Ask, is_probe: bool, outcome: Outcome, policy: CircuitPolicy, now: int) -> Change:
        key = (ask.provider_id, ask.provider_model)
        circuit = self._circuit(ask, now)
        is_open = circuit is not None and circuit.open_until > 0
        if is_open and not is_probe:
            return Change.NONE
        if outcome == Outcome.ALIVE:
            self._circuits.pop(key, None)
            return Change.CLOSED if is_open else Change.NONE
        if outcome == Outcome.NEUTRAL:
            if circuit is not None:
                circuit.probe_until = 0
            return Change.NONE
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.failures += 1
        circuit.forget_at = now + policy.window_ms
        if not is_open and circuit.failures < policy.failures:
            return Change.NONE
        circuit.open_until, circuit.probe_until = now + policy.open_ms, 0
        circuit.forget_at = circuit.open_until + policy.window_ms
        return Change.OPENED

    def _circuit(self, ask: Ask, now: int) -> _Circuit | None:
        key = (ask.provider_id, ask.provider_model)
        circuit = self._circuits.get(key)
        if circuit is not None and circuit.forget_at <= now:
            del self._circuits[key]
            return None
        return circuit


def _refusal(traffic: _Traffic, ask: Ask, now: int) -> Entry | None:
    limits = ask.limits
    traffic.running = {holder: until for holder, until in traffic.running.items() if until > now}
    if limits.concurrency is not None and len(traffic.running) >= limits.concurrency:
        return Entry(Verdict.CONCURRENCY)
    for verdict, window, limit, amount in (
        (Verdict.REQUESTS, traffic.requests, limits.requests, 1),
        (Verdict.TOKENS, traffic.tokens, limits.tokens, ask.reserved_tokens),
    ):
        if limit is not None and (wait_ms := _wait_ms(window, limit, amount, now)):
            return Entry(verdict, wait_ms)
    return None


def _wait_ms(window: dict[int, int], limit: int, amount: int, now: int) -> int:
    for slot in [slot for slot in window if slot_end_ms(slot) <= now]:
        del window[slot]
    used = sum(window.values())
    if used + amount <= limit:
        return 0
    for slot in sorted(window):
        used -= window[slot]
        if used + amount <= limit:
            return slot_end_ms(slot) - now
    raise AssertionError("an amount is at most the limit")


def _take(traffic: _Traffic, ask: Ask, holder: str, now: int) -> None:
    slot = slot_of(now)
    if ask.limits.concurrency is not None:
        traffic.running[holder] = now + ask.lease_ms
    if ask.limits.requests is not None:
        traffic.requests[slot] = traffic.requests.get(slot, 0) + 1
    if ask.limits.tokens is not None:
        traffic.tokens[slot] = traffic.tokens.get(slot, 0) + ask.reserved_tokens


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
