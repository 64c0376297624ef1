"""The example of docs/webhooks.md verifies what is really sent."""

import re
from pathlib import Path

import pytest

from apps.organizations.models import EventType
from apps.organizations.webhooks import emit
from tests.organizations.conftest import SECRET

DOCUMENT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


@pytest.fixture
def verify():
    found = re.search(r"<!-- example: verify -->\n```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found
    names: dict[str, object] = {}
    exec(found[1], names)  # noqa: S102 - the document's own code
    return names["verify"]


@pytest.mark.django_db
def test_the_example_verifies_what_is_sent(verify, organization, make_endpoint, receiver, run_jobs):
    make_endpoint(organization, url=receiver.url)
    emit(organization_id=organization.id, event=EventType.EXECUTION_COMPLETED, data={"text": "é"})
    run_jobs()
    [received] = receiver.received
    assert verify(SECRET, received.headers, received.body)
    assert not verify(SECRET, received.headers, received.body + b" ")
    assert not verify("whsec_b3RoZXI=", received.headers, received.body)
    assert not verify(SECRET, {**received.headers, "webhook-id": "msg_other"}, received.body)
    assert not verify(SECRET, {**received.headers, "webhook-timestamp": "1700000000"}, received.body)


def test_every_event_is_described():
    assert set(EventType.values) <= set(re.findall(r"`([a-z_]+\.[a-z]+)`", DOCUMENT))
