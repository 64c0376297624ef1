"""Endpoints as people change them, their secrets, and deliveries that are asked for by hand."""

from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import transaction
from django.utils import timezone

from apps.organizations.models import (
    DeliveryStatus,
    EventType,
    Organization,
    SigningSecrets,
    WebhookDelivery,
    WebhookEndpoint,
)
from apps.organizations.webhooks.events import create_deliveries
from apps.organizations.webhooks.jobs import enqueue
from apps.organizations.webhooks.signing import new_secret
from everquant.api.errors import Conflict
from everquant.db import lock_for_update
from everquant.encryption import DecryptionError, rotate

MAX_ENDPOINTS = 50


@transaction.atomic
def create_endpoint(*, organization_id: UUID, **values: Any) -> tuple[WebhookEndpoint, str]:
    """The endpoint and its secret, which is shown this once. Raises Conflict at MAX_ENDPOINTS."""
    Organization.objects.select_for_update(no_key=True).get(id=organization_id)
    if WebhookEndpoint.objects.for_organization(organization_id).alive().count() >= MAX_ENDPOINTS:
        raise Conflict(f"An organization has at most {MAX_ENDPOINTS} webhooks.")
    endpoint, secret = WebhookEndpoint(organization_id=organization_id, **values), new_secret()
    endpoint.set_secret(secret)
    endpoint.save(force_insert=True)
    return endpoint, secret


def update_endpoint(*, endpoint: WebhookEndpoint, **values: Any) -> WebhookEndpoint:
    """Whoever switches it on again starts anew: why it was switched off, and since when it failed, is forgotten."""
    is_woken = values.get("is_active", False) and not endpoint.is_active
    if is_woken:
        values = {**values, "disabled_reason": "", "failing_since": None}
    for name, value in values.items():
        setattr(endpoint, name, value)
    endpoint.save_fields(*values)
    return endpoint


@transaction.atomic
def delete_endpoint(*, endpoint: WebhookEndpoint) -> None:
    """Its secrets are of no use any more; what was delivered is kept as long as ever."""
    endpoint.set_secret("")
    endpoint.previous_encrypted_secret = endpoint.previous_secret_expires_at = None
    endpoint.is_active = False
    endpoint.save_fields("encrypted_secret", "previous_encrypted_secret", "previous_secret_expires_at", "is_active")
    endpoint.soft_delete()


def rotate_secret(*, endpoint: WebhookEndpoint) -> str:
    """The new secret, shown this once. The old one signs as well for SECRET_OVERLAP."""
    secret = new_secret()
    endpoint.replace_secret(secret, timezone.now())
    endpoint.save_fields("encrypted_secret", "previous_encrypted_secret", "previous_secret_expires_at")
    return secret


@transaction.atomic
def send_test(*, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """A `webhook.test` for this endpoint alone, whatever it asks for. Raises Conflict when it is switched off."""
    _require_active(endpoint)
    [delivery] = create_deliveries(
        organization_id=endpoint.organization_id,
        endpoint_ids=[endpoint.id],
        event_type=EventType.WEBHOOK_TEST,
        data={"webhook_id": endpoint.id, "name": endpoint.name},
    )
    return delivery


@transaction.atomic
def redeliver(*, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send it now, under the same id, with all further attempts ahead of it.

    Raises Conflict while it is being sent or when its endpoint is switched off or deleted.
    """
    delivery = lock_for_update(WebhookDelivery.objects.select_related("endpoint"), id=delivery.id)
    _require_active(delivery.endpoint)
    now = timezone.now()
    if delivery.claim_id is not None and delivery.claim_expires_at > now:  # type: ignore[operator]  # set with it
        raise Conflict("It is being sent now.")
    delivery.status, delivery.next_attempt_at, delivery.delivered_at = DeliveryStatus.PENDING, now, None
    delivery.claim_id = delivery.claim_expires_at = None
    delivery.attempts_before = delivery.attempts
    delivery.job_id = enqueue([delivery.id])[0]
    delivery.save_fields(
        "status", "next_attempt_at", "delivered_at", "claim_id", "claim_expires_at", "attempts_before", "job_id"
    )
    return delivery


def _require_active(endpoint: WebhookEndpoint) -> None:
    if endpoint.is_deleted or not endpoint.is_active:
        raise Conflict("The webhook is switched off.")


def rotate_signing_secrets() -> tuple[int, list[Any]]:
    """Encrypt each secret that signs with the first of ENCRYPTION_KEYS: how many holders, and those that no key opens.

    One row at a time, locked against a concurrent change. Nothing is audited: no secret changes.
    """
    rotated, unreadable = 0, []
    holders = [model._default_manager for model in apps.get_models() if issubclass(model, SigningSecrets)]
    for rows, pk in [(manager, pk) for manager in holders for pk in manager.values_list("pk", flat=True)]:
        with transaction.atomic():
            holder = lock_for_update(rows.all(), pk=pk)
            old = holder.previous_encrypted_secret
            try:
                current, previous = rotate(holder.encrypted_secret), rotate(old) if old is not None else None
            except DecryptionError:
                unreadable.append(holder)
                continue
            rows.filter(pk=pk).update(encrypted_secret=current, previous_encrypted_secret=previous)
            rotated += 1
    return rotated, unreadable
