"""Queued executions, and what has to happen again and again: partitions ahead of time, an end for what was
interrupted."""

from uuid import UUID

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.executions.budgets import tasks as budget_tasks  # noqa: F401 (found by way of this module)
from apps.executions.orchestrator import background, queueing
from apps.executions.partitions import ensure_partitions
from apps.executions.sweeping import sweep_up
from everquant.db import DATABASE_AWAY

# A runner that finds the database away has done nothing that would have to be undone.
_RETRY = RetryStrategy(max_attempts=20, wait=5, retry_exceptions=set(DATABASE_AWAY))


@app.task(name=queueing.TASK, queue=queueing.QUEUE, retry=_RETRY)
def run_queued(*, organization_id: str) -> None:
    background.run_queued(UUID(organization_id))


@app.periodic(cron="23 * * * *")
@app.task(queueing_lock="executions.partitions", pass_context=False)
def make_partitions(timestamp: int) -> None:
    ensure_partitions()


@app.periodic(cron="* * * * * */15")
@app.task(queueing_lock="executions.sweep", pass_context=False)
def sweep(timestamp: int) -> None:
    sweep_up()
