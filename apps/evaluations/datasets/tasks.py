"""Imports of files that are not small, and the files that nobody has resumed."""

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from apps.evaluations.datasets.importing import services
from everquant.db import DATABASE_AWAY

_RETRY = RetryStrategy(max_attempts=20, wait=5, retry_exceptions=set(DATABASE_AWAY))


@app.task(name=services.TASK, queue=services.QUEUE, retry=_RETRY)
def import_file(*, import_id: str) -> None:
    services.work_at(import_id)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="datasets.call_missing", pass_context=False)
def call_missing(timestamp: int) -> None:
    services.call_missing_jobs()


@app.periodic(cron="17 * * * *")
@app.task(queueing_lock="datasets.drop_old_files", pass_context=False)
def drop_old_files(timestamp: int) -> None:
    services.drop_old_files()
