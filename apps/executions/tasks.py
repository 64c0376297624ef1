"""What has to happen again and again: partitions ahead of time, and an end for what was interrupted."""

from procrastinate.contrib.django import app

from apps.executions.partitions import ensure_partitions
from apps.executions.services import fail_interrupted


@app.periodic(cron="23 * * * *")
@app.task(queueing_lock="executions.partitions", pass_context=False)
def make_partitions(timestamp: int) -> None:
    ensure_partitions()


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="executions.sweep", pass_context=False)
def sweep(timestamp: int) -> None:
    fail_interrupted()
