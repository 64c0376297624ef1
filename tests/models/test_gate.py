"""The gate before providers: both of its kinds against a plain model, one random history after the other."""

from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.models.gate import Entry, Gate, Pass
from apps.models.gate.local import LocalGate
from apps.models.gate.shared import SharedGate, read_circuit
from apps.models.gate.terms import Ask, Change, CircuitPolicy, Limits, Outcome, Verdict
from tests.project.processes import wait_until

MINUTE_MS = 60_000
LATE = 1_800_000_000_000
POLICY = CircuitPolicy(failures=3, window_ms=10_000_000, open_ms=5_000)
GATES = pytest.mark.parametrize("make_gate", [LocalGate, SharedGate], ids=["local", "shared"])
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


NO_LIMITS = Limits()


def ask_for(limits=NO_LIMITS, tokens=0, lease_ms=1000, **changes):
    keys = {"organization_id": uuid4(), "provider_id": uuid4(), "model_id": uuid4(), "provider_model": "m"}
    return Ask(limits=limits, tokens=tokens, lease_ms=lease_ms, **{**keys, **changes})


class Plain:
    """What has been granted, with its time: everything is counted anew at each ask."""

    def __init__(self, ask):
        self.ask = ask
        self.granted = []

    def allows(self, now):
        running = sum(1 for one in self.granted if one["ends"] > now)
        lately = [one for one in self.granted if now // 1000 - one["at"] // 1000 <= 60]
        limits = self.ask.limits
        return (
            (limits.concurrency is None or running < limits.concurrency)
            and (limits.requests is None or len(lately) < limits.requests)
            and (
                limits.tokens is None
                or sum(one["tokens"] for one in lately) + self.ask.reserved_tokens <= limits.tokens
            )
        )


limit = st.none() | st.integers(1, 6)
steps = st.lists(
    st.tuples(st.integers(0, 25_000), st.booleans(), st.integers(0, 40)),
    min_size=1,
    max_size=40,
)


@GATES
@few
@given(limits=st.builds(Limits, limit, limit, st.none() | st.integers(1, 60)), tokens=st.integers(0, 30), steps=steps)
def test_what_is_granted_is_what_a_plain_count_allows(make_gate, limits, tokens, steps):
    gate, ask = make_gate(), ask_for(limits, tokens, lease_ms=9000)
    plain, now = Plain(ask), LATE
    for pause_ms, leaves_one, used in steps:
        now += pause_ms
        open_ones = [one for one in plain.granted if not one["left"]]
        if leaves_one and open_ones:
            one = open_ones[0]
            gate.leave(ask, one["entry"], Outcome.ALIVE, used, POLICY, now)
            one.update(left=True, ends=now)
            if now // 1000 - one["at"] // 1000 <= 60:
                one["tokens"] = used
            continue
        entry = gate.enter(ask, POLICY, now)
        assert entry.is_granted == plain.allows(now)
        if entry.is_granted:
            plain.granted.append(
                {"at": now, "ends": now + 9000, "tokens": ask.reserved_tokens, "entry": entry, "left": False}
            )
        elif entry.wait_ms:
            assert not plain.allows(now + entry.wait_ms - 1)


@GATES
@few
@given(requests=st.integers(1, 5), pauses=st.lists(st.integers(0, 30_000), min_size=1, max_size=60))
def test_no_minute_ever_holds_more_than_the_limit(make_gate, requests, pauses):
    gate, ask = make_gate(), ask_for(Limits(requests=requests))
    now, granted = LATE, []
    for pause_ms in pauses:
        now += pause_ms
        if gate.enter(ask, POLICY, now).is_granted:
            granted.append(now)
    assert all(sum(first <= at < first + MINUTE_MS for at in granted) <= requests for first in granted)


class PlainCircuit:
    def __init__(self):
        self.failures, self.open_until, self.probe_until = 0, 0, 0

    def enter(self, now):
        if not self.open_until:
            return Verdict.GRANTED
        if max(self.open_until, self.probe_until) > now:
            return Verdict.CIRCUIT_OPEN
        self.probe_until = now + 1000
        return Verdict.PROBE

    def leave(self, verdict, outcome, now):
        if self.open_until and verdict != Verdict.PROBE:
            return
        if outcome == Outcome.ALIVE:
            self.failures = self.open_until = self.probe_until = 0
        elif outcome == Outcome.NEUTRAL:
            self.probe_until = 0
        else:
            self.failures += 1
            if self.open_until or self.failures >= POLICY.failures:
                self.open_until, self.probe_until = now + POLICY.open_ms, 0


@GATES
@few
@given(steps=st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([*Outcome, None])), min_size=1, max_size=50))
def test_a_circuit_does_what_a_plain_one_does(make_gate, steps):
    gate, ask, plain, now, inside = make_gate(), ask_for(), PlainCircuit(), LATE, []
    for pause_ms, outcome in steps:
        now += pause_ms
        if outcome is None or not inside:
            entry = gate.enter(ask, POLICY, now)
            assert entry.verdict == plain.enter(now)
            inside += [entry] if entry.is_granted else []
        else:
            entry = inside.pop(0)
            was_open = plain.open_until > 0
            change = gate.leave(ask, entry, outcome, 0, POLICY, now)
            before = plain.open_until
            plain.leave(entry.verdict, outcome, now)
            assert (change == Change.CLOSED) == (was_open and not plain.open_until)
            assert (change == Change.OPENED) == (plain.open_until > before)


@GATES
def test_a_holder_that_died_is_forgotten_after_its_lease(make_gate):
    gate, ask = make_gate(), ask_for(Limits(concurrency=1), lease_ms=5000)
    assert gate.enter(ask, POLICY, LATE).is_granted
    assert gate.enter(ask, POLICY, LATE + 4999).verdict == Verdict.CONCURRENCY
    assert gate.enter(ask, POLICY, LATE + 5000).is_granted


@GATES
def test_more_than_the_whole_limit_of_tokens_waits_for_an_empty_minute_only(make_gate):
    gate, ask = make_gate(), ask_for(Limits(tokens=10), tokens=5000)
    assert gate.enter(ask, POLICY, LATE).is_granted
    refused = gate.enter(ask, POLICY, LATE + 1)
    assert (refused.verdict, refused.wait_ms) == (Verdict.TOKENS, 60_999)


def test_failures_far_apart_do_not_add_up():
    gate, ask, policy = LocalGate(), ask_for(), CircuitPolicy(failures=2, window_ms=1000, open_ms=1000)
    for number in range(5):
        now = LATE + number * 2000
        assert gate.leave(ask, gate.enter(ask, policy, now), Outcome.FAILED, 0, policy, now) == Change.NONE


def test_what_redis_keeps_of_a_circuit_can_be_read_and_goes_away():
    from everquant.cache import with_redis

    gate, ask = SharedGate(), ask_for()
    for _ in range(3):
        gate.leave(ask, gate.enter(ask, POLICY), Outcome.FAILED, 0, POLICY)
    state = read_circuit(ask.provider_id, "m")
    assert (state.failures, state.is_open) == (3, True)
    assert 4000 < state.open_for_ms <= 5000
    lives = with_redis(lambda redis: [redis.pttl(name) for name in redis.keys("eq:gate:*")])
    assert len(lives) == 2
    assert all(ms > 0 for ms in lives)
    assert read_circuit(uuid4(), "m").is_open is False


def test_a_place_is_free_again_for_who_asks_next():
    gate, ask = Gate(), ask_for(Limits(concurrency=1), lease_ms=60_000)
    for _ in range(50):
        passed = gate.enter(ask)
        assert isinstance(passed, Pass)
        gate.leave(passed, Outcome.ALIVE, 0)


def test_a_place_is_free_again_for_other_processes_a_moment_later():
    gate, other, ask = Gate(), Gate(), ask_for(Limits(concurrency=1), lease_ms=60_000)
    passed = gate.enter(ask)
    assert isinstance(passed, Pass)
    assert isinstance(other.enter(ask), Entry)
    gate.leave(passed, Outcome.ALIVE, 0)
    wait_until(lambda: isinstance(other.enter(ask), Pass), "the place is free", 5)
