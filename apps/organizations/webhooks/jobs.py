"""The jobs that send deliveries. They are rows of the transaction that makes them."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from procrastinate.contrib.django import app
from procrastinate.types import JSONDict

QUEUE = "webhooks"
TASK = "apps.organizations.tasks.deliver_webhook"


def enqueue(delivery_ids: Iterable[UUID], *, at: datetime | None = None) -> list[int]:
    """One job for each delivery, not run before `at`; their ids in the same order."""
    task = app.configure_task(TASK, queue=QUEUE, schedule_at=at)
    arguments: list[JSONDict] = [{"delivery_id": str(delivery_id)} for delivery_id in delivery_ids]
    return task.batch_defer(*arguments)
