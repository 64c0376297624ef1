"""Sending webhooks, and what has to happen to them again and again."""

from uuid import UUID

from procrastinate.contrib.django import app

from apps.organizations.webhooks import delivery
from apps.organizations.webhooks.jobs import QUEUE


@app.task(queue=QUEUE)
def deliver_webhook(*, delivery_id: str) -> None:
    delivery.deliver(delivery_id=UUID(delivery_id))


@app.periodic(cron="* * * * *")
@app.task(queue=QUEUE, queueing_lock="organizations.webhooks.sweep", pass_context=False)
def enqueue_lost_webhooks(timestamp: int) -> None:
    delivery.enqueue_lost()


@app.periodic(cron="41 * * * *")
@app.task(queue=QUEUE, queueing_lock="organizations.webhooks.purge", pass_context=False)
def purge_webhooks(timestamp: int) -> None:
    delivery.purge()
