from uuid import UUID

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.evaluations.engine.jobs import QUEUE
from apps.evaluations.runs.deleting import purge
from apps.evaluations.runs.services import PURGE_TASK
from everquant.db import DATABASE_AWAY

# What was deleted stays deleted: to go on is to begin again.
_RETRY = RetryStrategy(max_attempts=20, wait=5, retry_exceptions=set(DATABASE_AWAY))


@app.task(name=PURGE_TASK, queue=QUEUE, retry=_RETRY)
def purge_evaluation(*, evaluation_id: str) -> None:
    purge(UUID(evaluation_id))
