"""Made-up traffic is stored as real one would be: valid, priced, scored, in its months and in the rollups."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.analytics.models import LedgerMark, PendingExecution, PendingScore
from apps.analytics.rollups.reading import Scope, read, read_scores
from apps.executions.keys import time_of
from apps.executions.models import Execution, ExecutionPayload, Score, Status
from apps.executions.partitions import KEYS, ensure_partitions_between, partition_name
from apps.models.prices import Prices, cost
from apps.models.providers.base import Usage
from apps.organizations.models import Organization
from apps.users.models import User
from tests.conftest import Person

pytestmark = pytest.mark.django_db


def seed(*options: str, count: int = 600, days: int = 3) -> list[str]:
    out = StringIO()
    call_command(
        "seed_executions", "--count", str(count), "--days", str(days), "--organization", "acme", *options, stdout=out
    )
    return out.getvalue().splitlines()


@pytest.fixture
def seeded(organization: Organization) -> list[Execution]:
    seed("--scores", "0.5", "--payloads", "--prompts", "4", "--users", "6")
    return list(Execution.objects.for_organization(organization.id))


def test_it_is_counted_scored_and_looks_like_traffic(seeded: list[Execution], organization: Organization) -> None:
    assert len(seeded) == 600
    boundaries = [timezone.now() - timedelta(days=4), timezone.now() + timedelta(hours=1)]
    (cell,) = read(Scope(organization.id), boundaries=boundaries)
    assert cell.requests == 600
    assert cell.cost_usd == sum(each.cost_usd or 0 for each in seeded) > 0
    assert 0 < cell.errors < 100
    assert 0 < cell.cached < 60
    median = cell.latency.quantile(0.5)
    assert median is not None
    assert 200 < median < 20_000
    by_name = {each.name: each.count for each in read_scores(Scope(organization.id), boundaries=boundaries)}
    assert set(by_name) == {"helpfulness", "is_correct"}
    assert sum(by_name.values()) == Score.objects.for_organization(organization.id).count() > 100
    assert ExecutionPayload.objects.filter(execution__in=[each.id for each in seeded]).count() == 600
    assert not PendingExecution.objects.exists()
    assert not PendingScore.objects.exists()


def test_keys_tell_the_time_and_costs_follow_from_prices(seeded: list[Execution]) -> None:
    for each in seeded:
        assert each.id.version == 7
        assert each.created_at == time_of(each.id)
        assert each.finished_at >= each.created_at
        if each.status == Status.SUCCEEDED and not each.is_cached:
            usage = Usage(
                input_tokens=each.input_tokens,
                cached_input_tokens=each.cached_input_tokens,
                output_tokens=each.output_tokens,
            )
            assert each.cost_usd == cost(usage, Prices.from_row(each.price))
        else:
            assert each.cost_usd == (Decimal(0) if each.is_cached else None)


def test_the_list_and_one_of_them_are_answered(seeded: list[Execution], admin: Person) -> None:
    listed = admin.client.get("/api/v1/executions?per_page=5").json()["data"]
    assert len(listed) == 5
    one = admin.client.get(f"/api/v1/executions/{listed[0]['id']}")
    assert one.status_code == 200


def test_another_run_uses_the_same_people_and_prompts(seeded: list[Execution], organization: Organization) -> None:
    users = User.objects.count()
    seed("--seed", "8", "--prompts", "4", "--users", "6", count=50)
    assert User.objects.count() == users
    assert Execution.objects.for_organization(organization.id).values("prompt_id").distinct().count() <= 4
    assert LedgerMark.objects.filter(organization_id=organization.id).values("day").distinct().count() >= 3


def test_the_rollups_of_a_run_are_verified(organization: Organization) -> None:
    lines = seed(count=200, days=2)
    assert any("200/200 executions" in line for line in lines)
    assert lines[-1].startswith("Rollups in ")


def test_past_months_get_partitions() -> None:
    made = ensure_partitions_between(datetime(2019, 11, 30, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC))
    months = [datetime(2019, 11, 1, tzinfo=UTC), datetime(2019, 12, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)]
    assert sorted(made) == sorted(partition_name(table, month) for table in KEYS for month in months)
    assert ensure_partitions_between(months[0], months[2]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "--count"),
        (["--count", "5", "--days", "0"], "--days"),
        (["--count", "5", "--scores", "1.5"], "--scores"),
    ],
    ids=["count", "days", "scores"],
)
def test_bad_options_are_told(options: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("seed_executions", *options)
    assert not Organization.objects.filter(slug="demo").exists()
