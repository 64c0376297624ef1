"""The pool of database connections when the database goes away and comes back."""

import time
from functools import partial
from uuid import UUID

import psycopg
import pytest
from django.db import DataError, close_old_connections, connection
from psycopg import _queries
from psycopg_pool.base import AttemptWithBackoff

from everquant.db import prepared_cursor
from everquant.postgresql.base import BELIEVED_S
from tests.executions.conftest import execute, make_model, make_prompt, model, prompt  # noqa: F401 (fixtures)
from tests.project.processes import wait_until


@pytest.mark.django_db(transaction=True)
def test_pool_is_usable_at_once_after_all_its_connections_were_cut() -> None:
    for _ in range(2):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        last_used = time.monotonic()
        connection.pool.wait(10)
        parameters = connection.get_connection_params()
        connection.close()
        for name in ("cursor_factory", "context"):
            parameters.pop(name)
        with psycopg.connect(**parameters, autocommit=True) as other:
            cut = other.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
        assert cut is not None
        assert cut[0] >= 2, "the pool had idle connections"
        doubted_at = last_used + BELIEVED_S
        wait_until(partial(_is_past, doubted_at), "no connection is believed unchecked any more")
        started = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert time.monotonic() - started < 5, "the pool itself would pause for 15 seconds and more"
        close_old_connections()


def _is_past(moment: float) -> bool:
    return time.monotonic() > moment


@pytest.mark.django_db(transaction=True)
def test_connection_that_was_used_last_is_used_next() -> None:
    connection.ensure_connection()
    connection.pool.wait(10)
    connection.close()
    first, second = connection.pool.getconn(), connection.pool.getconn()
    servers = {first.info.backend_pid, second.info.backend_pid}
    assert len(servers) == 2, "each has a server process of its own"
    for last in (first, second):
        connection.pool.putconn(last)
    for _ in range(3):
        with prepared_cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            assert cursor.fetchone()[0] == second.info.backend_pid


def test_pool_tries_every_second_however_long_the_database_is_away() -> None:
    attempt, pauses, now = AttemptWithBackoff(timeout=300), [], 0.0
    while now < 200:
        attempt.update_delay(now)
        pauses.append(attempt.delay)
        now += attempt.delay
    assert max(pauses) < 1.2


def test_what_every_call_sends_is_planned_once(execute, prompt):  # noqa: F811 (fixtures)
    for _ in range(3):
        execute(prompt)
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements")
        planned = {text.split("INTO ")[1].split()[0]: plans for text, *plans in cursor.fetchall() if "INTO " in text}
    assert planned["executions_execution"] == [3, 0]
    assert planned["executions_executionattempt"] == [3, 0]


@pytest.mark.django_db(transaction=True)
def test_prepared_statement_takes_a_connection_only_for_itself() -> None:
    connection.close()
    with prepared_cursor() as cursor:
        cursor.execute("SELECT set_config('everquant.rollups', 'off', true)")
        cursor.execute("SELECT coalesce(current_setting('everquant.rollups', true), '')")
        assert cursor.fetchone() == ("",), "each statement is a transaction"
    with pytest.raises(DataError), prepared_cursor() as cursor:
        cursor.execute("SELECT 1 / %s::integer", [0])
    with prepared_cursor() as cursor:
        cursor.execute("SELECT %s::uuid", [UUID(int=7)])
        assert cursor.fetchone() == (UUID(int=7),)
    assert connection.connection is None
    connection.pool.wait(10)
    assert connection.pool.get_stats()["pool_available"] == connection.pool.get_stats()["pool_size"]


@pytest.mark.django_db
def test_statement_of_many_parameters_is_parsed_once() -> None:
    text = f"SELECT {' + '.join(['%s'] * 80)}"
    for hits in (0, 1):
        before = _queries._query2pg.cache_info()
        with prepared_cursor() as cursor:
            cursor.execute(text, [1] * 80)
            assert cursor.fetchone() == (80,)
        after = _queries._query2pg.cache_info()
        assert (after.hits - before.hits, after.misses - before.misses) == (hits, 1 - hits)


@pytest.mark.django_db
def test_prepared_statement_is_part_of_an_open_transaction() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        own = cursor.fetchone()
    with prepared_cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == own
