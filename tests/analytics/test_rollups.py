"""Rollups are what executions and their scores add up to: at once, after the worker, after changes and anew."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from apps.analytics.models import ExecutionRollup, PendingExecution, RetentionPolicy
from apps.analytics.rollups.adding import add_batch, add_pending
from apps.analytics.rollups.cubes import CUBES, DIMENSIONS, EXECUTIONS, Grain, cube_of
from apps.analytics.rollups.reading import Cell, Scope, read, read_scores
from apps.analytics.rollups.spans import plan_spans
from apps.executions.keys import id_bound
from apps.executions.models import Execution, Score, Status
from apps.organizations.models import Organization
from everquant.db import uuid7
from everquant.histogram import Histogram
from tests.analytics.making import make_world
from tests.conftest import Person

pytestmark = pytest.mark.django_db

FIRST = datetime(2026, 3, 28, 22, 7, 31, 250_000, tzinfo=UTC)
Make = Callable[..., Execution]


def key_at(moment: datetime) -> UUID:
    return UUID(int=id_bound(moment).int | (uuid7().int & (2**80 - 1)))


def execution_at(organization_id: UUID, moment: datetime, **values: Any) -> Execution:
    values = {"status": Status.SUCCEEDED, "cost_usd": Decimal("0.001"), "input_tokens": 10, "latency_ms": 100, **values}
    if values["status"] == Status.FAILED:
        values.setdefault("error_code", "TIMEOUT")
    if values["cost_usd"] is not None:
        values.setdefault("price", {})
    key = key_at(moment)
    values.setdefault("finished_at", moment)
    return Execution(id=key, organization_id=organization_id, created_at=moment, **values)


@pytest.fixture
def make(organization: Organization) -> Make:
    def make(moment: datetime = FIRST, **values: Any) -> Execution:
        execution = execution_at(values.pop("organization_id", organization.id), moment, **values)
        execution.save(force_insert=True)
        return execution

    return make


def many(organization_id: UUID, count: int, *, seed: int, days: float = 4) -> list[Execution]:
    """Of few prompts, models and users, so that groups have several."""
    rng = random.Random(seed)
    ids = [UUID(int=rng.getrandbits(128)) for _ in range(12)]
    return [
        execution_at(
            organization_id,
            FIRST + timedelta(milliseconds=rng.randrange(int(days * 86_400_000))),
            status=rng.choice([Status.SUCCEEDED] * 4 + [Status.FAILED, Status.CANCELLED]),
            prompt_id=rng.choice([None, *ids[:3]]),
            prompt_version_id=rng.choice(ids[3:5]),
            model_id=rng.choice(ids[5:8]),
            created_by_id=rng.choice([None, *ids[8:10]]),
            api_key_id=rng.choice([None, ids[10]]),
            source=rng.choice(["api", "batch"]),
            is_cached=rng.random() < 0.1,
            cost_usd=rng.choice([None, Decimal(rng.randrange(10**9)).scaleb(-12)]),
            saved_cost_usd=rng.choice([None, Decimal("0.000000000007")]),
            output_tokens=rng.choice([None, rng.randrange(1000)]),
            latency_ms=rng.choice([None, 0, round(rng.lognormvariate(7, 1))]),
            first_token_ms=rng.choice([None, rng.randrange(1, 900)]),
        )
        for _ in range(count)
    ]


def store(executions: Iterable[Execution]) -> None:
    Execution.objects.bulk_create(executions)


def naive(
    executions: Iterable[Execution],
    boundaries: list[datetime],
    group_by: tuple[str, ...] = (),
    filters: dict[str, tuple[Any, ...]] | None = None,
) -> list[Cell]:
    """The same, added up one by one."""
    found: dict[Any, Cell] = {}
    for e in executions:
        bucket = sum(boundary <= e.created_at for boundary in boundaries) - 1
        if not 0 <= bucket < len(boundaries) - 1:
            continue
        if any((getattr(e, DIMENSIONS[name]) or None) not in values for name, values in (filters or {}).items()):
            continue
        key = tuple(getattr(e, DIMENSIONS[name]) or None for name in group_by)
        cell = found.setdefault((bucket, key), Cell(bucket, key))
        cell.requests += 1
        cell.errors += e.status == Status.FAILED
        cell.cancelled += e.status == Status.CANCELLED
        cell.cached += e.is_cached
        cell.unpriced += e.cost_usd is None and e.input_tokens is not None and not e.is_cached
        for name in ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"):
            setattr(cell, name, getattr(cell, name) + (getattr(e, name) or 0))
        cell.cost_usd += e.cost_usd or 0
        cell.saved_cost_usd += e.saved_cost_usd or 0
        for sum_name, histogram, value in (
            ("latency_sum_ms", cell.latency, e.latency_ms),
            ("first_token_sum_ms", cell.first_token, e.first_token_ms),
        ):
            if value is not None:
                setattr(cell, sum_name, getattr(cell, sum_name) + value)
                histogram.add(value)
    return sorted(found.values(), key=lambda cell: (cell.bucket, [str(part) for part in cell.key]))


def every(hours: float, *, start: datetime = FIRST, count: int = 8) -> list[datetime]:
    return [start + timedelta(hours=hours * place) for place in range(count + 1)]


MIDNIGHT = datetime(2026, 3, 29, tzinfo=UTC)
BOUNDARIES = {
    "odd moments": every(7.3),
    "days": every(24, start=MIDNIGHT, count=3),
    "days in Kolkata": every(24, start=MIDNIGHT - timedelta(hours=5.5), count=4),
    "days in Kathmandu": every(24, start=MIDNIGHT - timedelta(hours=5.75), count=4),
    "minutes": every(1 / 60, start=FIRST + timedelta(hours=1), count=60),
    "everything": [FIRST - timedelta(days=400), FIRST + timedelta(days=400)],
}
GROUPS: list[tuple[str, ...]] = [
    (),
    ("model",),
    ("status",),
    ("prompt", "version"),
    ("user", "api_key"),
    ("user", "prompt"),
]


@pytest.mark.parametrize("boundaries", BOUNDARIES.values(), ids=BOUNDARIES)
def test_what_is_read_is_what_rows_add_up_to(boundaries: list[datetime], organization: Organization) -> None:
    executions = many(organization.id, 90, seed=len(boundaries))
    expected = {group_by: naive(executions, boundaries, group_by) for group_by in GROUPS}

    def found() -> dict[tuple[str, ...], list[Cell]]:
        return {group_by: read(Scope(organization.id), boundaries=boundaries, group_by=group_by) for group_by in GROUPS}

    store(executions[:50])
    add_pending()
    store(executions[50:])
    assert found() == expected
    add_pending()
    assert not PendingExecution.objects.exists()
    assert found() == expected


@pytest.mark.parametrize("name", ["prompt", "status", "user"])
def test_filters(name: str, organization: Organization) -> None:
    executions = many(organization.id, 80, seed=3)
    store(executions)
    add_batch(EXECUTIONS, organization.id, 50)
    values = sorted({getattr(each, DIMENSIONS[name]) for each in executions}, key=str)
    for wanted in [(values[0],), (values[-1],), tuple(values)]:
        for boundaries in (every(31, count=3), BOUNDARIES["odd moments"]):
            found = read(Scope(organization.id, {name: wanted}), boundaries=boundaries)
            assert found == naive(executions, boundaries, filters={name: wanted})
    assert read(Scope(organization.id, {"prompt": (uuid4(),)}), boundaries=every(9)) == []


def whole(organization_id: UUID | None, **filters: tuple[Any, ...]) -> Cell:
    """Of all times; the empty one when there is none."""
    found = read(Scope(organization_id, filters), boundaries=BOUNDARIES["everything"])
    return found[0] if found else Cell(0, ())


Wait = Callable[[], int]
MOMENTS: list[tuple[str, Wait]] = [("while it waits", lambda: 0), ("when it is added up", add_pending)]
at_both_moments = pytest.mark.parametrize("wait", [wait for _, wait in MOMENTS], ids=[name for name, _ in MOMENTS])


@at_both_moments
def test_only_what_has_ended_counts_and_once(wait: Wait, make: Make, organization: Organization) -> None:
    execution = make(status=Status.QUEUED, finished_at=None, cost_usd=None)
    wait()
    assert whole(organization.id).requests == 0
    execution.start(lease_expires_at=FIRST)
    execution.fail(code="TIMEOUT_TOTAL", message="")
    assert not execution.cancel()
    wait()
    cell = whole(organization.id)
    assert (cell.requests, cell.errors, cell.cancelled) == (1, 1, 0)
    Execution.objects.filter(id=execution.id).update(metadata={"a": 1})
    wait()
    assert whole(organization.id) == cell


@at_both_moments
def test_a_new_price_or_latency_replaces_the_old_one(wait: Wait, make: Make, organization: Organization) -> None:
    changed, other = make(cost_usd=None, latency_ms=5000), make(latency_ms=80)
    assert whole(organization.id).unpriced == 1
    wait()
    row = Execution.objects.filter(id=changed.id)
    row.update(cost_usd=Decimal("0.25"), price={})
    row.update(latency_ms=70, model_id=UUID(int=5), prompt_id=UUID(int=6))
    wait()
    cell = whole(organization.id)
    assert (cell.requests, cell.unpriced, cell.cost_usd) == (2, 0, Decimal("0.251"))
    assert (cell.latency.count, cell.latency.quantile(1), cell.latency_sum_ms) == (2, told(80), 150)
    assert whole(organization.id, model=(UUID(int=5),)).requests == 1
    assert whole(organization.id, model=(None,), prompt=(None,)).cost_usd == other.cost_usd


def told(value: float) -> float | None:
    histogram = Histogram()
    histogram.add(value)
    return histogram.quantile(0.5)


def test_cells_that_end_empty_are_gone(make: Make, organization: Organization) -> None:
    execution = make(model_id=UUID(int=1))
    add_pending()
    Execution.objects.filter(id=execution.id).update(model_id=UUID(int=2))
    add_pending()
    assert not ExecutionRollup.objects.filter(model_id=UUID(int=1)).exists()
    assert not ExecutionRollup.objects.filter(requests__lte=0).exists()


def scores_of(organization_id: UUID, **filters: tuple[Any, ...]) -> dict[str, tuple[int, float, float]]:
    found = read_scores(Scope(organization_id, filters), boundaries=BOUNDARIES["everything"])
    return {each.name: (each.count, each.total, each.squares) for each in found}


@at_both_moments
def test_scores(wait: Wait, make: Make, organization: Organization) -> None:
    execution = make(prompt_id=UUID(int=1))
    running = make(status=Status.RUNNING, started_at=FIRST, lease_expires_at=FIRST, finished_at=None)

    def score(of: Execution, number: float | None, **values: Any) -> Score:
        kind = {"type": "text", "text": "fine"} if number is None else {"type": "numeric", "number": number}
        columns = {"name": "tone", "source": "api", **kind, **values}
        return Score.objects.create(organization=organization, execution=of, **columns)

    first = score(execution, 0.5)
    second = score(execution, -2)
    score(execution, None)
    score(execution, 1, name="is_correct", type="boolean")
    score(running, 4)
    wait()
    assert scores_of(organization.id) == {"tone": (2, -1.5, 4.25), "is_correct": (1, 1, 1)}
    assert scores_of(organization.id, prompt=(UUID(int=1),))["tone"] == (2, -1.5, 4.25)
    running.cancel()
    second.delete()
    first.number = 0.25
    first.save()
    wait()
    assert scores_of(organization.id)["tone"] == (2, 4.25, 16.0625)
    assert scores_of(organization.id, status=(Status.CANCELLED,)) == {"tone": (1, 4, 16)}


def test_providers_and_tags_are_those_of_now(organization: Organization, admin: Person) -> None:
    world = make_world(admin)
    support_german, support, bare = (prompt.id for prompt in world.prompts)
    one, *_, other = world.models
    moment = FIRST
    store(
        execution_at(organization.id, moment, prompt_id=prompt, model_id=model)
        for prompt, model in [(support_german, one.id), (support, one.id), (bare, other.id), (None, None)]
    )
    boundaries = BOUNDARIES["everything"]

    def by(*group_by: str, **filters: tuple[Any, ...]) -> dict[tuple[Any, ...], int]:
        cells = read(Scope(organization.id, filters), boundaries=boundaries, group_by=group_by)
        return {cell.key: cell.requests for cell in cells}

    assert by("tag") == {("support",): 2, ("german",): 1, (None,): 2}
    assert by("provider") == Counter([(one.provider_id,), (one.provider_id,), (other.provider_id,), (None,)])
    assert by("status", tag=("german", "support")) == {("succeeded",): 2}
    assert by("provider", "tag", provider=(other.provider_id,)) == {(other.provider_id, None): 1}
    assert by(provider=(one.provider_id,), model=(other.id,)) == {} or one.provider_id == other.provider_id
    assert by(tag=("nowhere",)) == {}


def test_organizations_are_apart_and_all_of_them_together(make: Make, organization: Organization) -> None:
    other = Organization.objects.create(name="Other", slug="other")
    make()
    make(organization_id=other.id, cost_usd=Decimal(7))
    for _ in range(2):
        assert whole(organization.id).cost_usd == Decimal("0.001")
        assert whole(other.id).cost_usd == 7
        assert whole(None).requests == 2
        assert whole(None, model=(None,), user=(None,), prompt=(None,)).requests == 2
        minutes = [FIRST - timedelta(minutes=1), FIRST + timedelta(minutes=1)]
        assert [read(Scope(owner), boundaries=minutes)[0].requests for owner in (other.id, None)] == [1, 2]
        add_pending()
    other.delete()
    assert not ExecutionRollup.objects.filter(organization_id=other.id).exists()
    assert whole(None).requests == 1


def test_what_waits_for_an_organization_that_is_gone_is_dropped(make: Make) -> None:
    make(organization_id=uuid4())
    assert add_pending() == 0
    assert not PendingExecution.objects.exists()


def test_every_question_has_a_cube() -> None:
    assert cube_of(["status"]).dimensions == ()
    assert cube_of(["model", "prompt", "status"]).dimensions == ("prompt", "version", "model")
    assert cube_of(DIMENSIONS).number == CUBES[-1].number
    with pytest.raises(KeyError):
        cube_of(["tag"])


def test_long_ranges_read_few_cells(organization: Organization) -> None:
    year = [datetime(2026, 1, 1, 5, 45, tzinfo=UTC), datetime(2027, 1, 1, 5, 45, tzinfo=UTC)]
    spans = plan_spans(organization.id, CUBES[0], year)
    assert not spans.rows
    cells = {grain: sum((b - a) // grain.length for a, b in ranges) for grain, ranges in spans.cells.items()}
    assert cells == {Grain.DAY: 364, Grain.SHIFT: 3, Grain.HOUR: 5, Grain.QUARTER: 1 + 3}


def test_a_boundary_in_a_purged_time_is_that_of_its_cell(make: Make, organization: Organization) -> None:
    make(FIRST)
    make(FIRST + timedelta(days=3))
    add_pending()
    boundaries = [FIRST - timedelta(minutes=1), FIRST + timedelta(minutes=1), FIRST + timedelta(days=4)]
    before = read(Scope(organization.id), boundaries=boundaries)
    assert [cell.requests for cell in before] == [1, 1]
    RetentionPolicy.objects.create(organization=organization, purged_before=(FIRST + timedelta(days=2)).date())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL everquant.rollups = 'off'")
        Execution.objects.created_before(FIRST + timedelta(days=1)).delete()
    after = read(Scope(organization.id), boundaries=boundaries)
    assert [(cell.bucket, cell.requests) for cell in after] == [(1, 2)]
    assert whole(organization.id).requests == 2
