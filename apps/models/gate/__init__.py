"""What stands before every call of a provider: the limits of its model, and the circuit of provider and model.

Limits and circuits are shared by all processes through Redis. While it is away each process keeps its own.

A window of a minute slides: it is kept in slots of a second. A bucket that is refilled would let twice the limit
through in the minute after a pause.
"""

from dataclasses import dataclass
from uuid import UUID

import structlog
from django.conf import settings

from apps.models.gate.leaving import Leaving
from apps.models.gate.local import LocalGate
from apps.models.gate.shared import Left, SharedGate, trouble_name
from apps.models.gate.terms import Ask, Change, CircuitPolicy, Entry, Limits, Outcome, Verdict
from everquant.cache import RedisAway, take_prefetched, with_redis
from everquant.metrics import CIRCUIT_OPEN, CIRCUIT_REFUSALS

__all__ = ["GATE", "Ask", "Entry", "Gate", "Limits", "Outcome", "Pass", "Verdict", "names"]

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pass:
    """A granted ask, to be given back. Without a gate nobody has been asked: there was nothing to ask for."""

    ask: Ask
    entry: Entry
    gate: SharedGate | LocalGate | None


class Gate:
    def __init__(self) -> None:
        self._shared, self._local = SharedGate(), LocalGate()
        self._leaving = Leaving(self._tell)

    def enter(self, ask: Ask) -> Pass | Entry:
        """A pass, or the entry that refuses it. At most two round trips, none when it was prefetched that all is well
        and the model has no limits."""
        if not ask.limits and not self._has_trouble(ask.organization_id):
            return Pass(ask, Entry(Verdict.GRANTED), None)
        gate: SharedGate | LocalGate = self._shared
        left = self._leaving.take()
        try:
            entry = self._shared.enter(ask, _policy(), left=left)
        except RedisAway:
            self._leave_locally(left)
            gate = self._local
            entry = self._local.enter(ask, _policy())
        if entry.verdict == Verdict.CIRCUIT_OPEN:
            CIRCUIT_REFUSALS.labels(str(ask.provider_id), ask.provider_model).inc()
        return Pass(ask, entry, gate) if entry.is_granted else entry

    def leave(self, passed: Pass, outcome: Outcome, tokens: int) -> None:
        """To be called once for every pass; `tokens` is what was used."""
        if passed.gate is None and outcome != Outcome.FAILED:
            return
        if passed.gate is self._shared and outcome == Outcome.ALIVE and passed.entry.verdict == Verdict.GRANTED:
            self._leaving.add(Left(passed.ask, passed.entry, outcome, tokens))
            return
        try:
            change = (passed.gate or self._shared).leave(passed.ask, passed.entry, outcome, tokens, _policy())
        except RedisAway:
            change = self._local.leave(passed.ask, Entry(passed.entry.verdict), outcome, tokens, _policy())
        if change != Change.NONE:
            is_open = change == Change.OPENED
            CIRCUIT_OPEN.labels(str(passed.ask.provider_id), passed.ask.provider_model).set(int(is_open))
            logger.warning(
                "circuit_opened" if is_open else "circuit_closed",
                provider_id=str(passed.ask.provider_id),
                provider_model=passed.ask.provider_model,
            )

    def _tell(self, left: list[Left]) -> None:
        try:
            self._shared.leave_all(left, _policy())
        except RedisAway:
            self._leave_locally(left)

    def _leave_locally(self, left: list[Left]) -> None:
        for each in left:
            self._local.leave(each.ask, Entry(each.entry.verdict), each.outcome, each.tokens, _policy())

    def _has_trouble(self, organization_id: UUID) -> bool:
        (name,) = names(organization_id)
        try:
            found = take_prefetched(name)
            value = found[0] if found else with_redis(lambda redis: redis.get(name))
        except RedisAway:
            return self._local.has_trouble()
        return value is not None


def names(organization_id: UUID) -> tuple[str]:
    """What is read of Redis to know that there is nothing to ask for."""
    return (trouble_name(organization_id),)


def _policy() -> CircuitPolicy:
    return CircuitPolicy(
        settings.CIRCUIT_FAILURES, round(settings.CIRCUIT_WINDOW_S * 1000), round(settings.CIRCUIT_OPEN_S * 1000)
    )


GATE = Gate()
