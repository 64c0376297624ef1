"""A test of an alert: everybody whom it would tell is told at once, and what came of it is answered."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.analytics.alerts.evaluating import event_of
from apps.analytics.alerts.measuring import Measurement, measure
from apps.analytics.alerts.telling import (
    AWAY,
    MAIL_FAILS,
    SMTP_TIMEOUT_S,
    letter_to,
    limit,
    mail_of,
    measured,
    organization_name,
    problem_of,
    recipients,
    told_of,
)
from apps.analytics.models import Alert, AlertEvent
from apps.organizations.models import EventType, WebhookDelivery, WebhookEndpoint
from apps.organizations.webhooks.delivery import deliver
from apps.organizations.webhooks.events import create_deliveries
from everquant.api.errors import Conflict
from everquant.db import assert_no_transaction, release_connection

logger = structlog.get_logger(__name__)

PAUSE = timedelta(seconds=10)
# For all webhooks, and for all mails: what is not done by then is left to the worker, or not sent.
PATIENCE_S = 15
_LATE = "Not sent: the others have taken too long."

Json = dict[str, Any]


def send_test(*, alert: Alert) -> Json:
    """Raises Conflict right after another test, and RuntimeError in a transaction. Nothing of the alert changes."""
    assert_no_transaction()
    now = timezone.now()
    rested = Alert.objects.filter(Q(tested_at__isnull=True) | Q(tested_at__lte=now - PAUSE), id=alert.id)
    if not rested.update(tested_at=now):
        raise Conflict(f"It was tested in the last {PAUSE.seconds} seconds.")
    found = measure(alert, now)
    message = f"{measured(alert, found)}; it fires {limit(alert)}."
    delivery_ids = _create_deliveries(alert, found, message)
    told = mail_of(alert, message, "test")
    organization = organization_name(alert.organization_id)
    letters = [letter_to(email, told, organization) for email in recipients(alert)]
    release_connection()
    return {"message": message, "webhooks": _deliver(delivery_ids), "mails": _send(letters)}


@transaction.atomic
def _create_deliveries(alert: Alert, found: Measurement, message: str) -> list[UUID]:
    """Of an `alert.fired` that says it is a test."""
    endpoints = WebhookEndpoint.objects.for_organization(alert.organization_id).usable()
    subscribed = endpoints.filter(event_types__contains=[EventType.ALERT_FIRED])
    event = event_of(alert, found, AlertEvent.Reason.THRESHOLD, timezone.now())
    event.message = message
    made = create_deliveries(
        organization_id=alert.organization_id,
        endpoint_ids=list(subscribed.order_by("name", "id").values_list("id", flat=True)),
        event_type=EventType.ALERT_FIRED,
        data={**told_of(alert, event), "event_id": None, "is_test": True},
    )
    return [delivery.id for delivery in made]


def _deliver(delivery_ids: list[UUID]) -> list[Json]:
    """Their jobs are queued already: what a worker takes first, or is not reached in time, is sent by that."""
    end = time.monotonic() + PATIENCE_S
    for delivery_id in delivery_ids:
        if time.monotonic() < end:
            deliver(delivery_id=delivery_id)
    made = WebhookDelivery.objects.filter(id__in=delivery_ids).select_related("endpoint")
    return [
        {
            "webhook_id": delivery.endpoint_id,
            "name": delivery.endpoint.name,
            "delivery_id": delivery.id,
            "status": delivery.status,
            "last_status": delivery.last_status,
            "error": delivery.last_error,
        }
        for delivery in made.order_by("endpoint__name", "endpoint_id")
    ]


def _send(letters: list[EmailMessage]) -> list[Json]:
    """One after the other."""
    end = time.monotonic() + PATIENCE_S
    connection = get_connection(timeout=SMTP_TIMEOUT_S)
    errors: dict[str, str] = {}
    for letter in letters:
        [email] = letter.to
        letter.connection = connection
        if AWAY in errors.values() or time.monotonic() >= end:
            errors[email] = AWAY if AWAY in errors.values() else _LATE
            continue
        try:
            letter.send()
            errors[email] = ""
        except MAIL_FAILS as error:
            errors[email] = problem_of(error)
            logger.warning("alert_test_mail_failed", error=str(error))
    return [{"email": email, "is_sent": not error, "error": error} for email, error in errors.items()]
