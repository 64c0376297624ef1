"""Telling of alerts: webhooks and mails are queued in the transaction that notes that they were."""

from collections.abc import Mapping
from datetime import datetime
from email.errors import MessageError
from smtplib import SMTPException
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db.models import Case, F, Value, When
from django.utils import timezone
from procrastinate.contrib.django import app

from apps.analytics.alerts.measuring import Measurement
from apps.analytics.models import Alert, AlertBaseline, AlertDirection, AlertEvent, AlertLetter, AlertMetric
from apps.organizations.models import DeliveryStatus, EventType, Organization
from apps.organizations.webhooks import emit
from apps.users.models import Membership
from everquant.db import release_connection

SEND_TASK = "analytics.send_alert_mail"
SMTP_TIMEOUT_S = 10
# Of a letter, within an hour and a half; then it is given up.
MOST_ATTEMPTS = 7
MAIL_FAILS = (SMTPException, OSError, ValueError, MessageError)
REFUSED = "The mail server refuses it."
UNWRITABLE = "No mail can be written to this address."
AWAY = "The mail server cannot be reached."
CONDITION = (
    "metric", "score_name", "filters", "direction", "threshold", "baseline", "window_minutes", "min_count",
    "fires_on_no_data",
)  # fmt: skip
_SUBJECTS = {"fired": "Alert {name} fires", "resolved": "Alert {name} is resolved", "test": "Test of alert {name}"}
_MAIL = """\
{opening}

{message}

What it has told of: {url}/events
It can be muted for a while: POST {url}/mute
"""
_OPENINGS = {
    "fired": 'The alert "{name}" of {organization} on EverQuant fires.',
    "resolved": 'The alert "{name}" of {organization} on EverQuant is resolved. It had fired for this:',
    "test": 'This is a test of the alert "{name}" of {organization} on EverQuant. It sees this now:',
}
_BEFORE = {
    AlertBaseline.PREVIOUS: "right before",
    AlertBaseline.DAY_BEFORE: "a day before",
    AlertBaseline.WEEK_BEFORE: "a week before",
}

logger = structlog.get_logger(__name__)

Json = dict[str, Any]


def tell_owed(alert: Alert, now: datetime) -> int:
    """Tell what nobody was told of yet, if the alert is not muted: how many things. Needs the alert's lock."""
    if alert.is_muted(now):
        return 0
    owed = list(alert.events.owed().order_by("id"))
    for event in owed:
        tell(alert, event, now)
    return len(owed)


def tell(alert: Alert, event: AlertEvent, now: datetime) -> None:
    has_ended = event.resolved_at is not None
    event_type = EventType.ALERT_RESOLVED if has_ended else EventType.ALERT_FIRED
    emit(organization_id=alert.organization_id, event=event_type, data=told_of(alert, event))
    about = AlertLetter.About.RESOLVED if has_ended else AlertLetter.About.FIRED
    common = {"organization_id": alert.organization_id, "event": event, "about": about}
    letters = AlertLetter.objects.bulk_create(AlertLetter(**common, email=email) for email in recipients(alert))
    task, told = app.configure_task(SEND_TASK), mail_of(alert, event.message, about)
    for letter in letters:
        task.defer(email=letter.email, told={**told}, letter_id=str(letter.id))
    column = "resolved_told_at" if has_ended else "fired_told_at"
    setattr(event, column, now)
    event.save_fields(column)


def told_of(alert: Alert, event: AlertEvent) -> Json:
    """The `data` of a webhook."""
    return {
        "alert_id": alert.id,
        "organization_id": alert.organization_id,
        "event_id": event.id,
        "name": alert.name,
        "is_test": False,
        "reason": event.reason,
        "message": event.message,
        "condition": event.condition,
        "value": event.value,
        "count": event.count,
        "baseline_value": event.baseline_value,
        "baseline_count": event.baseline_count,
        "fired_at": event.fired_at,
        "resolved_at": event.resolved_at,
        "resolution": event.resolution or None,
        "resolved_value": event.resolved_value,
    }


def recipients(alert: Alert) -> list[str]:
    """The alert's own addresses and those of the members with its roles, each once."""
    members = Membership.objects.for_organization(alert.organization_id).in_force().filter(role__in=alert.roles)
    found = set(members.values_list("user__email", flat=True)) if alert.roles else set()
    return sorted({email.lower(): email for email in [*alert.emails, *found]}.values())


def condition_of(alert: Alert) -> Json:
    return {name: getattr(alert, name) for name in CONDITION}


def message_of(alert: Alert, found: Measurement, reason: str) -> str:
    """One sentence, such as "error_rate is 0.25 of 20 executions in the last 5 minutes, above 0.1."."""
    if reason == AlertEvent.Reason.NO_DATA:
        return f"There are only {_span(alert, found)}; {_named(alert)} needs at least {max(alert.min_count, 1)}."
    return f"{measured(alert, found)}, {limit(alert)}."


def measured(alert: Alert, found: Measurement) -> str:
    """Such as "cost_usd is 3 of 20 executions in the last 5 minutes and was 1 right before (+200.0%)"."""
    text = f"{_named(alert)} is {number(found.reading.value)} of {_span(alert, found)}"
    if found.baseline is None:
        return text
    change = "" if found.change is None else f" ({found.change:+.1%})"
    return f"{text} and was {number(found.baseline.value)} {_BEFORE[AlertBaseline(alert.baseline)]}{change}"


def limit(alert: Alert) -> str:
    """Such as "above 0.1", or of a change "above +50.0%"."""
    if alert.baseline == AlertBaseline.NONE:
        return f"{alert.direction} {number(alert.threshold)}"
    return f"{alert.direction} {alert.threshold if alert.direction == AlertDirection.ABOVE else -alert.threshold:+.1%}"


def _named(alert: Alert) -> str:
    return f"{alert.metric} of {alert.score_name}" if alert.score_name else alert.metric


def _span(alert: Alert, found: Measurement) -> str:
    counted = "scores" if alert.metric == AlertMetric.SCORE_MEAN else "executions"
    return f"{found.reading.count} {counted} in the last {alert.window_minutes} minutes"


def number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def mail_of(alert: Alert, message: str, kind: str) -> dict[str, str]:
    """What the job of a letter is given."""
    return {
        "kind": kind,
        "alert_id": str(alert.id),
        "organization_id": str(alert.organization_id),
        "name": alert.name,
        "message": message,
    }


def send_alert_mail(*, email: str, told: Mapping[str, str], letter_id: str | None) -> None:
    """Raises one of MAIL_FAILS, which the history has then. Nothing keeps it of a deleted alert."""
    letter = letter_to(email, told, organization_name(told["organization_id"]))
    release_connection()
    letter.connection = get_connection(timeout=SMTP_TIMEOUT_S)
    try:
        letter.send()
    except MAIL_FAILS as error:
        logger.warning("alert_mail_failed", letter_id=letter_id, error=str(error))
        is_last = When(attempts__gte=MOST_ATTEMPTS - 1, then=Value(DeliveryStatus.FAILED))
        _note(letter_id, status=Case(is_last, default=F("status")), last_error=problem_of(error))
        raise
    _note(letter_id, status=DeliveryStatus.SUCCEEDED, last_error="")


def _note(letter_id: str | None, **changes: Any) -> None:
    if letter_id is not None:
        letters = AlertLetter.objects.filter(id=letter_id)
        letters.update(**changes, attempts=F("attempts") + 1, updated_at=timezone.now())


def problem_of(error: Exception) -> str:
    """In words for everybody; what the mail server says is for the log."""
    if isinstance(error, SMTPException):
        return REFUSED
    return AWAY if isinstance(error, OSError) else UNWRITABLE


def organization_name(organization_id: UUID | str) -> str:
    return str(Organization.objects.values_list("name", flat=True).get(id=organization_id))


def letter_to(email: str, told: Mapping[str, str], organization: str) -> EmailMessage:
    words = {name: " ".join(value.split()) for name, value in {**told, "organization": organization}.items()}
    body = _MAIL.format(
        opening=_OPENINGS[words["kind"]].format(**words),
        message=words["message"],
        url=f"{settings.PUBLIC_URL}/api/v1/alerts/{words['alert_id']}",
    )
    return EmailMessage(_SUBJECTS[words["kind"]].format(**words), body, settings.DEFAULT_FROM_EMAIL, [email])
