"""The gate of all processes: two scripts in Redis, each one round trip. Its own clock is the only one that counts."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from redis.exceptions import NoScriptError

from apps.models.gate.terms import SLOT_MS, SLOTS, Ask, Change, CircuitPolicy, Entry, Outcome, Verdict
from everquant.cache import with_redis

_PREAMBLE = f"""
local SLOT_MS, SLOTS = {SLOT_MS}, {SLOTS}
local circuit, trouble, running, requests, tokens = unpack(KEYS)
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local slot = math.floor(now / SLOT_MS)

local function remember(lasts)
  redis.call('PEXPIRE', circuit, lasts)
  if redis.call('PTTL', trouble) < lasts then redis.call('SET', trouble, 1, 'PX', lasts) end
end

local function moment(name)
  return tonumber(redis.call('HGET', circuit, name) or 0)
end
"""
_ENTER = (
    _PREAMBLE
    + """
local holder, lease = ARGV[2], tonumber(ARGV[3])
local concurrency, most_requests, most_tokens = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local amount, open_for, window = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local function wait(key, limit, wanted)
  local found, used, slots = redis.call('HGETALL', key), 0, {}
  for i = 1, #found, 2 do
    local at, held = tonumber(found[i]), tonumber(found[i + 1])
    if at + SLOTS <= slot then
      redis.call('HDEL', key, found[i])
    else
      used = used + held
      slots[#slots + 1] = {at, held}
    end
  end
  if used + wanted <= limit then return 0 end
  table.sort(slots, function(a, b) return a[1] < b[1] end)
  for _, each in ipairs(slots) do
    used = used - each[2]
    if used + wanted <= limit then return (each[1] + SLOTS) * SLOT_MS - now end
  end
  return SLOT_MS
end

local open_until = moment('open_until')
local blocked_until = math.max(open_until, moment('probe_until'))
if blocked_until > now then return {2, blocked_until - now, 0} end
if concurrency then
  redis.call('ZREMRANGEBYSCORE', running, '-inf', now)
  if redis.call('ZCARD', running) >= concurrency then return {3, 0, 0} end
end
if most_requests then
  local ms = wait(requests, most_requests, 1)
  if ms > 0 then return {4, ms, 0} end
end
if most_tokens then
  local ms = wait(tokens, most_tokens, amount)
  if ms > 0 then return {5, ms, 0} end
end
if concurrency then
  redis.call('ZADD', running, now + lease, holder)
  redis.call('PEXPIRE', running, math.max(lease, redis.call('PTTL', running)))
end
if most_requests then
  redis.call('HINCRBY', requests, slot, 1)
  redis.call('PEXPIRE', requests, SLOTS * SLOT_MS)
end
if most_tokens then
  redis.call('HINCRBY', tokens, slot, amount)
  redis.call('PEXPIRE', tokens, SLOTS * SLOT_MS)
end
if open_until == 0 then return {0, 0, slot} end
local probe_for = math.min(lease, open_for)
redis.call('HSET', circuit, 'probe_until', now + probe_for)
remember(probe_for + window)
return {1, 0, slot}
"""
)
_LEAVE = (
    _PREAMBLE
    + """
local holder, outcome, is_probe = ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local at, correction = tonumber(ARGV[5]), tonumber(ARGV[6])
local most_failures, open_for, window = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if holder ~= '' then
  redis.call('ZREM', running, holder)
  if correction ~= 0 and at + SLOTS > slot and redis.call('HEXISTS', tokens, at) == 1 then
    redis.call('HINCRBY', tokens, at, correction)
  end
end
local is_open = moment('open_until') > 0
if is_open and not is_probe then return 0 end
if outcome == 1 then
  redis.call('DEL', circuit)
  return is_open and 2 or 0
end
if outcome == 0 then
  redis.call('HDEL', circuit, 'probe_until')
  return 0
end
local failures = redis.call('HINCRBY', circuit, 'failures', 1)
if not is_open and failures < most_failures then
  remember(window)
  return 0
end
redis.call('HSET', circuit, 'open_until', now + open_for)
redis.call('HDEL', circuit, 'probe_until')
remember(open_for + window)
return 1
"""
)


class _Script:
    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_enter, _leave = _Script(_ENTER), _Script(_LEAVE)
_Call = tuple[_Script, list[str], tuple[Any, ...]]


def _run(calls: list[_Call]) -> list[Any]:
    """What the scripts answer, in one round trip."""

    def send(redis: Any) -> list[Any]:
        with redis.pipeline(transaction=False) as pipeline:
            for script, keys, arguments in calls:
                pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        for place, (script, keys, arguments) in enumerate(calls):
            if isinstance(answers[place], NoScriptError):
                answers[place] = redis.eval(script.text, len(keys), *keys, *arguments)
            elif isinstance(answers[place], Exception):
                raise answers[place]
        return answers

    return list(with_redis(send))


@dataclass(frozen=True, slots=True)
class Left:
    """The end of a try that was let in: what it says of its provider, and the tokens that it has used."""

    ask: Ask
    entry: Entry
    outcome: Outcome
    tokens: int


class SharedGate:
    """Every method raises RedisAway. `now_ms` is given by tests; it is the time of Redis otherwise."""

    def enter(self, ask: Ask, policy: CircuitPolicy, now_ms: int | None = None, left: Sequence[Left] = ()) -> Entry:
        """`left` are ends of earlier tries that are told first, in the same round trip."""
        limits, holder = ask.limits, secrets.token_hex(8)
        arguments = (
            _or_empty(now_ms), holder, ask.lease_ms, _or_empty(limits.concurrency), _or_empty(limits.requests),
            _or_empty(limits.tokens), ask.reserved_tokens, policy.open_ms, policy.window_ms,
        )  # fmt: skip
        ends = [_end_of(each, policy, now_ms) for each in left]
        verdict, wait_ms, slot = _run([*ends, (_enter, _keys(ask), arguments)])[-1]
        return Entry(Verdict(verdict), wait_ms, holder if verdict <= Verdict.PROBE else "", slot)

    def leave(
        self, ask: Ask, entry: Entry, outcome: Outcome, tokens: int, policy: CircuitPolicy, now_ms: int | None = None
    ) -> Change:
        """`tokens` is what the try has used."""
        return Change(_run([_end_of(Left(ask, entry, outcome, tokens), policy, now_ms)])[0])

    def leave_all(self, left: Sequence[Left], policy: CircuitPolicy) -> None:
        _run([_end_of(each, policy, None) for each in left])


def _end_of(left: Left, policy: CircuitPolicy, now_ms: int | None) -> _Call:
    ask, entry = left.ask, left.entry
    correction = 0 if ask.limits.tokens is None else left.tokens - ask.reserved_tokens
    arguments = (
        _or_empty(now_ms), entry.holder, int(left.outcome), int(entry.verdict == Verdict.PROBE), entry.slot, correction,
        policy.failures, policy.open_ms, policy.window_ms,
    )  # fmt: skip
    return _leave, _keys(ask), arguments


@dataclass(frozen=True, slots=True)
class CircuitState:
    """`open_for_ms` is 0 for a closed circuit, and for one that waits for its probe."""

    failures: int
    is_open: bool
    open_for_ms: int


def read_circuit(provider_id: UUID, provider_model: str) -> CircuitState:
    """Raises RedisAway."""

    def read(redis: Any) -> tuple[list[bytes | None], tuple[int, int]]:
        return redis.hmget(circuit_name(provider_id, provider_model), "failures", "open_until"), redis.time()

    (failures, open_until), (seconds, microseconds) = with_redis(read)
    left_ms = int(open_until or 0) - (seconds * 1000 + microseconds // 1000)
    return CircuitState(int(failures or 0), open_until is not None, max(left_ms, 0))


def trouble_name(organization_id: UUID) -> str:
    """What exists while any circuit of the organization is not as good as new."""
    return f"eq:gate:trouble:{organization_id}"


def circuit_name(provider_id: UUID, provider_model: str) -> str:
    return f"eq:gate:circuit:{provider_id}:{provider_model}"


def _keys(ask: Ask) -> list[str]:
    of_model = f"eq:gate:model:{ask.model_id}"
    return [
        circuit_name(ask.provider_id, ask.provider_model),
        trouble_name(ask.organization_id),
        f"{of_model}:running",
        f"{of_model}:requests",
        f"{of_model}:tokens",
    ]


def _or_empty(value: int | None) -> int | str:
    return "" if value is None else value
