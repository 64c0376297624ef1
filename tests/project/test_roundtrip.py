"""Commands to Redis on connections that are kept: each gets its own answer, whatever happened to the one before."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django_redis import get_redis_connection
from redis.exceptions import RedisError, ResponseError

from everquant.roundtrip import TRUSTED_FOR_S, ask
from tests.project.processes import wait_until


@pytest.fixture
def redis():
    """A client whose pool has no connection yet."""
    known = get_redis_connection("default")
    pool = known.connection_pool
    return type(known)(connection_pool=type(pool)(pool.connection_class, **pool.connection_kwargs))


def close(client_id):
    """As Redis does at its end."""
    assert get_redis_connection("default").client_kill_filter(_id=client_id) == 1


def test_a_connection_is_kept(redis):
    assert ask(redis, "CLIENT", "ID") == ask(redis, "CLIENT", "ID")
    with pytest.raises(ResponseError):
        ask(redis, "INCR")
    first = ask(redis, "CLIENT", "ID")
    assert first == ask(redis, "CLIENT", "ID")


@pytest.mark.parametrize("is_closed", [False, True])
def test_after_a_pause_one_is_used_if_it_is_open_and_made_anew_if_it_was_closed(redis, is_closed):
    first, paused_at = ask(redis, "CLIENT", "ID"), time.monotonic()
    if is_closed:
        close(first)
    wait_until(lambda: time.monotonic() - paused_at > TRUSTED_FOR_S, "the pause is over")
    assert (ask(redis, "CLIENT", "ID") != first) is is_closed


def test_one_that_is_closed_while_it_is_trusted_fails_once(redis):
    close(ask(redis, "CLIENT", "ID"))
    with suppress(RedisError):  # on a machine that is busy the pause is over by now
        ask(redis, "PING")
    assert ask(redis, "ECHO", "again") == b"again"


def test_an_answer_that_is_late_is_no_other_commands_answer(redis):
    started = time.monotonic()
    with pytest.raises(RedisError):
        ask(redis, "BLPOP", "eq:test:nothing", 3)
    assert time.monotonic() - started < 2.5
    assert ask(redis, "ECHO", "mine") == b"mine"


def test_the_answer_to_what_was_interrupted_is_no_other_commands_answer(redis):
    class Interrupted(BaseException):
        pass

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Interrupted):
            ask(redis, "BLPOP", "eq:test:nothing", 0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ask(redis, "ECHO", "mine") == b"mine"


def test_what_is_interrupted_before_it_is_read_is_no_other_commands_answer(redis, monkeypatch):
    class Interrupted(BaseException):
        pass

    def interrupt(*_):
        raise Interrupted

    assert ask(redis, "PING")
    with monkeypatch.context() as patch:
        patch.setattr(redis.connection_pool.connection_class, "read_response", interrupt)
        with pytest.raises(Interrupted):
            ask(redis, "ECHO", "another's")
    assert ask(redis, "ECHO", "mine") == b"mine"


def test_threads_get_their_own_answers(redis):
    def talk(name):
        return all(ask(redis, "ECHO", f"{name}-{n}") == f"{name}-{n}".encode() for n in range(100))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(talk, range(8)))


def test_a_forked_process_uses_none_of_its_parents(redis):
    mine = ask(redis, "CLIENT", "ID")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(ask(redis, "CLIENT", "ID")).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read) as said:  # noqa: PTH123 (a descriptor)
        assert int(said.read()) != mine
    assert ask(redis, "CLIENT", "ID") == mine
