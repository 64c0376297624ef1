"""Redis, used so that its absence is slow for nobody, and an epoch-guarded cache over it."""

import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import structlog
from django.core.cache import caches
from django.db import connection, transaction
from django_redis import get_redis_connection
from redis.exceptions import NoScriptError, RedisError

from everquant.context import RequestContext, current, request_context
from everquant.metrics import REDIS_FAILURES
from everquant.roundtrip import ask

logger = structlog.get_logger(__name__)

AWAY_S = 1.0
EPOCH_TTL_S = 7 * 24 * 3600
_EPOCH_LENGTH = 16
_NO_EPOCH = b"0" * _EPOCH_LENGTH


class RedisAway(Exception):
    """Redis did not answer, now or within the last second."""


_clients: dict[str, Any] = {}


def _client() -> Any:
    """One for each address: Django keeps its own by context, and each job and each node of a workflow runs in a context
    of its own, in which a new one takes longer than what it is made for."""
    address = caches.settings["default"]["LOCATION"]
    found = _clients.get(address)
    if found is None:
        found = _clients[address] = get_redis_connection("default")
    return found


class _Outage:
    """When Redis failed last; for a second after that nobody waits for it."""

    until = 0.0


def with_redis(call: Callable[[Any], Any]) -> Any:
    """The result of `call(client)` with the raw client (bytes in and out); raises RedisAway."""
    if time.monotonic() < _Outage.until:
        raise RedisAway
    try:
        return call(_client())
    except (RedisError, OSError) as error:
        _Outage.until = time.monotonic() + AWAY_S
        REDIS_FAILURES.inc()
        logger.warning("redis_away", error=type(error).__name__, reason=str(error)[:200])
        raise RedisAway from error


# One round trip and one command, of which the client's cost is mostly made.
_PREFETCH = """
local found = redis.call('MGET', unpack(KEYS, 1, #KEYS - #ARGV))
for i = 1, #ARGV do
  local name = KEYS[#KEYS - #ARGV + i]
  local count = redis.call('INCR', name)
  if count == 1 then redis.call('EXPIRE', name, ARGV[i]) end
  found[#found + 1] = count
end
return found
"""
_PREFETCH_SHA = hashlib.sha1(_PREFETCH.encode(), usedforsecurity=False).hexdigest()


def prefetch(names: Iterable[str], counters: Mapping[str, int]) -> None:
    """Read `names` and count up `counters` (name → lifetime in seconds) for this request in one round trip, once.

    `EpochCache.read` and the rate limits take their results from it. Without Redis nothing is prefetched.
    """
    context = current()
    if context is None or context.prefetched:
        return
    keys = [*names, *counters]

    def send(redis: Any) -> list[Any]:
        given = (len(keys), *keys, *counters.values())
        try:
            return ask(redis, "EVALSHA", _PREFETCH_SHA, *given)
        except NoScriptError:
            return ask(redis, "EVAL", _PREFETCH, *given)

    with contextlib.suppress(RedisAway):
        _send_invalidations()
        context.prefetched.update(zip(keys, with_redis(send), strict=True))


@contextlib.contextmanager
def prefetching(names: Iterable[str], request_id: str) -> Iterator[None]:
    """As `prefetch`, for what is done within and is part of no request; in a request nothing is read ahead.

    Logs have `request_id` of it.
    """
    if current() is not None:
        yield
        return
    with request_context(RequestContext(request_id)):
        prefetch(names, {})
        yield


def peek_prefetched(*names: str) -> list[Any] | None:
    """What was prefetched under all of these names, left for whoever takes it."""
    context = current()
    if context is None or any(name not in context.prefetched for name in names):
        return None
    return [context.prefetched[name] for name in names]


def take_prefetched(*names: str) -> list[Any] | None:
    """What was prefetched under all of these names, once; a second reader must ask Redis again."""
    found = peek_prefetched(*names)
    context = current()
    if found is not None and context is not None:
        for name in names:
            del context.prefetched[name]
    return found


# Invalidations that Redis has not been told of yet, as it was away.
_unsent: dict[str, str] = {}


def _send_invalidations() -> None:
    sending = dict(_unsent)
    if not sending:
        return

    def change(redis: Any) -> None:
        for name, epoch in sending.items():
            ask(redis, "SET", name, epoch, "EX", EPOCH_TTL_S)

    with_redis(change)
    for name, epoch in sending.items():
        if _unsent.get(name) == epoch:
            _unsent.pop(name, None)


class _Sender:
    """Tells Redis of what it has missed, once it is back: this process may not read for long, and others go on
    believing what they have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_running = False

    def start(self) -> None:
        with self._lock:
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="invalidations", daemon=True).start()

    def _run(self) -> None:
        while not self._is_done():
            time.sleep(AWAY_S)
            with contextlib.suppress(RedisAway):
                _send_invalidations()

    def _is_done(self) -> bool:
        with self._lock:
            self._is_running = bool(_unsent)
        return not self._is_running


_sender = _Sender()


class EpochCache:
    """A read-through cache whose entries die with their epoch.

    A reader takes the epoch before it reads the database and stores its value under that epoch; a writer changes the
    epoch after its commit. So a slow reader can never leave an old value that a later reader would believe.
    One round trip a read. Without Redis every read is a miss and nothing is stored.
    """

    def __init__(self, prefix: str, ttl_s: int) -> None:
        self._prefix = f"eq:{prefix}"
        self._ttl_s = ttl_s

    def read(self, epoch_key: str, key: str) -> tuple[bytes | None, bytes | None]:
        """The value or None, and the epoch to give to `store` (None while Redis is away)."""
        names = self.names(epoch_key, key)
        try:
            _send_invalidations()
            epoch, entry = take_prefetched(*names) or with_redis(lambda r: ask(r, "MGET", *names))
        except RedisAway:
            return None, None
        return _believed(epoch, entry), epoch or _NO_EPOCH

    def peek(self, epoch_key: str, key: str) -> bytes | None:
        """The value if this request has prefetched it and it may be believed; it can still be read."""
        return _believed(*(peek_prefetched(*self.names(epoch_key, key)) or (None, None)))

    def store(self, epoch_key: str, key: str, value: bytes, epoch: bytes | None) -> None:
        if epoch is None:
            return
        try:
            with_redis(lambda r: ask(r, "SET", self._name(epoch_key, key), epoch + value, "EX", self._ttl_s))
        except RedisAway:
            return

    def invalidate(self, *epoch_keys: str) -> None:
        """Make every entry under these epochs unreadable, once the running transaction, if any, has committed."""
        if connection.in_atomic_block:
            transaction.on_commit(lambda: self.invalidate_now(epoch_keys))
        else:  # `on_commit` would take a connection to find that out
            self.invalidate_now(epoch_keys)

    def invalidate_now(self, epoch_keys: Iterable[str]) -> None:
        """As `invalidate`, at once. While Redis is away this process keeps it, and sends it before its next read or
        within two seconds of Redis' return; if it dies before, others believe an old entry for `ttl_s` at most."""
        _unsent.update({self._epoch_name(key): secrets.token_hex(_EPOCH_LENGTH // 2) for key in epoch_keys})
        try:
            _send_invalidations()
        except RedisAway:
            _sender.start()

    def names(self, epoch_key: str, key: str) -> tuple[str, str]:
        """What `read` reads, for `prefetch`."""
        return self._epoch_name(epoch_key), self._name(epoch_key, key)

    def _epoch_name(self, epoch_key: str) -> str:
        return f"{self._prefix}:epoch:{epoch_key}"

    def _name(self, epoch_key: str, key: str) -> str:
        return f"{self._prefix}:{epoch_key}:{key}"


def _believed(epoch: bytes | None, entry: bytes | None) -> bytes | None:
    if entry is not None and entry[:_EPOCH_LENGTH] == (epoch or _NO_EPOCH):
        return entry[_EPOCH_LENGTH:]
    return None
