"""Schedules are looked at every minute."""

from django.utils import timezone
from procrastinate.contrib.django import app

from apps.workflows.schedules.starting import start_due_schedules


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="workflows.schedules", pass_context=False)
def start_schedules(timestamp: int) -> None:
    start_due_schedules(timezone.now())
