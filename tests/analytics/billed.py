"""Executions of past days, with prices, payloads, attempts and scores, stored as finished ones are."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.executions.keys import id_bound, time_of
from apps.executions.models import Execution, ExecutionAttempt, ExecutionPayload, Score
from apps.executions.partitions import ensure_partitions
from everquant.db import uuid7

PRICE = {"source": "override", "input": "1.25", "cached_input": "0.125", "cache_write": None, "output": "10",
         "reasoning": "10", "cache_write_1h": None}  # fmt: skip


def today() -> date:
    return timezone.now().date()


def days_ago(number: int) -> date:
    return today() - timedelta(days=number)


def key_in(day: date, hour: float = 12) -> UUID:
    """A key as it would be made at this time (UTC)."""
    moment = datetime.combine(day, time(), tzinfo=UTC) + timedelta(hours=hour)
    return UUID(int=id_bound(moment).int | (uuid7().int & (2**74 - 1)))


def store(organization: Any, day: date, *, hour: float = 12, number: int = 0, **changes: Any) -> Execution:
    """One with everything beside it; `number` makes tokens and cost differ."""
    values = {
        "status": "succeeded", "source": "api", "input_tokens": 1000 + number, "output_tokens": 7, "price": PRICE,
        "provider_model": "gpt-5-mini", "cost_usd": (Decimal("1.25") * (1000 + number) + 70) / 1_000_000,
        "latency_ms": 100, "attempt_count": 1, **changes,
    }  # fmt: skip
    key = values.pop("id", None) or key_in(day, hour)
    made = time_of(key)
    if values["status"] in {"succeeded", "failed", "cancelled"}:
        values.setdefault("finished_at", made + timedelta(seconds=1))
    execution = Execution.objects.create(
        id=key, organization_id=organization.id, created_at=made, started_at=made, **values
    )
    ExecutionPayload.objects.create(execution_id=key, messages=[{"role": "user", "content": "Hi"}], output="Hello")
    ExecutionAttempt.objects.create(
        execution_id=key, number=1, model_id=uuid7(), provider_id=uuid7(), provider_model="gpt-5-mini",
        started_at=made, latency_ms=100,
    )  # fmt: skip
    Score.objects.create(
        organization=organization, execution_id=key, name="good", type="numeric", number=1, source="api"
    )
    return execution


def store_unfinished(organization: Any, day: date, *, status: str = "queued") -> Execution:
    lease = {"lease_expires_at": timezone.now() + timedelta(hours=1)} if status == "running" else {}
    return store(
        organization, day, status=status, cost_usd=None, price=None, input_tokens=None, output_tokens=None, **lease
    )


def month_partitions(*months: date) -> None:
    for month in months:
        ensure_partitions(now=datetime.combine(month, time(), tzinfo=UTC), months_ahead=0)


def count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 (our own names)
        return int(cursor.fetchone()[0])


def exists(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_class WHERE relname = %s)", [table])
        return bool(cursor.fetchone()[0])
