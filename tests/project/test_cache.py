"""The epoch rule: a value read before a change is never believed after it."""

import time

import pytest
from django.core.cache import caches
from django.db import transaction

from everquant import cache as cache_module
from everquant.cache import EpochCache, RedisAway, with_redis

pytestmark = pytest.mark.django_db


@pytest.fixture
def cache() -> EpochCache:
    return EpochCache("test", ttl_s=30)


def test_what_is_stored_is_read(cache):
    _, epoch = cache.read("org", "k")
    cache.store("org", "k", b"value", epoch)
    assert cache.read("org", "k")[0] == b"value"
    assert cache.read("org", "other")[0] is None


def test_a_slow_reader_cannot_leave_an_old_value(cache):
    _, epoch = cache.read("org", "k")
    cache.invalidate_now(["org"])
    cache.store("org", "k", b"old", epoch)
    assert cache.read("org", "k")[0] is None


def test_invalidation_happens_at_commit_only(cache, django_capture_on_commit_callbacks):
    _, epoch = cache.read("org", "k")
    cache.store("org", "k", b"value", epoch)
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        cache.invalidate("org")
        assert cache.read("org", "k")[0] == b"value"
    assert cache.read("org", "k")[0] is None


def test_entries_of_other_epochs_stay(cache):
    for name in ("a", "b"):
        _, epoch = cache.read(name, "k")
        cache.store(name, "k", name.encode(), epoch)
    cache.invalidate_now(["a"])
    assert cache.read("a", "k")[0] is None
    assert cache.read("b", "k")[0] == b"b"


def test_without_redis_everything_is_a_miss_and_nothing_raises(cache, redis_away):
    with pytest.raises(RedisAway):
        with_redis(lambda redis: redis.ping())
    assert cache.read("org", "k") == (None, None)
    cache.store("org", "k", b"value", None)
    cache.invalidate_now(["org"])


def test_an_invalidation_that_redis_missed_is_sent_before_the_next_read(cache, redis_away):
    with redis_away.back():
        _, epoch = cache.read("org", "k")
        cache.store("org", "k", b"old", epoch)
    cache.invalidate_now(["org"])
    with redis_away.back():
        assert cache.read("org", "k")[0] is None


def test_an_invalidation_that_redis_missed_is_sent_by_itself_when_it_is_back(cache, redis_away):
    cache.invalidate_now(["org"])
    name = cache.names("org", "k")[0]
    with redis_away.back():
        deadline = time.monotonic() + 10
        while with_redis(lambda redis: redis.get(name)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_dead_redis_is_not_waited_for_again_within_a_second(redis_away):
    calls = []
    for _ in range(3):
        with pytest.raises(RedisAway):
            with_redis(lambda redis: calls.append(redis.ping()))
    assert calls == []
    assert cache_module._Outage.until > 0
    assert caches["default"] is not None
