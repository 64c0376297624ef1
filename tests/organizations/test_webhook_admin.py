"""Operators see endpoints and deliveries, switch endpoints, and deliver again; no secret is shown."""

import pytest

from apps.organizations.models import EventType, WebhookDelivery, WebhookEndpoint
from apps.organizations.webhooks import emit
from apps.users.models import User
from tests.organizations.conftest import SECRET, Answer
from tests.organizations.test_webhook_delivery import attempt

pytestmark = pytest.mark.django_db
ENDPOINTS, DELIVERIES = "/admin/organizations/webhookendpoint/", "/admin/organizations/webhookdelivery/"


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("op@example.com", "correct horse battery"))
    return client


@pytest.fixture
def delivery(organization, make_endpoint, receiver):
    make_endpoint(organization, url=receiver.url)
    emit(organization_id=organization.id, event=EventType.EXECUTION_COMPLETED, data={"a": 1})
    receiver.script.append(Answer(410))
    return attempt(WebhookDelivery.objects.get())


def test_pages_show_what_happened_and_no_secret(operator, delivery):
    pages = [ENDPOINTS, DELIVERIES, f"{ENDPOINTS}{delivery.endpoint_id}/change/", f"{DELIVERIES}{delivery.id}/change/"]
    for page in pages:
        answer = operator.get(page)
        assert answer.status_code == 200, page
        assert SECRET not in answer.content.decode()
    assert "status 410" in answer.content.decode()


def test_an_operator_switches_an_endpoint_on_again(operator, delivery):
    path = f"{ENDPOINTS}{delivery.endpoint_id}/change/"
    assert operator.post(path, {"is_active": "on"}).status_code == 302
    endpoint = WebhookEndpoint.objects.get()
    assert (endpoint.is_active, endpoint.disabled_reason, endpoint.failing_since) == (True, "", None)
    assert operator.post(path, {}).status_code == 302
    endpoint.refresh_from_db()
    assert not endpoint.is_active
    assert operator.get(f"{ENDPOINTS}add/").status_code == 403


def test_an_operator_delivers_again(operator, delivery, receiver, run_jobs):
    again = {"action": "deliver_again", "_selected_action": [str(delivery.id)]}
    refused = operator.post(DELIVERIES, again, follow=True)
    assert "The webhook is switched off." in refused.content.decode()
    WebhookEndpoint.objects.update(is_active=True)
    operator.post(DELIVERIES, again)
    run_jobs()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("succeeded", 2)
