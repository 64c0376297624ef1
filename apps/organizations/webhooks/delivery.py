"""Sending what was emitted, at least once: claim it, send it without a transaction, write down what came of it."""

from datetime import datetime, timedelta
from secrets import SystemRandom
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.organizations.models import DeliveryStatus, EventType, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from apps.organizations.webhooks.jobs import enqueue
from apps.organizations.webhooks.sending import Outcome, send
from apps.organizations.webhooks.signing import signature_header
from everquant.api.envelope import dumps
from everquant.db import assert_no_transaction, release_connection
from everquant.encryption import DecryptionError

Changes = dict[str, Any]

logger = structlog.get_logger(__name__)

# Seconds to wait before each further attempt: together 23.6 hours.
RETRY_DELAYS_S = (5, 300, 1800, 7200, 18000, 28800, 28800)
JITTER = 0.1
CLAIM = timedelta(seconds=60)
AT_ONCE_PER_ENDPOINT = 10
AT_ONCE_PER_ORGANIZATION = 20
BUSY_DELAY_S = 2.0
# The database's clock says when a job runs, ours when a delivery is due.
CLOCK_SLACK = timedelta(seconds=1)
SWEEP_AFTER = timedelta(seconds=60)
SWEEP_ROWS = 1000
FAILING_FOR = timedelta(days=5)
KEPT_FOR = timedelta(days=30)
PURGE_ROWS = 1000
GONE = 410

_random = SystemRandom()


def deliver(*, delivery_id: UUID) -> None:
    """One attempt, if the delivery is due and nobody else is making one. Raises RuntimeError in a transaction."""
    assert_no_transaction()
    delivery = _claim(delivery_id, timezone.now())
    if delivery is None:
        return
    release_connection()
    _record(delivery, _attempt(delivery))


def _claim(delivery_id: UUID, now: datetime) -> WebhookDelivery | None:
    """The delivery with its endpoint, this caller's for the time of the claim."""
    due = WebhookDelivery.objects.pending().unclaimed(now).filter(next_attempt_at__lte=now + CLOCK_SLACK)
    delivery: WebhookDelivery | None = due.select_related("endpoint").filter(id=delivery_id).first()
    if delivery is None:
        return None
    if delivery.endpoint.is_deleted or not delivery.endpoint.is_active:
        due.filter(id=delivery_id).update(**_ended(DeliveryStatus.FAILED), last_error="The endpoint is switched off.")
        return None
    if _is_busy(delivery, now):
        _postpone(delivery, now)
        return None
    delivery.claim_id, delivery.claim_expires_at = uuid4(), now + CLAIM
    claim = {"claim_id": delivery.claim_id, "claim_expires_at": delivery.claim_expires_at}
    return delivery if due.filter(id=delivery_id).update(**claim) else None


def _is_busy(delivery: WebhookDelivery, now: datetime) -> bool:
    """Whether slow endpoints hold their share of the worker already."""
    underway = WebhookDelivery.objects.for_organization(delivery.organization_id).filter(
        claim_id__isnull=False, claim_expires_at__gt=now
    )
    count = underway.aggregate(all=Count("id"), here=Count("id", filter=Q(endpoint_id=delivery.endpoint_id)))
    return count["here"] >= AT_ONCE_PER_ENDPOINT or count["all"] >= AT_ONCE_PER_ORGANIZATION


@transaction.atomic
def _postpone(delivery: WebhookDelivery, now: datetime) -> None:
    at = now + timedelta(seconds=BUSY_DELAY_S * _random.uniform(1, 2))
    unclaimed = WebhookDelivery.objects.pending().unclaimed(now).filter(id=delivery.id)
    unclaimed.update(next_attempt_at=at, job_id=enqueue([delivery.id], at=at)[0])


def _attempt(delivery: WebhookDelivery) -> Outcome:
    now = timezone.now()
    timestamp = int(now.timestamp())
    body = dumps(delivery.payload)
    try:
        keys = delivery.endpoint.reveal_secrets(now)
    except DecryptionError:
        return Outcome(None, 0, error="The endpoint's secret cannot be decrypted.")
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "everquant",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature_header(keys, event_id=delivery.event_id, timestamp=timestamp, body=body),
    }
    return send(delivery.endpoint.url, body=body, headers=headers)


@transaction.atomic
def _record(claimed: WebhookDelivery, outcome: Outcome) -> None:
    """Nothing is written by a sender that has lost its claim: another one has sent, or will send, as well."""
    held = WebhookDelivery.objects.select_for_update(of=("self",)).filter(id=claimed.id, claim_id=claimed.claim_id)
    delivery: WebhookDelivery | None = held.select_related("endpoint").first()
    if delivery is None:
        logger.warning("webhook_claim_lost", delivery_id=str(claimed.id))
        return
    now = timezone.now()
    delivery.attempts += 1
    WebhookAttempt.objects.create(
        delivery=delivery,
        number=delivery.attempts,
        status=outcome.status,
        latency_ms=outcome.latency_ms,
        response_excerpt=outcome.excerpt,
        error=outcome.error,
    )
    changes: Changes = {"attempts": delivery.attempts, "last_status": outcome.status, "last_error": outcome.error}
    if outcome.is_taken:
        changes |= {**_ended(DeliveryStatus.SUCCEEDED), "delivered_at": now}
        WebhookEndpoint.objects.filter(id=delivery.endpoint_id, failing_since__isnull=False).update(failing_since=None)
    else:
        changes |= _after_failure(delivery, outcome, now)
    WebhookDelivery.objects.filter(id=delivery.id).update(**changes, updated_at=now)


def _after_failure(delivery: WebhookDelivery, outcome: Outcome, now: datetime) -> Changes:
    """What becomes of the delivery, and of an endpoint that is gone or has failed for days."""
    unfailed = WebhookEndpoint.objects.filter(id=delivery.endpoint_id, failing_since__isnull=True)
    unfailed.update(failing_since=now)
    delay_s = retry_delay_s(delivery)
    if outcome.status == GONE:
        _disable(delivery, "The endpoint answered with status 410: it is gone.")
    elif delay_s is not None:
        at = now + timedelta(seconds=delay_s * _random.uniform(1, 1 + JITTER))
        job_id = enqueue([delivery.id], at=at)[0]
        return {"claim_id": None, "claim_expires_at": None, "next_attempt_at": at, "job_id": job_id}
    elif delivery.endpoint.failing_since is not None and delivery.endpoint.failing_since <= now - FAILING_FOR:
        _disable(delivery, f"Nothing was taken for {FAILING_FOR.days} days.")
    return _ended(DeliveryStatus.FAILED)


def retry_delay_s(delivery: WebhookDelivery) -> int | None:
    """After the attempts so far, without jitter; None when there is no further one. A test is sent once."""
    made = delivery.attempts - delivery.attempts_before
    if delivery.event_type == EventType.WEBHOOK_TEST or made > len(RETRY_DELAYS_S):
        return None
    return RETRY_DELAYS_S[made - 1]


def _disable(delivery: WebhookDelivery, reason: str) -> None:
    endpoint = WebhookEndpoint.objects.select_for_update().get(id=delivery.endpoint_id)
    endpoint.disable(reason)
    logger.warning("webhook_disabled", endpoint_id=str(endpoint.id), reason=reason)


def _ended(status: DeliveryStatus) -> Changes:
    nothing = ("next_attempt_at", "claim_id", "claim_expires_at", "job_id")
    return {"status": status, **dict.fromkeys(nothing)}


@transaction.atomic
def enqueue_lost() -> int:
    """New jobs for deliveries that are overdue and have none, as when a worker was killed: how many."""
    now = timezone.now()
    job = ProcrastinateJob.objects.filter(id=OuterRef("job_id"), status="todo")
    overdue = WebhookDelivery.objects.pending().unclaimed(now).filter(next_attempt_at__lt=now - SWEEP_AFTER)
    lost = overdue.exclude(Exists(job)).order_by("next_attempt_at", "id")
    deliveries = list(lost.select_for_update(of=("self",), skip_locked=True).only("id")[:SWEEP_ROWS])
    if deliveries:
        job_ids = enqueue(delivery.id for delivery in deliveries)
        for delivery, job_id in zip(deliveries, job_ids, strict=True):
            delivery.job_id = job_id
        WebhookDelivery.objects.bulk_update(deliveries, ["job_id"])
    return len(deliveries)


def purge() -> int:
    """Deliveries that ended and are older than `KEPT_FOR` go, with their attempts: how many."""
    old = WebhookDelivery.objects.exclude(status=DeliveryStatus.PENDING).filter(
        created_at__lt=timezone.now() - KEPT_FOR
    )
    purged = 0
    while ids := list(old.values_list("id", flat=True)[:PURGE_ROWS]):
        with transaction.atomic():
            WebhookAttempt.objects.filter(delivery_id__in=ids).delete()
            purged += WebhookDelivery.objects.filter(id__in=ids).delete()[0]
    return purged
