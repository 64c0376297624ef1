"""What is so at this moment: alerts that fire, tests that run, budgets, what waits, who works."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, DecimalField, F, Max, Min, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from procrastinate.contrib.django.models import ProcrastinateJob, ProcrastinateWorker

from apps.analytics.dashboard.choosing import Choice
from apps.analytics.models import AlertEvent
from apps.evaluations.models import ABArm
from apps.executions.models import Budget, Execution, Status
from apps.executions.orchestrator.queueing import WAITS_AT_MOST
from apps.prompts.models import ABTest
from everquant.api.pagination import COUNT_LIMIT
from everquant.health import WORKER_SILENT_FOR

MOST_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Work:
    """`waiting` executions are counted up to COUNT_LIMIT. `jobs` are those of each queue that wait, by its name.

    Workers and jobs serve all organizations.
    """

    waiting: int
    running: int
    oldest_waits: timedelta | None
    jobs: list[tuple[str, int]]
    workers: int
    silent_for: timedelta | None

    @property
    def is_capped(self) -> bool:
        return self.waiting >= COUNT_LIMIT


def read_work(choice: Choice, now: datetime) -> Work:
    executions: Any = choice.of(Execution.objects.created_from(now - WAITS_AT_MOST)).order_by()
    waiting = executions.filter(status=Status.QUEUED)[:COUNT_LIMIT].aggregate(
        count=Count("id"), oldest=Min("created_at")
    )
    jobs = ProcrastinateJob.objects.filter(Q(scheduled_at__isnull=True) | Q(scheduled_at__lte=now), status="todo")
    alive = Count("id", filter=Q(last_heartbeat__gt=now - WORKER_SILENT_FOR))
    workers = ProcrastinateWorker.objects.aggregate(alive=alive, last=Max("last_heartbeat"))
    return Work(
        waiting=waiting["count"],
        running=executions.filter(status=Status.RUNNING)[:COUNT_LIMIT].count(),
        oldest_waits=now - waiting["oldest"] if waiting["oldest"] else None,
        jobs=list(
            jobs.values_list("queue_name").annotate(count=Count("id")).order_by("-count", "queue_name")[:MOST_SHOWN]
        ),
        workers=workers["alive"],
        silent_for=now - workers["last"] if workers["last"] else None,
    )


def read_alerts(choice: Choice) -> list[Any]:
    """What fires, the newest first, muted or not."""
    rows = choice.of(AlertEvent.objects.open()).select_related("alert", "organization")
    return list(rows.order_by("-fired_at", "-id")[:MOST_SHOWN])


def read_ab_tests(choice: Choice) -> list[Any]:
    """Those that decide what traffic gets, the newest first; `units_seen` of all arms."""
    arms = ABArm.objects.filter(test=OuterRef("pk")).order_by().values("test")
    rows = choice.of(ABTest.objects.alive().live()).select_related("prompt", "organization").defer("final_results")
    units = Subquery(arms.annotate(total=Sum("units")).values("total"))
    return list(rows.annotate(units_seen=Coalesce(units, 0)).order_by("-started_at", "-id")[:MOST_SHOWN])


def read_budgets(choice: Choice) -> list[Any]:
    """Those of which most is gone; `gone` is the share of the limit that is spent or reserved in this period."""
    rows = choice.of(Budget.objects.filter(is_active=True)).with_current_spend().select_related("organization")
    amount: Any = DecimalField(max_digits=30, decimal_places=12)
    spent, reserved = (
        Coalesce(F(name), 0, output_field=amount) for name in ("current_spent_usd", "current_reserved_usd")
    )
    return list(rows.annotate(gone=(spent + reserved) / F("limit_usd")).order_by("-gone", "name", "id")[:MOST_SHOWN])
