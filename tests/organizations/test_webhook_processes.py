"""A worker that is killed while an endpoint thinks: the event arrives nevertheless, under the same id."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from apps.organizations.models import DeliveryStatus, EventType, WebhookDelivery
from apps.organizations.webhooks import emit
from apps.organizations.webhooks.delivery import enqueue_lost
from tests.organizations.conftest import SECRET, Answer, verifies
from tests.project.processes import wait_until


@pytest.mark.django_db(transaction=True)
def test_an_event_survives_the_worker_that_was_sending_it(organization, make_endpoint, receiver, empty_queue, start):
    make_endpoint(organization, url=receiver.url)
    receiver.script.append(Answer(is_silent=True))
    with transaction.atomic():
        emit(organization_id=organization.id, event=EventType.EXECUTION_COMPLETED, data={})
    worker = start("--queues", "webhooks")
    assert receiver.arrived.acquire(timeout=30)
    worker.kill()
    worker.wait(10)
    assert WebhookDelivery.objects.get().claim_id is not None
    assert enqueue_lost() == 0, "until its claim ends it may still be sent"
    past = timezone.now() - timedelta(minutes=2)
    WebhookDelivery.objects.update(claim_expires_at=past, next_attempt_at=past)
    assert enqueue_lost() == 1
    start("--queues", "webhooks")
    wait_until(
        lambda: WebhookDelivery.objects.filter(status=DeliveryStatus.SUCCEEDED).exists(), "the event has been taken"
    )
    assert [verifies(received, SECRET) for received in receiver.received] == [True, True]
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    assert list(WebhookDelivery.objects.get().attempt_rows.values_list("status", flat=True)) == [200]
