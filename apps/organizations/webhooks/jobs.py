"""The jobs that send deliveries. They are rows of the transaction that makes them."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from procrastinate.contrib.django import app

QUEUE = "webhooks"
TASK = "apps.organizations.tasks.deliver_webhook"


def enqueue(delivery_ids: Iterable[UUID], *, at: datetime | None = None) -> list[int]:
    """One job for each delivery, not run before `at`; their ids in the same order."""
    task = app.configure_task(TASK, queue=QUEUE, schedule_at=at)
    return task.batch_defer(*({"delivery_id": str(delivery_id)} for delivery_id in delivery_ids))
