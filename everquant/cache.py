"""Redis, used so that its absence is slow for nobody, and an epoch-guarded cache over it."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from django.db import transaction
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from everquant.context import current
from everquant.metrics import REDIS_FAILURES

logger = structlog.get_logger(__name__)

AWAY_S = 1.0
EPOCH_TTL_S = 7 * 24 * 3600
_EPOCH_LENGTH = 16
_NO_EPOCH = b"0" * _EPOCH_LENGTH


class RedisAway(Exception):
    """Redis did not answer, now or within the last second."""


class _Outage:
    """When Redis failed last; for a second after that nobody waits for it."""

    until = 0.0


def with_redis(call: Callable[[Any], Any]) -> Any:
    """The result of `call(client)` with the raw client (bytes in and out); raises RedisAway."""
    if time.monotonic() < _Outage.until:
        raise RedisAway
    try:
        return call(get_redis_connection("default"))
    except (RedisError, OSError) as error:
        _Outage.until = time.monotonic() + AWAY_S
        REDIS_FAILURES.inc()
        logger.warning("redis_away", error=type(error).__name__)
        raise RedisAway from error


def prefetch(names: Iterable[str], counters: Mapping[str, int]) -> None:
    """Read `names` and count up `counters` (name → lifetime in seconds) for this request in one round trip.

    `EpochCache.read` and the rate limits take their results from it. Without Redis nothing is prefetched.
    """
    context = current()
    if context is None:
        return
    wanted = list(names)

    def send(redis: Any) -> list[Any]:
        pipeline = redis.pipeline(transaction=False)
        pipeline.mget(wanted)
        for name, lifetime_s in counters.items():
            pipeline.incr(name)
            pipeline.expire(name, lifetime_s, nx=True)
        return list(pipeline.execute())

    with contextlib.suppress(RedisAway):
        values, *counted = with_redis(send)
        context.prefetched.update(zip(wanted, values, strict=True))
        context.prefetched.update(zip(counters, counted[::2], strict=True))


def take_prefetched(*names: str) -> list[Any] | None:
    """What was prefetched under all of these names, once; a second reader must ask Redis again."""
    context = current()
    if context is None or any(name not in context.prefetched for name in names):
        return None
    return [context.prefetched.pop(name) for name in names]


class EpochCache:
    """A read-through cache whose entries die with their epoch.

    A reader takes the epoch before it reads the database and stores its value under that epoch; a writer changes the
    epoch after its commit. So a slow reader can never leave an old value that a later reader would believe.
    One round trip a read. Without Redis every read is a miss and nothing is stored.
    """

    def __init__(self, prefix: str, ttl_s: int) -> None:
        self._prefix = f"eq:{prefix}"
        self._ttl_s = ttl_s
        self._unsent: dict[str, str] = {}

    def read(self, epoch_key: str, key: str) -> tuple[bytes | None, bytes | None]:
        """The value or None, and the epoch to give to `store` (None while Redis is away)."""
        names = self.names(epoch_key, key)
        try:
            self._send_invalidations()
            epoch, entry = take_prefetched(*names) or with_redis(lambda r: r.mget(names))
        except RedisAway:
            return None, None
        epoch = epoch or _NO_EPOCH
        if entry is not None and entry[:_EPOCH_LENGTH] == epoch:
            return entry[_EPOCH_LENGTH:], epoch
        return None, epoch

    def store(self, epoch_key: str, key: str, value: bytes, epoch: bytes | None) -> None:
        if epoch is None:
            return
        try:
            with_redis(lambda r: r.set(self._name(epoch_key, key), epoch + value, ex=self._ttl_s))
        except RedisAway:
            return

    def invalidate(self, *epoch_keys: str) -> None:
        """Make every entry under these epochs unreadable, once the running transaction has committed."""
        transaction.on_commit(lambda: self.invalidate_now(epoch_keys))

    def invalidate_now(self, epoch_keys: Iterable[str]) -> None:
        """As `invalidate`, at once. While Redis is away this process keeps it and sends it before its next read;
        other processes believe an old entry for `ttl_s` at most."""
        self._unsent.update({self._epoch_name(key): secrets.token_hex(_EPOCH_LENGTH // 2) for key in epoch_keys})
        with contextlib.suppress(RedisAway):
            self._send_invalidations()

    def _send_invalidations(self) -> None:
        sending = dict(self._unsent)
        if not sending:
            return

        def change(redis: Any) -> None:
            pipeline = redis.pipeline(transaction=False)
            for name, epoch in sending.items():
                pipeline.set(name, epoch, ex=EPOCH_TTL_S)
            pipeline.execute()

        with_redis(change)
        for name, epoch in sending.items():
            if self._unsent.get(name) == epoch:
                self._unsent.pop(name, None)

    def names(self, epoch_key: str, key: str) -> tuple[str, str]:
        """What `read` reads, for `prefetch`."""
        return self._epoch_name(epoch_key), self._name(epoch_key, key)

    def _epoch_name(self, epoch_key: str) -> str:
        return f"{self._prefix}:epoch:{epoch_key}"

    def _name(self, epoch_key: str, key: str) -> str:
        return f"{self._prefix}:{epoch_key}:{key}"
