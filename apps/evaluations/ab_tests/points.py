"""The results over time, for a plot: a point a minute at first, and fewer the longer the test lasts."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.evaluations.ab_tests.collecting import lock_for_sums
from apps.evaluations.models import ABPoint
from apps.prompts.models import ABTest

SHORTEST = timedelta(minutes=1)
# Of the time since the start, so that their number grows with its logarithm: a month has less than 1000.
SHARE = 0.01


def add_point(test: ABTest, results: Mapping[str, Any]) -> ABPoint | None:
    """What the results say, if the last point is old enough and there have been units since."""
    with transaction.atomic():
        if lock_for_sums(test.id, skip_locked=True) is None:
            return None
        last, now = _last(test), timezone.now()
        if results["units"] == (last.units if last else 0) or (last and now - last.taken_at < _pause(test, now)):
            return None
        return ABPoint.objects.create(test=test, taken_at=now, units=results["units"], metrics=_shown(results))


def _last(test: ABTest) -> ABPoint | None:
    found: ABPoint | None = ABPoint.objects.filter(test=test).order_by("-taken_at").first()
    return found


def _pause(test: ABTest, now: datetime) -> timedelta:
    return max(SHORTEST, SHARE * (now - (test.started_at or now)))


def _shown(results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        metric["name"]: {
            arm["variant"]: {
                "n": arm["units"],
                "value": arm["value"],
                **{
                    name: arm["difference"][key] if arm["difference"] else None
                    for name, key in (("difference", "value"), ("low", "low"), ("high", "high"))
                },
            }
            for arm in metric["arms"]
        }
        for metric in results["metrics"]
    }
