"""Statements of every call find their rows by key, also in a month that was empty when they were planned."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.executions.keys import id_bound, time_of
from apps.executions.models import Execution, ExecutionPayload, Status
from apps.executions.orchestrator.queueing import _TAKE
from everquant.db import uuid7

pytestmark = pytest.mark.django_db
TYPES = {"organization": "uuid", "low": "uuid", "high": "uuid", "now": "timestamptz", "lease": "timestamptz"}
ROWS = 300


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def most_read(statement: str, parameters: list[Any]) -> float:
    """How many rows the busiest scan of the prepared statement looked at."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {statement}", parameters)
        found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return max(
        node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
        for node in nodes(plan)
    )


def test_queued_execution_is_taken_by_its_key(organization):
    text = _TAKE
    for place, (name, kind) in enumerate(TYPES.items(), 1):
        text = text.replace(f"%({name})s", f"${place}::{kind}")
    now = timezone.now()
    bounds = [id_bound(now - timedelta(days=7)), id_bound(now + timedelta(hours=1))]
    parameters = [organization.id, *bounds, now, now + timedelta(minutes=1)]
    places = f"take_queued({', '.join(f'%s::{kind}' for kind in TYPES.values())})"
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE executions_execution, executions_executionpayload")
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE take_queued ({', '.join(TYPES.values())}) AS {text}")
    most_read(places, parameters)
    keys = [uuid7() for _ in range(ROWS)]
    Execution.objects.bulk_create(
        Execution(
            id=key,
            organization_id=organization.id,
            status=Status.QUEUED,
            created_at=time_of(key),
            batch_row=ROWS - place,
        )
        for place, key in enumerate(keys)
    )
    ExecutionPayload.objects.bulk_create(ExecutionPayload(execution_id=key, messages=[]) for key in keys)
    assert most_read(places, parameters) <= 2
    taken = Execution.objects.get(status=Status.RUNNING)
    assert taken.id == keys[-1]
    assert taken.queue_ms == 0, "the clock of whoever stored it is ahead"
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE take_queued")
