"""Ready evaluations, and what has to be looked at again and again."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.evaluations.ab_tests import tasks as ab_test_tasks  # noqa: F401 (found by way of this module)
from apps.evaluations.datasets import tasks as dataset_tasks  # noqa: F401 (found by way of this module)
from apps.evaluations.engine import jobs
from apps.evaluations.runs import tasks as run_tasks  # noqa: F401 (found by way of this module)
from everquant.db import DATABASE_AWAY

# A driver that finds the database away has done nothing that would have to be undone.
_RETRY = RetryStrategy(max_attempts=20, wait=5, retry_exceptions=set(DATABASE_AWAY))


@app.task(name=jobs.TASK, queue=jobs.QUEUE, retry=_RETRY)
def drive() -> None:
    from apps.evaluations.engine.running import drive_ready  # noqa: PLC0415 (it loads all that evaluators need)

    drive_ready()


@app.periodic(cron="* * * * * */10")
@app.task(queueing_lock="evaluations.call_missing", pass_context=False)
def call_missing(timestamp: int) -> None:
    jobs.call_missing_drivers()
