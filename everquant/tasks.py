"""Jobs of workers that are gone."""

import structlog
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from everquant.health import WORKER_SILENT_FOR

logger = structlog.get_logger(__name__)


@app.periodic(cron="* * * * * */15")
@app.task(queueing_lock="everquant.retry_stalled", pass_context=True)
async def retry_stalled(context: JobContext, timestamp: int) -> None:
    """Queue again what a worker had begun that has not given a sign of life for a minute: tasks are idempotent."""
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=WORKER_SILENT_FOR.total_seconds()):
        logger.warning("job_stalled", job_id=job.id, task=job.task_name)
        await _queue_again(jobs, job)


async def _queue_again(jobs: JobManager, job: Job) -> None:
    """One whose queueing lock another has by now goes: that one does the same."""
    try:
        await jobs.retry_job(job)
    except UniqueViolation:
        await jobs.finish_job(job, status=Status.ABORTED, delete_job=True)
