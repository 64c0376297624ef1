"""Rollups follow what happens by a few seconds; questions are exact meanwhile."""

from procrastinate.contrib.django import app

from apps.analytics.rollups.adding import add_pending


@app.periodic(cron="* * * * * */5")
@app.task(queueing_lock="analytics.add_pending", pass_context=False)
def add_up(timestamp: int) -> None:
    add_pending()
