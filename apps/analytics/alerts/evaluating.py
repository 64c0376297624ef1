"""Every minute each alert is looked at, by one worker at a time: it fires, goes on firing, or is resolved.

What an alert becomes, its event, and the jobs that tell of it are one transaction under the alert's lock.
"""

from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.analytics.alerts.measuring import Measurement, measure
from apps.analytics.alerts.telling import condition_of, message_of, tell_owed
from apps.analytics.models import Alert, AlertBaseline, AlertEvent
from apps.analytics.models.alerts import MESSAGE_LENGTH
from everquant.workers import STOPPING

logger = structlog.get_logger(__name__)

KEPT_FOR = timedelta(days=400)

_REASON, _RESOLUTION = AlertEvent.Reason, AlertEvent.Resolution


def evaluate_due() -> int:
    """Each alert that nobody has looked at for a while: how many. One that fails holds up no other."""
    evaluated = 0
    due = Alert.objects.due(timezone.now()).order_by(F("evaluated_at").asc(nulls_first=True), "id")
    for alert_id in list(due.values_list("id", flat=True)):
        if STOPPING.is_set():
            break
        try:
            evaluated += evaluate(alert_id)
        except Exception:
            logger.exception("alert_not_evaluated", alert_id=str(alert_id))
    return evaluated


@transaction.atomic
def evaluate(alert_id: UUID, now: datetime | None = None) -> bool:
    """Whether it was evaluated: not while somebody else does, and not right after."""
    now = now or timezone.now()
    locked = Alert.objects.select_for_update(of=("self",), no_key=True, skip_locked=True)
    alert: Alert | None = locked.due(now).filter(id=alert_id).first()
    if alert is None:
        return False
    found = measure(alert, now)
    _move(alert, found, now)
    tell_owed(alert, now)
    alert.evaluated_at = now
    alert.known_at = alert.known_at if found.is_breached is None else now
    changed = ("firing_since", "evaluated_at", "known_at")
    Alert.objects.filter(id=alert.id).update(**{name: getattr(alert, name) for name in changed})
    return True


def _move(alert: Alert, found: Measurement, now: datetime) -> None:
    reason = _reason_to_fire(alert, found)
    event = alert.events.open().first()
    if event is None:
        if reason is not None and not _is_cooling(alert, now):
            fire(alert, found, reason, now)
    elif reason is None:
        resolution = _resolution(alert, event, found, now)
        if resolution is not None:
            resolve(alert, event, resolution, now, value=found.reading.value)


def _reason_to_fire(alert: Alert, found: Measurement) -> AlertEvent.Reason | None:
    if found.is_breached:
        return _REASON.THRESHOLD if alert.baseline == AlertBaseline.NONE else _REASON.CHANGE
    return _REASON.NO_DATA if alert.fires_on_no_data and found.is_without_data else None


def _is_cooling(alert: Alert, now: datetime) -> bool:
    """Whether it was resolved a short while ago; that its condition was changed does not count."""
    since = now - timedelta(minutes=alert.cooldown_minutes)
    return bool(alert.events.filter(resolved_at__gt=since).exclude(resolution=_RESOLUTION.CHANGED).exists())


def _resolution(alert: Alert, event: AlertEvent, found: Measurement, now: datetime) -> AlertEvent.Resolution | None:
    """Nothing known does not end a breach, but for a whole window of it."""
    if found.is_breached is not None or (event.reason == _REASON.NO_DATA and not found.is_without_data):
        return _RESOLUTION.RECOVERED
    known_at = max(filter(None, (alert.known_at, event.fired_at)))
    return _RESOLUTION.NO_DATA if now - known_at >= alert.window else None


def fire(alert: Alert, found: Measurement, reason: AlertEvent.Reason, now: datetime) -> None:
    alert.firing_since = now
    event_of(alert, found, reason, now).save(force_insert=True)
    logger.warning("alert_fired", alert_id=str(alert.id), reason=reason, value=found.reading.value)


def event_of(alert: Alert, found: Measurement, reason: AlertEvent.Reason, now: datetime) -> AlertEvent:
    """Not saved."""
    return AlertEvent(
        organization_id=alert.organization_id,
        alert=alert,
        reason=reason,
        condition=condition_of(alert),
        message=message_of(alert, found, reason)[:MESSAGE_LENGTH],
        threshold=alert.threshold,
        value=found.reading.value,
        count=found.reading.count,
        baseline_value=found.baseline.value if found.baseline else None,
        baseline_count=found.baseline.count if found.baseline else None,
        fired_at=now,
    )


def resolve(
    alert: Alert, event: AlertEvent, resolution: AlertEvent.Resolution, now: datetime, *, value: float | None = None
) -> None:
    """Of this object only `firing_since` is changed; who has the alert's lock saves it."""
    alert.firing_since = None
    event.resolved_at, event.resolution, event.resolved_value = max(now, event.fired_at), resolution, value
    event.save_fields("resolved_at", "resolution", "resolved_value")
    logger.info("alert_resolved", alert_id=str(alert.id), resolution=resolution)


def purge_events() -> int:
    """Resolved events that are older than `KEPT_FOR` go: how many."""
    return int(AlertEvent.objects.filter(resolved_at__lt=timezone.now() - KEPT_FOR).delete()[0])
