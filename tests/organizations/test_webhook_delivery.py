"""Deliveries against a real receiver: signed, tried again for a day, never sent inside. Time is moved by the rows."""

import json
import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.organizations.models import DeliveryStatus, EventType, WebhookAttempt, WebhookDelivery
from apps.organizations.webhooks import emit
from apps.organizations.webhooks.delivery import deliver, enqueue_lost, purge
from apps.organizations.webhooks.jobs import TASK
from apps.users.models import AuditEntry
from everquant.encryption import encrypt
from tests.organizations.conftest import SECRET, Answer, verifies

pytestmark = pytest.mark.django_db


@pytest.fixture
def emitted(organization, make_endpoint, receiver):
    """A delivery of one event, due now."""
    make_endpoint(organization, url=receiver.url)
    emit(organization_id=organization.id, event=EventType.EXECUTION_COMPLETED, data={"id": "é"})
    return WebhookDelivery.objects.get()


def make_due(delivery: WebhookDelivery) -> None:
    WebhookDelivery.objects.filter(id=delivery.id).update(next_attempt_at=timezone.now())


def attempt(delivery: WebhookDelivery) -> WebhookDelivery:
    """Make it due and try it once."""
    make_due(delivery)
    deliver(delivery_id=delivery.id)
    delivery.refresh_from_db()
    return delivery


def test_an_event_arrives_signed(emitted, receiver, run_jobs):
    assert run_jobs() == ["deliver_webhook"]
    [received] = receiver.received
    assert received.path == "/hook?of=acme"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-id"] == emitted.event_id
    assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 60
    body = json.loads(received.body)
    assert (body["type"], body["data"]) == ("execution.completed", {"id": "é"})
    assert body["timestamp"].endswith("Z")
    assert verifies(received, SECRET)
    assert not verifies(received, SECRET[:-8] + "AAAAAAA=")
    emitted.refresh_from_db()
    assert (emitted.status, emitted.attempts, emitted.last_status) == (DeliveryStatus.SUCCEEDED, 1, 200)
    assert emitted.delivered_at is not None
    row = WebhookAttempt.objects.get()
    assert (row.number, row.status, row.response_excerpt, row.error) == (1, 200, "taken", "")


def test_a_failure_is_tried_again_under_the_same_id(emitted, receiver):
    receiver.script.extend([Answer(500, b"no\0 \xff" + b"x" * 2000)])
    before = timezone.now()
    attempt(emitted)
    assert (emitted.status, emitted.last_status) == (DeliveryStatus.PENDING, 500)
    assert emitted.last_error == "The endpoint answered with status 500."
    assert timedelta(seconds=5) <= emitted.next_attempt_at - before < timedelta(seconds=10)
    job = ProcrastinateJob.objects.get(id=emitted.job_id)
    assert (job.scheduled_at, job.args) == (emitted.next_attempt_at, {"delivery_id": str(emitted.id)})
    [row] = WebhookAttempt.objects.all()
    assert row.response_excerpt.startswith("no\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}x")
    assert len(row.response_excerpt) <= 1024
    assert emitted.endpoint.failing_since >= before
    assert attempt(emitted).status == DeliveryStatus.SUCCEEDED
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    emitted.endpoint.refresh_from_db()
    assert emitted.endpoint.failing_since is None


def test_a_delivery_that_is_not_due_is_not_sent(emitted, receiver):
    receiver.script.append(Answer(500))
    attempt(emitted)
    deliver(delivery_id=emitted.id)
    deliver(delivery_id=uuid4())
    assert len(receiver.received) == 1


def test_attempts_go_on_for_a_day_and_then_end(emitted, receiver):
    waits = []
    for _ in range(8):
        receiver.script.append(Answer(503))
        now = timezone.now()
        attempt(emitted)
        waits.append((emitted.next_attempt_at - now).total_seconds() if emitted.next_attempt_at else None)
    assert emitted.status == DeliveryStatus.FAILED
    assert waits.pop() is None
    for wait, least in zip(waits, [5, 300, 1800, 7200, 18000, 28800, 28800], strict=True):
        assert least <= wait <= least * 1.1 + 2
    assert 20 * 3600 < sum(waits) < 30 * 3600
    assert list(WebhookAttempt.objects.values_list("number", flat=True)) == list(range(1, 9))
    deliver(delivery_id=emitted.id)
    assert len(receiver.received) == 8
    emitted.endpoint.refresh_from_db()
    assert emitted.endpoint.is_active


def test_an_endpoint_that_failed_for_days_is_switched_off_and_audited(emitted, receiver):
    endpoint = emitted.endpoint
    endpoint.failing_since = timezone.now() - timedelta(days=5, minutes=1)
    endpoint.save_fields("failing_since")
    WebhookDelivery.objects.filter(id=emitted.id).update(attempts=7)
    receiver.script.append(Answer(500))
    assert attempt(emitted).status == DeliveryStatus.FAILED
    endpoint.refresh_from_db()
    assert not endpoint.is_active
    assert endpoint.disabled_reason == "Nothing was taken for 5 days."
    entry = AuditEntry.objects.for_organization(endpoint.organization_id).filter(action=1).get()
    assert entry.changes["is_active"] == [True, False]


def test_410_switches_the_endpoint_off_at_once(emitted, receiver, organization):
    emit(organization_id=organization.id, event=EventType.EXECUTION_COMPLETED, data={})
    waiting = WebhookDelivery.objects.exclude(id=emitted.id).get()
    receiver.script.append(Answer(410))
    assert attempt(emitted).status == DeliveryStatus.FAILED
    emitted.endpoint.refresh_from_db()
    assert not emitted.endpoint.is_active
    assert "410" in emitted.endpoint.disabled_reason
    deliver(delivery_id=waiting.id)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.last_error) == (DeliveryStatus.FAILED, "The endpoint is switched off.")
    assert len(receiver.received) == 1


def test_a_redirect_is_a_failure_and_not_followed(emitted, receiver):
    receiver.script.append(Answer(302, headers={"Location": f"http://127.0.0.1:{receiver.port}/inside"}))
    assert attempt(emitted).status == DeliveryStatus.PENDING
    assert "Redirects are not followed" in emitted.last_error
    assert [received.path for received in receiver.received] == ["/hook?of=acme"]


def test_a_huge_answer_is_not_read_to_its_end(emitted, receiver):
    receiver.script.append(Answer(200, b"y" * 50_000_000))
    assert attempt(emitted).status == DeliveryStatus.SUCCEEDED
    assert WebhookAttempt.objects.get().response_excerpt == "y" * 1024


@pytest.mark.parametrize("is_silent", [True, False])
def test_an_endpoint_that_does_not_answer_is_given_up(emitted, receiver, is_silent, settings):
    settings.WEBHOOK_TIMEOUT = 0.2
    if is_silent:
        receiver.script.append(Answer(is_silent=True))
    else:
        receiver.stop()
    assert attempt(emitted).status == DeliveryStatus.PENDING
    assert emitted.last_status is None
    assert ("did not answer" if is_silent else "connection") in emitted.last_error


INSIDE = [
    "http://127.0.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://127.1:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://localhost:{port}/",
    "http://169.254.169.254/latest/meta-data",
]


@pytest.mark.parametrize("url", INSIDE)
def test_nothing_is_sent_inside(emitted, receiver, settings, url):
    settings.ALLOW_PRIVATE_WEBHOOK_URLS = False
    emitted.endpoint.url = url.format(port=receiver.port)
    emitted.endpoint.save_fields("url")
    assert attempt(emitted).last_error == "The host is not on the public internet."
    assert receiver.received == []


def test_production_sends_by_https_only(emitted, receiver, settings):
    settings.ALLOW_PRIVATE_WEBHOOK_URLS, settings.IS_PRODUCTION = False, True
    assert attempt(emitted).last_error == "The URL must start with https://."


def test_a_secret_that_no_key_opens_is_a_failed_attempt(emitted, receiver, settings):
    emitted.endpoint.encrypted_secret = encrypt(SECRET)[:-4] + b"abcd"
    emitted.endpoint.save_fields("encrypted_secret")
    assert attempt(emitted).last_error == "The endpoint's secret cannot be decrypted."
    assert receiver.received == []


def test_both_secrets_sign_until_the_old_one_ends(emitted, receiver):
    endpoint, new = emitted.endpoint, "whsec_bmV3ZXIgc2VjcmV0"
    endpoint.replace_secret(new, timezone.now())
    endpoint.save()
    attempt(emitted)
    assert verifies(receiver.received[0], SECRET)
    assert verifies(receiver.received[0], new)
    endpoint.previous_secret_expires_at = timezone.now()
    endpoint.save_fields("previous_secret_expires_at")
    emit(organization_id=endpoint.organization_id, event=EventType.EXECUTION_COMPLETED, data={})
    attempt(WebhookDelivery.objects.pending().get())
    assert not verifies(receiver.received[1], SECRET)
    assert verifies(receiver.received[1], new)


def test_a_claimed_delivery_is_left_to_whoever_claimed_it(emitted, receiver):
    claim = {"claim_id": uuid4(), "claim_expires_at": timezone.now() + timedelta(seconds=30)}
    WebhookDelivery.objects.filter(id=emitted.id).update(**claim)
    deliver(delivery_id=emitted.id)
    assert receiver.received == []
    WebhookDelivery.objects.filter(id=emitted.id).update(claim_expires_at=timezone.now())
    deliver(delivery_id=emitted.id)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(("same", "others"), [(10, 0), (0, 20), (9, 10)])
def test_slow_endpoints_hold_no_more_than_their_share(emitted, organization, make_endpoint, receiver, same, others):
    now = timezone.now()
    for endpoint, count in ((emitted.endpoint, same), (make_endpoint(organization), others)):
        WebhookDelivery.objects.bulk_create(
            WebhookDelivery(
                organization=organization,
                endpoint=endpoint,
                event_id=f"msg_{number}",
                event_type=EventType.EXECUTION_COMPLETED,
                payload={},
                claim_id=uuid4(),
                claim_expires_at=now + timedelta(seconds=30),
            )
            for number in range(count)
        )
    deliver(delivery_id=emitted.id)
    emitted.refresh_from_db()
    if same + others == 19:
        assert emitted.status == DeliveryStatus.SUCCEEDED
        return
    assert (emitted.status, emitted.attempts, receiver.received) == (DeliveryStatus.PENDING, 0, [])
    assert ProcrastinateJob.objects.get(id=emitted.job_id).scheduled_at == emitted.next_attempt_at > now


def test_a_delivery_without_a_job_gets_a_new_one(emitted, organization):
    assert enqueue_lost() == 0
    overdue = timezone.now() - timedelta(seconds=61)
    WebhookDelivery.objects.update(next_attempt_at=overdue)
    assert enqueue_lost() == 0, "its job waits"
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")
    assert enqueue_lost() == 1
    assert enqueue_lost() == 0
    emitted.refresh_from_db()
    assert ProcrastinateJob.objects.filter(task_name=TASK).get().id == emitted.job_id


def test_old_deliveries_go_with_their_attempts(emitted, organization):
    attempt(emitted)
    emit(organization_id=organization.id, event=EventType.EXECUTION_COMPLETED, data={})
    assert purge() == 0
    WebhookDelivery.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert purge() == 1
    assert WebhookDelivery.objects.get().status == DeliveryStatus.PENDING
    assert not WebhookAttempt.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_jobs_of_one_delivery_make_one_attempt(organization, make_endpoint, receiver, empty_queue):
    make_endpoint(organization, url=receiver.url)
    with transaction.atomic():
        emit(organization_id=organization.id, event=EventType.EXECUTION_COMPLETED, data={})
    delivery = WebhookDelivery.objects.get()

    def run() -> None:
        try:
            deliver(delivery_id=delivery.id)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(receiver.received) == 1
    assert WebhookAttempt.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_endpoint_thinks(organization, make_endpoint, receiver, empty_queue):
    """And a sender that loses its claim meanwhile writes nothing."""
    make_endpoint(organization, url=receiver.url)
    receiver.script.append(Answer(is_silent=True))
    with transaction.atomic():
        emit(organization_id=organization.id, event=EventType.EXECUTION_COMPLETED, data={})
    delivery = WebhookDelivery.objects.get()

    def run() -> None:
        try:
            deliver(delivery_id=delivery.id)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert receiver.arrived.acquire(timeout=10)
    assert WebhookDelivery.objects.filter(claim_id__isnull=False).update(claim_id=uuid4()) == 1
    in_use = connection.pool.get_stats()
    assert in_use["pool_size"] - in_use["pool_available"] == 1, "this test's own"
    receiver.stopping.set()
    thread.join(20)
    assert not WebhookAttempt.objects.exists()
