"""Jobs of workers that are gone."""

import structlog
from procrastinate import JobContext
from procrastinate.contrib.django import app

from everquant.health import WORKER_SILENT_FOR

logger = structlog.get_logger(__name__)


@app.periodic(cron="* * * * * */15")
@app.task(queueing_lock="everquant.retry_stalled", pass_context=True)
async def retry_stalled(context: JobContext, timestamp: int) -> None:
    """Queue again what a worker had begun that has not given a sign of life for a minute: tasks are idempotent."""
    jobs = context.app.job_manager
    for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=WORKER_SILENT_FOR.total_seconds()):
        logger.warning("job_stalled", job_id=job.id, task=job.task_name)
        await jobs.retry_job(job)
