"""Telling endpoints of an event: a delivery and its job for each, in the transaction of what happened."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from django.utils import timezone

from apps.organizations.models import EventType, WebhookDelivery
from apps.organizations.webhooks.jobs import enqueue
from everquant.api.envelope import dumps
from everquant.db import prepared_cursor, uuid7

# As `usable()`: mostly there is none, and the question is asked at each end of a run.
_ENDPOINTS = """
SELECT id FROM organizations_webhookendpoint
WHERE organization_id = %s AND deleted_at IS NULL AND is_active AND event_types @> ARRAY[%s]::varchar[]
"""


def emit(*, organization_id: UUID, event: str, data: Mapping[str, Any]) -> int:
    """Have every active endpoint that asks for the event told of it: how many they are. Without one it is one query.

    `data` is what the API would answer: JSON, UUIDs, datetimes, Decimals. Call it in the transaction of the write that
    it tells of; raises RuntimeError outside of one and ValueError for an unknown event.
    """
    event_type = EventType(event)
    if not connection.in_atomic_block:
        raise RuntimeError("an event is told of in the transaction of what happened")
    with prepared_cursor() as cursor:
        cursor.execute(_ENDPOINTS, [organization_id, event_type.value])
        endpoint_ids = [row[0] for row in cursor.fetchall()]
    create_deliveries(organization_id=organization_id, endpoint_ids=endpoint_ids, event_type=event_type, data=data)
    return len(endpoint_ids)


def create_deliveries(
    *, organization_id: UUID, endpoint_ids: list[UUID], event_type: EventType, data: Mapping[str, Any]
) -> list[WebhookDelivery]:
    """The same event, under the same id, for each endpoint."""
    if not endpoint_ids:
        return []
    now = timezone.now()
    event_id = f"msg_{uuid7().hex}"
    payload = orjson.loads(dumps({"type": event_type.value, "timestamp": now, "data": data}))
    deliveries = [
        WebhookDelivery(
            organization_id=organization_id,
            endpoint_id=endpoint_id,
            event_id=event_id,
            event_type=event_type,
            payload=payload,
            next_attempt_at=now,
        )
        for endpoint_id in endpoint_ids
    ]
    for delivery, job_id in zip(deliveries, enqueue(delivery.id for delivery in deliveries), strict=True):
        delivery.job_id = job_id
    WebhookDelivery.objects.bulk_create(deliveries)
    return deliveries
