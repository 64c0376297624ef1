"""Jobs that come for evaluations; which one a job drives is decided when it runs (see the queue)."""

from django.conf import settings
from django.db import connection
from procrastinate.contrib.django import app

from apps.evaluations.models import Evaluation, EvaluationStatus

TASK = "evaluations.drive"
QUEUE = "evaluations"


def call_drivers(evaluations: int = 1) -> None:
    """For so many ready evaluations; in the transaction that makes them ready."""
    app.configure_task(TASK, queue=QUEUE).batch_defer(*[{} for _ in range(evaluations)])


def has_waiting() -> bool:
    """Whether evaluations wait for a driver."""
    return bool(Evaluation.objects.filter(status=EvaluationStatus.QUEUED).exists())


def call_missing_drivers() -> int:
    """Jobs for ready evaluations that have none; gives how many.

    Those of a killed worker look for a minute as if they were still worked at, so that begun ones do not count.
    """
    ready = Evaluation.objects.filter(status=EvaluationStatus.QUEUED).count() + Evaluation.objects.abandoned().count()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s AND status = 'todo'", [TASK])
        missing = min(ready, settings.QUEUE_RUNNERS) - int(cursor.fetchone()[0])
    if missing > 0:
        call_drivers(missing)
    return max(0, missing)
