"""Webhooks over HTTP: endpoints, secrets that are shown once, tests, the log of deliveries, redelivery."""

import base64

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.organizations.models import DeliveryStatus, EventType, WebhookDelivery, WebhookEndpoint
from apps.organizations.webhooks import emit
from apps.organizations.webhooks.services import MAX_ENDPOINTS
from apps.users.models import AuditEntry
from everquant.encryption import decrypt
from tests.organizations.conftest import Answer, verifies
from tests.organizations.test_webhook_delivery import INSIDE, attempt

pytestmark = pytest.mark.django_db

URL = "/api/v1/webhooks"
BODY = {"name": "Ops", "url": "https://hooks.example.invalid/in?key=1", "event_types": ["execution.failed"]}


def data_of(answer, status=200):
    assert answer.status_code == status, answer.content
    return answer.json()["data"]


@pytest.fixture
def webhook(admin, receiver):
    """As it was answered when it was made, with its secret."""
    body = {**BODY, "url": receiver.url, "event_types": ["execution.completed", "execution.failed"]}
    return data_of(admin.client.post(URL, body), 201)


def test_a_webhook_is_made_read_changed_and_deleted(admin, webhook):
    path = f"{URL}/{webhook['id']}"
    read = admin.client.get(path)
    assert data_of(read) == {name: value for name, value in webhook.items() if name != "secret"}
    assert data_of(admin.client.get(URL + "?is_active=true&search=ops"))[0]["id"] == webhook["id"]
    changed = admin.client.patch(path, {"name": "New"}, headers={"If-Match": read["ETag"]})
    assert data_of(changed)["name"] == "New"
    assert admin.client.patch(path, {"name": "Late"}, headers={"If-Match": read["ETag"]}).status_code == 412
    assert data_of(admin.client.put(path, BODY))["url"] == BODY["url"]
    assert admin.client.delete(path).status_code == 204
    for gone in (admin.client.get(path), admin.client.get(f"{path}/deliveries"), admin.client.delete(path)):
        assert gone.status_code == 404
    assert decrypt(WebhookEndpoint.objects.get().encrypted_secret) == b""


def test_the_secret_is_shown_once_and_nowhere_else(admin, webhook, capfd):
    secret = webhook["secret"]
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    path = f"{URL}/{webhook['id']}"
    admin.client.post(f"{path}/test", {})
    answers = [
        admin.client.get(path),
        admin.client.get(URL),
        admin.client.patch(path, {"name": "New"}),
        admin.client.get(f"{path}/deliveries"),
        admin.client.get("/api/v1/audit-logs"),
    ]
    assert not [answer for answer in answers if secret in answer.content.decode()]
    assert secret.encode() not in bytes(WebhookEndpoint.objects.get().encrypted_secret)
    assert secret not in "".join(capfd.readouterr())
    entries = AuditEntry.objects.for_organization(admin.organization.id).filter(object_pk=webhook["id"])
    assert {entry.actor_email for entry in entries} == {admin.user.email}
    assert entries.filter(action=0).get().changes["encrypted_secret"][1] == "********"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": 1}, "name"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://user:word@example.com"}, "url"),
        ({"url": "https://example.com/" + "x" * 500}, "url"),
        ({"url": None}, "url"),
        ({"url": ["https://example.com"]}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": "execution.failed"}, "event_types"),
        ({"event_types": ["execution.exploded"]}, "event_types.0"),
        ({"event_types": [{}]}, "event_types.0"),
        ({"event_types": None}, "event_types"),
        ({"is_active": "yes"}, "is_active"),
        ({"secret": "whsec_mine"}, "secret"),
        ({"disabled_reason": ""}, "disabled_reason"),
        ({"organization_id": "x"}, "organization_id"),
    ],
)
def test_what_is_no_webhook_is_refused_by_field(admin, webhook, change, field):
    for answer in (
        admin.client.post(URL, {**BODY, **change}),
        admin.client.patch(f"{URL}/{webhook['id']}", change),
    ):
        assert answer.status_code == 400, answer.content
        assert list(answer.json()["error"]["details"]) == [field]
    assert WebhookEndpoint.objects.count() == 1


@pytest.mark.parametrize("url", INSIDE)
def test_an_inside_url_is_refused_at_save(admin, webhook, settings, url):
    settings.ALLOW_PRIVATE_WEBHOOK_URLS = False
    inside = {**BODY, "url": url.format(port=9)}
    path = f"{URL}/{webhook['id']}"
    for answer in (admin.client.post(URL, inside), admin.client.put(path, inside), admin.client.patch(path, inside)):
        assert answer.status_code == 400
        assert answer.json()["error"]["details"] == {"url": "The host is not on the public internet."}


def test_an_address_is_looked_up_outside_of_any_transaction(admin, settings):
    settings.ALLOW_PRIVATE_WEBHOOK_URLS = False
    key = {"Idempotency-Key": "one"}
    made = data_of(admin.client.post(URL, BODY, headers=key), 201)
    again = admin.client.post(URL, BODY, headers=key)
    assert (again["Idempotent-Replayed"], data_of(again, 201)) == ("true", made)
    path = f"{URL}/{made['id']}"
    assert [admin.client.put(path, BODY).status_code, admin.client.patch(path, BODY).status_code] == [200, 200]
    assert WebhookEndpoint.objects.count() == 1


def test_production_takes_https_only(admin, settings):
    settings.ALLOW_PRIVATE_WEBHOOK_URLS, settings.IS_PRODUCTION = False, True
    answer = admin.client.post(URL, {**BODY, "url": "http://hooks.example.invalid/"})
    assert answer.json()["error"]["details"] == {"url": "The URL must start with https://."}
    assert admin.client.post(URL, BODY).status_code == 201


def test_there_is_an_end_to_how_many(admin, organization, make_endpoint):
    for _ in range(MAX_ENDPOINTS):
        make_endpoint(organization)
    assert admin.client.post(URL, BODY).status_code == 409


def test_a_rotated_secret_signs_beside_the_old_one(admin, webhook, receiver, run_jobs):
    path = f"{URL}/{webhook['id']}"
    rotated = admin.client.post(f"{path}/rotate-secret", {})
    new = data_of(rotated)["secret"]
    assert new != webhook["secret"]
    assert rotated["ETag"] == admin.client.get(path)["ETag"]
    assert data_of(admin.client.get(path))["previous_secret_expires_at"] > timezone.now().isoformat()
    admin.client.post(f"{path}/test", {})
    run_jobs()
    [received] = receiver.received
    assert [verifies(received, secret) for secret in (webhook["secret"], new)] == [True, True]


def test_a_test_is_sent_once_and_read_with_its_attempt(admin, webhook, receiver, run_jobs):
    receiver.script.append(Answer(404, b"nothing here"))
    sent = admin.client.post(f"{URL}/{webhook['id']}/test", {})
    assert data_of(sent, 201)["status"] == "pending"
    run_jobs()
    delivery = data_of(admin.client.get(sent["Location"]))
    assert (delivery["status"], delivery["event_type"], delivery["attempt_count"]) == ("failed", "webhook.test", 1)
    assert delivery["payload"]["data"] == {"webhook_id": webhook["id"], "name": "Ops"}
    [made] = delivery["attempts"]
    assert (made["number"], made["status"], made["response_excerpt"]) == (1, 404, "nothing here")
    assert receiver.received[0].headers["webhook-id"] == delivery["event_id"]


def test_deliveries_are_listed_filtered_and_delivered_again(admin, webhook, receiver, organization, run_jobs):
    receiver.script.append(Answer(410))
    emit(organization_id=organization.id, event=EventType.EXECUTION_FAILED, data={})
    run_jobs()
    path = f"{URL}/{webhook['id']}"
    [failed] = data_of(admin.client.get(f"{path}/deliveries?status=failed&event_type=execution.failed"))
    assert data_of(admin.client.get(f"{path}/deliveries?status=succeeded")) == []
    again = f"{path}/deliveries/{failed['id']}/redeliver"
    assert admin.client.post(again, {}).status_code == 409, "the endpoint is switched off"
    assert admin.client.post(f"{path}/test", {}).status_code == 409
    assert "410" in data_of(admin.client.get(path))["disabled_reason"]
    woken = data_of(admin.client.patch(path, {"is_active": True}))
    assert (woken["disabled_reason"], woken["failing_since"]) == ("", None)
    assert data_of(admin.client.post(again, {}))["status"] == "pending"
    run_jobs()
    delivery = data_of(admin.client.get(f"{path}/deliveries/{failed['id']}"))
    assert (delivery["status"], delivery["attempt_count"]) == ("succeeded", 2)
    assert [one["status"] for one in delivery["attempts"]] == [410, 200]
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1


def test_redelivery_starts_the_attempts_anew(admin, webhook, receiver, organization):
    emit(organization_id=organization.id, event=EventType.EXECUTION_FAILED, data={})
    delivery = WebhookDelivery.objects.get()
    WebhookDelivery.objects.update(attempts=7)
    receiver.script.extend([Answer(500), Answer(500)])
    assert attempt(delivery).status == DeliveryStatus.FAILED
    assert admin.client.post(f"{URL}/{webhook['id']}/deliveries/{delivery.id}/redeliver", {}).status_code == 200
    assert attempt(delivery).status == DeliveryStatus.PENDING
    assert (delivery.attempts, delivery.attempts_before) == (9, 8)


def test_another_webhooks_delivery_is_not_found_below_this_one(admin, webhook, make_endpoint, organization):
    other = make_endpoint(organization)
    admin.client.post(f"{URL}/{webhook['id']}/test", {})
    delivery = WebhookDelivery.objects.get()
    assert admin.client.get(f"{URL}/{other.id}/deliveries/{delivery.id}").status_code == 404
    assert data_of(admin.client.get(f"{URL}/{other.id}/deliveries")) == []


def test_secrets_are_encrypted_again_with_a_new_key(admin, webhook, settings, capsys):
    path = f"{URL}/{webhook['id']}"
    new = data_of(admin.client.post(f"{path}/rotate-secret", {}))["secret"]
    old_keys = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = ["k" * 42 + "g=", *old_keys]
    call_command("rotate_encryption_keys")
    assert "1 webhooks" in capsys.readouterr().out
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    assert WebhookEndpoint.objects.get().reveal_secrets(timezone.now()) == [new, webhook["secret"]]
    settings.ENCRYPTION_KEYS = old_keys
    with pytest.raises(CommandError, match="Ops"):
        call_command("rotate_encryption_keys")
