"""Rows find their month; months are made ahead, again and again, and take over what came before them."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from apps.executions.keys import id_bound, time_of
from apps.executions.models import Execution, ExecutionPayload
from apps.executions.partitions import KEYS, MONTHS_AHEAD, default_name, ensure_partitions, partition_name
from apps.executions.tasks import make_partitions
from everquant.db import uuid7

pytestmark = pytest.mark.django_db


def partition_of(table, key) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tableoid::regclass::text FROM {table} WHERE {KEYS[table]} = %s", [key])  # noqa: S608 (our own names)
        return cursor.fetchone()[0]


def partitions(table) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table])
        return [name for (name,) in cursor.fetchall()]


def key_at(*date: int) -> UUID:
    """A key as it would be made at this time (UTC)."""
    return UUID(int=id_bound(datetime(*date, tzinfo=UTC)).int | (uuid7().int & (2**80 - 1)))


def store(organization, key) -> None:
    Execution.objects.create(id=key, organization_id=organization.id, created_at=time_of(key))
    ExecutionPayload.objects.create(execution_id=key, messages=[])


def test_migrations_make_this_month_and_those_ahead():
    now = timezone.now()
    for table in KEYS:
        names = partitions(table)
        assert default_name(table) in names
        assert partition_name(table, now) in names
        assert len(names) >= MONTHS_AHEAD + 2


def test_an_execution_and_what_is_beside_it_land_in_their_month(execute, prompt):
    answer = execute(prompt)
    for table in KEYS:
        assert partition_of(table, answer["id"]) == partition_name(table, timezone.now())


def test_the_job_makes_what_is_missing_and_may_run_again(organization):
    january = datetime(2090, 1, 15, tzinfo=UTC)
    made = ensure_partitions(now=january, months_ahead=1)
    assert sorted(made) == sorted(f"{table}_y2090m0{month}" for table in KEYS for month in (1, 2))
    assert ensure_partitions(now=january, months_ahead=1) == []
    make_partitions(timestamp=0)


@pytest.mark.parametrize(
    ("key", "month"),
    [
        (key_at(2091, 12, 1), "y2091m12"),
        (key_at(2091, 12, 31, 23, 59, 59, 999000), "y2091m12"),
        (key_at(2092, 1, 1), "y2092m01"),
    ],
    ids=["first", "last", "next"],
)
def test_bounds_are_the_first_instants_of_months(organization, key, month):
    ensure_partitions(now=datetime(2091, 12, 5, tzinfo=UTC), months_ahead=1)
    store(organization, key)
    for table in ("executions_execution", "executions_executionpayload"):
        assert partition_of(table, key) == f"{table}_{month}"


def test_without_its_month_a_row_is_in_the_default_until_the_month_takes_it_over(organization):
    inside, outside = key_at(2093, 5, 20), key_at(2093, 7, 20)
    for key in (inside, outside):
        store(organization, key)
        assert partition_of("executions_execution", key) == "executions_execution_default"
    ensure_partitions(now=datetime(2093, 5, 1, tzinfo=UTC), months_ahead=0)
    for table in ("executions_execution", "executions_executionpayload"):
        assert partition_of(table, inside) == f"{table}_y2093m05"
        assert partition_of(table, outside) == default_name(table)
    assert Execution.objects.whole().get(id=inside).payload.messages == []


def test_a_made_partition_has_the_constraints_and_indexes_of_its_parent():
    ensure_partitions(now=datetime(2094, 1, 1, tzinfo=UTC), months_ahead=0)
    with connection.cursor() as cursor:
        of_parent, of_made = (
            _shape(cursor, table) for table in ("executions_execution", "executions_execution_y2094m01")
        )
    assert of_parent == of_made
    assert of_parent["indexes"] == 15


def _shape(cursor, table) -> dict:
    cursor.execute("SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND indisvalid", [table])
    indexes = cursor.fetchone()[0]
    cursor.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'", [table])
    return {"indexes": indexes, "checks": sorted(name for (name,) in cursor.fetchall())}


@pytest.mark.parametrize("date", [(1, 1, 1), (1970, 1, 1), (2026, 11, 22), (9999, 12, 31)], ids=str)
def test_bounds_of_any_date_are_keys(date):
    moment = datetime(*date, tzinfo=UTC)
    assert time_of(id_bound(moment)) == max(moment, datetime(1970, 1, 1, tzinfo=UTC))
