"""Several workers, rebuilding and comparing beside live work, and the command for operators."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from apps.analytics.models import ExecutionRollup, PendingExecution, RetentionPolicy, ScoreRollup
from apps.analytics.rollups.adding import LOCK, add_batch, add_pending
from apps.analytics.rollups.cubes import EXECUTIONS, Grain
from apps.analytics.rollups.reading import Scope, read
from apps.analytics.rollups.rebuilding import Day, days_between, rebuild
from apps.analytics.rollups.verifying import verify
from apps.executions.models import Execution, Score
from apps.organizations.models import Organization
from everquant.histogram import Histogram, bucket_of
from tests.analytics.test_rollups import BOUNDARIES, FIRST, execution_at, many, naive, store

pytestmark = pytest.mark.django_db(transaction=True)
EVERYTHING = BOUNDARIES["everything"]


def rollup(*options: str) -> list[str]:
    out = StringIO()
    call_command("rollup", *options, stdout=out)
    return out.getvalue().splitlines()


def on_own_connection(call: Callable[[], int]) -> int:
    try:
        return call()
    finally:
        connection.close()


def range_of(organization: Organization) -> list[Day]:
    return list(days_between(FIRST.date(), (FIRST + timedelta(days=6)).date(), organization.id))


@contextmanager
def locked(organization: Organization) -> Iterator[None]:
    """As while another worker adds for the organization."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> int:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, str(organization.id)])
            taken.set()
            return int(done.wait(30))

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(on_own_connection, hold)
        assert taken.wait(30)
        try:
            yield
        finally:
            done.set()
            assert held.result()


def test_workers_at_once_count_each_row_once(organization: Organization) -> None:
    executions = many(organization.id, 120, seed=11)
    store(executions)
    with ThreadPoolExecutor(3) as pool:
        adding = [pool.submit(on_own_connection, lambda: add_pending(batch=7)) for _ in range(3)]
    assert sum(each.result() for each in adding) > 0
    add_pending()
    assert not PendingExecution.objects.exists()
    assert read(Scope(organization.id), boundaries=EVERYTHING) == naive(executions, EVERYTHING)
    assert not [found for day in range_of(organization) for found in verify(day)]


def test_an_organization_that_is_worked_on_is_left_to_that_worker(organization: Organization) -> None:
    other = Organization.objects.create(name="Other", slug="other")
    store(execution_at(each.id, FIRST) for each in (organization, other))
    with locked(organization):
        assert add_batch(EXECUTIONS, organization.id) == 0
        add_pending()
        assert list(PendingExecution.objects.values_list("organization_id", flat=True)) == [organization.id]
        assert read(Scope(None), boundaries=EVERYTHING)[0].requests == 2


def test_a_worker_that_dies_has_added_nothing(organization: Organization) -> None:
    store(many(organization.id, 20, seed=1))

    @transaction.atomic
    def die() -> None:
        assert add_batch(EXECUTIONS, organization.id, 5) > 0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        die()
    assert PendingExecution.objects.count() == 20
    assert not ExecutionRollup.objects.exists()


def test_beside_writers_nothing_is_lost_or_counted_twice(organization: Organization) -> None:
    """Executions come, end and change while one worker adds, another rebuilds, and readers ask."""
    executions = many(organization.id, 90, seed=5, days=2)
    is_done = threading.Event()

    def write() -> int:
        rng = random.Random(1)
        for place in range(0, len(executions), 6):
            store(executions[place : place + 6])
            for each in rng.sample(executions[: place + 6], 3):
                each.cost_usd, each.price = Decimal(rng.randrange(100)), {}
                each.latency_ms = rng.randrange(1, 9000)
                each.save(update_fields=["cost_usd", "price", "latency_ms"])
        is_done.set()
        return len(executions)

    def again(work: Callable[[], object]) -> int:
        times = 0
        while not is_done.is_set():
            work()
            times += 1
        return times

    def ask() -> None:
        cells = read(Scope(organization.id), boundaries=EVERYTHING)
        total = sum(cell.requests for cell in cells)
        assert total % 6 == 0
        assert sum(cell.requests for cell in read(Scope(organization.id), boundaries=EVERYTHING)) >= total

    work = [write, lambda: again(add_pending), lambda: again(lambda: [rebuild(d) for d in range_of(organization)]),
            lambda: again(ask)]  # fmt: skip
    with ThreadPoolExecutor(len(work)) as pool:
        done = [pool.submit(on_own_connection, each) for each in work]
    assert all(each.result() for each in done)
    assert read(Scope(organization.id), boundaries=EVERYTHING) == naive(executions, EVERYTHING)
    assert not [found for day in range_of(organization) for found in verify(day)]
    add_pending()
    assert not [found for day in range_of(organization) for found in verify(day)]


def test_a_difference_is_named_and_a_rebuild_ends_it(organization: Organization) -> None:
    store(execution_at(organization.id, FIRST, latency_ms=number) for number in (10, 20))
    rollup()
    options = ["--from", str(FIRST.date()), "--to", str(FIRST.date())]
    assert rollup("--verify", *options) == ["1 days compared, 0 differences"]
    damaged = ExecutionRollup.objects.filter(cube=1, grain=Grain.HOUR)
    damaged.update(latency_sum_ms=31)
    out = StringIO()
    with pytest.raises(CommandError, match="--rebuild"):
        call_command("rollup", "--verify", *options, stdout=out)
    assert "acme 2026-03-28 22:00 hour by all: latency_sum_ms is 31, not 30" in out.getvalue()
    assert rollup("--rebuild", "--organization", "acme", *options)[0].startswith("1/1 acme 2026-03-28: ")
    assert rollup("--verify", *options) == ["1 days compared, 0 differences"]
    ExecutionRollup.objects.all().delete()
    with pytest.raises(CommandError):
        rollup("--verify", *options)


def test_a_histogram_that_differs_is_named_too(organization: Organization) -> None:
    store(execution_at(organization.id, FIRST, latency_ms=number) for number in (10, 20))
    rollup()
    other = Histogram([(bucket_of(10), 2)]).to_bytes()
    ExecutionRollup.objects.filter(cube=1, grain=Grain.HOUR).update(latency=other)
    out = StringIO()
    with pytest.raises(CommandError, match="--rebuild"):
        call_command("rollup", "--verify", "--from", str(FIRST.date()), "--to", str(FIRST.date()), stdout=out)
    assert "acme 2026-03-28 22:00 hour by all: latency is " in out.getvalue()


def test_a_rebuild_leaves_cells_and_what_waits_of_others(organization: Organization) -> None:
    other = Organization.objects.create(name="Other", slug="other")
    added = [execution_at(owner.id, FIRST) for owner in (organization, other)]
    store(added)
    rollup()
    store([waiting := execution_at(other.id, FIRST)])
    rollup("--rebuild", "--organization", "acme", "--from", str(FIRST.date()), "--to", str(FIRST.date()))
    assert PendingExecution.objects.filter(organization_id=other.id).count() == 1
    assert read(Scope(other.id), boundaries=EVERYTHING) == naive([added[1], waiting], EVERYTHING)
    assert read(Scope(organization.id), boundaries=EVERYTHING) == naive(added[:1], EVERYTHING)


def test_what_was_stored_uncounted_is_counted_by_a_rebuild(organization: Organization) -> None:
    executions = many(organization.id, 60, seed=9)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL everquant.rollups = 'off'")
        store(executions)
        Score.objects.create(
            organization=organization, execution=executions[0], name="tone", type="numeric", number=2, source="api"
        )
    assert not PendingExecution.objects.exists()
    assert read(Scope(organization.id), boundaries=EVERYTHING) == []
    rollup("--rebuild", "--to", str((FIRST + timedelta(days=6)).date()))
    assert read(Scope(organization.id), boundaries=EVERYTHING, group_by=("prompt", "model")) == naive(
        executions, EVERYTHING, ("prompt", "model")
    )
    assert ScoreRollup.objects.filter(total=2, squares=4, count=1).exists()


def test_purged_days_are_not_made_anew(organization: Organization) -> None:
    store(execution_at(organization.id, FIRST + timedelta(days=number)) for number in (0, 3))
    add_pending()
    RetentionPolicy.objects.create(organization=organization, purged_before=(FIRST + timedelta(days=2)).date())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL everquant.rollups = 'off'")
        Execution.objects.created_before(FIRST + timedelta(days=1)).delete()
    with pytest.raises(CommandError, match="are purged"):
        rollup("--rebuild", "--from", str(FIRST.date()))
    assert rollup("--verify", "--from", str(FIRST.date()), "--to", str(FIRST.date()))[-1].endswith(" 0 differences")
    rollup("--rebuild", "--to", str((FIRST + timedelta(days=5)).date()))
    assert read(Scope(organization.id), boundaries=EVERYTHING)[0].requests == 2


@pytest.mark.parametrize(
    "options", [["--organization", "nobody", "--verify"], ["--verify", "--rebuild"]], ids=["organization", "both"]
)
def test_bad_options_are_told(options: list[str]) -> None:
    with pytest.raises(CommandError):
        rollup(*options)
