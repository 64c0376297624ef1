"""Rate limits by django-ratelimit: anonymous by address, authenticated by organization and by key or user.

While Redis is away requests pass, with a log line and a metric; logins fall back to a limit inside the process.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

import structlog
from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest
from django_ratelimit.core import EXPIRATION_FUDGE, _get_window, _make_cache_key, _split_rate, get_usage
from django_redis.cache import RedisCache
from rest_framework.throttling import BaseThrottle

from everquant.api.errors import RateLimited
from everquant.cache import RedisAway, take_prefetched, with_redis
from everquant.context import current
from everquant.metrics import RATE_LIMIT_FAIL_OPEN

logger = structlog.get_logger(__name__)


class CounterCache(RedisCache):
    """The cache that django-ratelimit counts in, in one round trip instead of two.

    django-ratelimit calls `add(key, 1, ttl)` and, when the key was there, `incr(key)`. Here `add` does the whole
    count and `incr` gives its result; Django keeps one instance a thread, so nothing is shared.
    """

    _count = 0
    _local_when_away = False

    @contextmanager
    def local_when_away(self) -> Iterator[None]:
        """Within it, a count that Redis cannot keep is kept inside this process instead."""
        self._local_when_away = True
        try:
            yield
        finally:
            self._local_when_away = False

    def add(self, key: str, value: int, timeout: Any = None, version: int | None = None) -> bool:
        name = str(self.make_key(key, version))

        def count(redis: Any) -> int:
            pipeline = redis.pipeline(transaction=False)
            pipeline.incr(name, value)
            pipeline.expire(name, timeout, nx=True)
            return int(pipeline.execute()[0])

        try:
            self._count = with_redis(count)
        except RedisAway:
            if not self._local_when_away:
                raise
            logger.warning("rate_limit_local")
            caches["local"].add(name, 0, timeout)
            self._count = caches["local"].incr(name, value)
        return self._count == value

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self._count


@dataclass(frozen=True, slots=True)
class Usage:
    """One limit's state after this request was counted."""

    limit: int
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(int(time.time()) + self.reset_s),
        }


def count_request(request: HttpRequest, *, group: str, value: str) -> Usage:
    """Count one request of `value` under the limit that settings.RATE_LIMITS names `group`.

    Raises RateLimited over it, RedisAway when nothing could be counted.
    """
    used = get_usage(request, group=group, key=lambda *_: value, rate=settings.RATE_LIMITS[group], increment=True)
    if used is None:
        raise RedisAway
    usage = Usage(used["limit"], max(0, used["limit"] - used["count"]), max(1, used["time_left"]))
    if used["should_limit"]:
        raise refusal(settings.RATE_LIMITS[group], usage)
    return usage


def refusal(rate: str, usage: Usage) -> RateLimited:
    headers = {**usage.headers, "Retry-After": str(usage.reset_s)}
    return RateLimited(f"Too many requests; the limit is {rate}.", headers=headers)


@dataclass(frozen=True, slots=True)
class Window:
    """A limit's running window as django-ratelimit counts it: its counter in Redis, and when it ends."""

    counter: str
    lifetime_s: int
    rate: str
    limit: int
    ends_at: int

    def usage(self, count: int) -> Usage:
        return Usage(self.limit, max(0, self.limit - count), max(1, self.ends_at - int(time.time())))


_parsed_rate = lru_cache(maxsize=64)(_split_rate)


@lru_cache(maxsize=8192)
def _window(group: str, rate: str, value: str, ends_at: int) -> Window:
    limit, period = _parsed_rate(rate)
    counter = caches["limits"].make_key(_make_cache_key(group, ends_at, rate, value, get_usage.ALL))
    return Window(str(counter), period + EXPIRATION_FUDGE, rate, limit, ends_at)


def windows_of(organization_id: UUID, throttle_key: str) -> list[Window]:
    """The limits that an authenticated request counts under; their counters are for `everquant.cache.prefetch`."""
    windows = []
    for group, value in (("organization", str(organization_id)), ("key", throttle_key)):
        rate = settings.RATE_LIMITS[group]
        windows.append(_window(group, rate, value, _get_window(value, _parsed_rate(rate)[1])))
    return windows


def tightest(usages: Iterable[Usage]) -> Usage:
    return min(usages, key=lambda usage: usage.remaining)


class RequestThrottle(BaseThrottle):
    """Counts every API request; its tightest limit is shown in the answer's headers (see `add_headers`)."""

    def allow_request(self, request: Any, view: Any) -> bool:
        try:
            view.rate_limit_usage = self._count(request._request, request.auth)
        except RedisAway:
            RATE_LIMIT_FAIL_OPEN.inc()
            logger.warning("rate_limit_fail_open")
        return True

    @staticmethod
    def _count(request: HttpRequest, principal: Any) -> Usage:
        if principal is None:
            return count_request(request, group="anonymous", value=client_address())
        windows = windows_of(principal.organization_id, principal.throttle_key)
        counts = take_prefetched(*(window.counter for window in windows))
        if counts is None:
            given = (("organization", str(principal.organization_id)), ("key", principal.throttle_key))
            return tightest([count_request(request, group=group, value=value) for group, value in given])
        for window, count in zip(windows, counts, strict=True):
            if count > window.limit:
                raise refusal(window.rate, window.usage(count))
        return tightest(window.usage(count) for window, count in zip(windows, counts, strict=True))

    @staticmethod
    def count_refusal(request: Any) -> None:
        """Count a refused credential as an anonymous request; raises RateLimited, so that guessing is limited."""
        with contextlib.suppress(RedisAway):
            count_request(request._request, group="anonymous", value=client_address())


def client_address() -> str:
    context = current()
    return (context.client_ip if context else None) or "unknown"


def check_login_limits(request: HttpRequest, account: str) -> None:
    """Count one attempt to sign in, by address and by account; raises RateLimited over either limit.

    Without Redis both are kept inside each process.
    """
    with cast("CounterCache", caches["limits"]).local_when_away():
        count_request(request, group="login_ip", value=client_address())
        count_request(request, group="login_account", value=account.strip().lower())
