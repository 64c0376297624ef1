"""Making and changing alerts. What changes what an alert asks for ends what it fires for."""

import math
from collections.abc import Callable
from copy import copy
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.analytics.alerts.evaluating import resolve
from apps.analytics.alerts.measuring import MONEY
from apps.analytics.alerts.telling import CONDITION, tell, tell_owed
from apps.analytics.models import Alert, AlertBaseline, AlertDirection, AlertEvent, AlertMetric
from apps.models.models import LLMModel, Provider
from apps.organizations.models import Organization
from apps.prompts.models import ABTest, Prompt
from apps.users.models import ApiKey, Membership
from apps.workflows.models import Workflow
from everquant.api.errors import BadRequest, Conflict

MAX_ALERTS = 100
MIN_COUNT = 20
MOST = 1e12
# Longer windows would be compared with a part of themselves.
_LONGEST_MINUTES = {AlertBaseline.DAY_BEFORE: 1440, AlertBaseline.WEEK_BEFORE: 7 * 1440}
_REFERENCES: dict[str, tuple[Callable[[], Any], str]] = {
    "prompt": (Prompt.objects.all, "id"),
    "model": (LLMModel.objects.all, "id"),
    "provider": (Provider.objects.all, "id"),
    "user": (Membership.objects.all, "user_id"),
    "api_key": (ApiKey.objects.all, "id"),
    "ab_test": (ABTest.objects.all, "id"),
    "workflow": (Workflow.objects.all, "id"),
}


@transaction.atomic
def create_alert(*, organization_id: UUID, **values: Any) -> Alert:
    """Raises BadRequest naming what does not fit together, Conflict at MAX_ALERTS."""
    alert = Alert(organization_id=organization_id)
    _set(alert, values)
    Organization.objects.select_for_update(no_key=True).get(id=organization_id)
    if Alert.objects.for_organization(organization_id).count() >= MAX_ALERTS:
        raise Conflict(f"An organization has at most {MAX_ALERTS} alerts.")
    alert.save(force_insert=True)
    return alert


@transaction.atomic
def update_alert(*, alert: Alert, **values: Any) -> Alert:
    """Of a locked alert. Raises BadRequest naming what does not fit together."""
    before = copy(alert)
    _set(alert, values)
    if _asked(before) != _asked(alert):
        # Those who were told, who may be others than from now on.
        _end(before, AlertEvent.Resolution.CHANGED)
        alert.known_at = alert.evaluated_at = alert.firing_since = None
        values |= {"known_at": None, "evaluated_at": None, "firing_since": None}
    alert.save_fields(*values)
    return alert


def delete_alert(*, alert: Alert) -> None:
    """With its history. Of a locked alert."""
    _end(alert, AlertEvent.Resolution.DELETED)
    alert.delete()


def mute(*, alert: Alert, until: datetime, reason: str) -> Alert:
    """Nobody is told of anything until then; what still holds then is told."""
    alert.muted_until, alert.mute_reason = until, reason
    alert.save_fields("muted_until", "mute_reason")
    return alert


def unmute(*, alert: Alert) -> Alert:
    """One that is not muted stays as it is. Of a locked alert."""
    if alert.muted_until is not None:
        alert.muted_until, alert.mute_reason = None, ""
        alert.save_fields("muted_until", "mute_reason")
        tell_owed(alert, timezone.now())
    return alert


def _asked(alert: Alert) -> dict[str, Any]:
    return {name: getattr(alert, name) for name in (*CONDITION, "is_active")}


def _end(alert: Alert, resolution: AlertEvent.Resolution) -> None:
    """Who was told that it fires is told that it does not any more; muted or not, as it may not be looked at again."""
    now = timezone.now()
    for event in alert.events.open():
        resolve(alert, event, resolution, now)
    for event in alert.events.owed().order_by("id"):
        tell(alert, event, now)


def _set(alert: Alert, values: dict[str, Any]) -> None:
    if "min_count" in values and values["min_count"] is None:
        metric, baseline = (values.get(name, getattr(alert, name)) for name in ("metric", "baseline"))
        values["min_count"] = 0 if metric in MONEY and baseline == AlertBaseline.NONE else MIN_COUNT
    if "filters" in values:
        check_filters(alert.organization_id, values["filters"])
    for name, value in values.items():
        setattr(alert, name, value)
    problems = problems_of(alert)
    if problems:
        name, problem = next(iter(problems.items()))
        raise BadRequest(f"{name}: {problem}", details=problems)


def problems_of(alert: Alert) -> dict[str, str]:
    """What does not fit together, by field."""
    found = {}
    if alert.metric == AlertMetric.SCORE_MEAN and not alert.score_name:
        found["score_name"] = "This metric needs the name of a score."
    if alert.metric != AlertMetric.SCORE_MEAN and alert.score_name:
        found["score_name"] = "Only score_mean is of a score."
    longest = _LONGEST_MINUTES.get(AlertBaseline(alert.baseline))
    if longest and alert.window_minutes > longest:
        found["baseline"] = f"Is for windows of at most {longest} minutes."
    if threshold := _problem_of_threshold(alert):
        found["threshold"] = threshold
    return found


def _problem_of_threshold(alert: Alert) -> str:
    value, is_above = alert.threshold, alert.direction == AlertDirection.ABOVE
    if not math.isfinite(value) or abs(value) > MOST:
        return f"Must be a number of at most {MOST:.0e}."
    if alert.baseline != AlertBaseline.NONE:
        if value <= 0 or (value >= 1 and not is_above):
            return "A change is a share more than 0, and a fall less than 1: 0.5 is half of the baseline."
    elif alert.metric == AlertMetric.ERROR_RATE:
        if not (0 <= value < 1 if is_above else 0 < value <= 1):
            return "An error rate is a share from 0 to 1, and must be able to lie beyond the threshold."
    elif alert.metric != AlertMetric.SCORE_MEAN and (value < 0 or (value == 0 and not is_above)):
        return "Must be more than 0, or 0 with the direction above."
    return ""


def check_filters(organization_id: UUID, filters: dict[str, list[str]]) -> None:
    """Raises BadRequest naming each id that is not the organization's."""
    problems = {}
    for name, (rows, column) in _REFERENCES.items():
        if name not in filters:
            continue
        mine = rows().for_organization(organization_id).filter(**{f"{column}__in": filters[name]})
        known = {str(key) for key in mine.values_list(column, flat=True)}
        for place, value in enumerate(filters[name]):
            if value not in known:
                problems[f"filters.{name}.{place}"] = "No such object."
    if problems:
        raise BadRequest(f"{next(iter(problems))}: No such object.", details=problems)
