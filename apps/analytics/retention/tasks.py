"""What is due is deleted every night; what a worker that ends leaves over goes in the next one."""

from procrastinate.contrib.django import app

from apps.analytics.retention.purging import Purge
from everquant.workers import STOPPING


@app.periodic(cron="17 2 * * *")
@app.task(queueing_lock="analytics.purge", pass_context=False)
def purge(timestamp: int) -> None:
    for _step in Purge(should_stop=STOPPING.is_set).run():
        pass
