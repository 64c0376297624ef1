"""Ready runs, and what has to be looked at again and again."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.workflows.engine import queue
from apps.workflows.schedules import tasks as schedule_tasks  # noqa: F401 (found by way of this module)
from everquant.db import DATABASE_AWAY

# A worker that finds the database away has done nothing that would have to be undone.
_RETRY = RetryStrategy(max_attempts=20, wait=5, retry_exceptions=set(DATABASE_AWAY))


@app.task(name=queue.TASK, queue=queue.QUEUE, retry=_RETRY)
def run_next() -> None:
    from apps.workflows.engine.running import run_ready  # noqa: PLC0415 (it loads LangGraph)

    run_ready()


@app.task(name=queue.WAKE_TASK, queue=queue.QUEUE, retry=_RETRY)
def wake_due() -> None:
    queue.wake_due()


@app.periodic(cron="* * * * * */10")
@app.task(queueing_lock="workflows.wake", pass_context=False)
def wake(timestamp: int) -> None:
    queue.wake_due()
    queue.call_missing_workers()


@app.periodic(cron="41 * * * *")
@app.task(queueing_lock="workflows.purge", pass_context=False)
def purge(timestamp: int) -> None:
    from apps.workflows.engine import checkpoints  # noqa: PLC0415 (it loads LangGraph)

    checkpoints.purge()
