"""Ended executions of a test as rows, as the orchestrator leaves them."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.executions.keys import time_of
from apps.executions.models import Execution, Score
from apps.prompts.models import ABTest
from everquant.db import uuid7


def execution_of(test: ABTest, variant: str = "control", unit_id: str = "", **columns: Any) -> Execution:
    """Not stored; one that succeeded after 100 ms unless `columns` say otherwise."""
    key = uuid7()
    at = time_of(key)
    said: dict[str, Any] = {
        "status": "succeeded", "latency_ms": 100, "output_tokens": 10, "started_at": at, "finished_at": at,
        "ab_phase": 1, **columns,
    }  # fmt: skip
    if said["status"] == "failed":
        said.setdefault("error_code", "SERVER_ERROR")
    if said["status"] in {"queued", "running"}:
        said["finished_at"] = None
        said["lease_expires_at"] = at + timedelta(minutes=1) if said["status"] == "running" else None
    if said.get("cost_usd") is not None:
        said.setdefault("price", {})
    return Execution(
        id=key,
        organization_id=test.organization_id,
        prompt_id=test.prompt_id,
        created_at=at,
        unit_id=unit_id,
        ab_test_id=test.id,
        ab_variant=variant,
        **said,
    )


def expose(test: ABTest, variant: str = "control", unit_id: str = "", **columns: Any) -> Execution:
    execution = execution_of(test, variant, unit_id, **columns)
    execution.save(force_insert=True)
    return execution


def end(execution: Execution, status: str = "succeeded", **columns: Any) -> None:
    if status == "failed":
        columns.setdefault("error_code", "SERVER_ERROR")
    Execution.objects.filter(id=execution.id).update(status=status, finished_at=timezone.now(), **columns)


def score(execution: Execution, name: str, number: float) -> Score:
    """Stored in bulk, which writes no audit entry: that has no room for NaN."""
    said = {"organization_id": execution.organization_id, "execution_id": execution.id, "name": name}
    return Score.objects.bulk_create([Score(type="numeric", number=number, source="api", **said)])[0]
