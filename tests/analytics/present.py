"""What the dashboard shows: executions of the last hours, and what is so at the moment."""

from datetime import timedelta

from django.db import connection
from django.utils import timezone

from apps.analytics.models import Alert, AlertEvent
from apps.executions.models import Budget
from apps.prompts.models import ABTest
from tests.analytics.making import make_executions, make_world


def make_traffic(person, *, count=60, hours=20, **given):
    world = make_world(person)
    now = timezone.now()
    made = make_executions(
        person, world, count=count, start=now - timedelta(hours=hours), length=timedelta(hours=hours - 1), **given
    )
    return world, made


def make_budget(person, name, **given):
    given = {"scope": "organization", "period": "day", "limit_usd": 1, **given}
    return Budget.objects.create(organization=person.organization, name=name, **given)


def make_alert(person, name, **given):
    alert = Alert.objects.create(
        organization=person.organization, name=name, metric="error_rate", threshold=0.1, window_minutes=15, min_count=1,
        firing_since=timezone.now(), **given,
    )  # fmt: skip
    return AlertEvent.objects.create(
        organization=person.organization, alert=alert, reason="threshold", condition={}, message="Far too many errors",
        threshold=0.1, value=0.5, count=10, fired_at=timezone.now() - timedelta(minutes=4, seconds=30),
    )  # fmt: skip


def make_ab_test(person, world, name, **given):
    return ABTest.objects.create(
        organization=person.organization, prompt=world.prompts[0], name=name, primary_metric="success", min_effect=0.1,
        status="running", started_at=timezone.now(), phase=1, **given,
    )  # fmt: skip


def add_worker(beat):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s)", [beat])
