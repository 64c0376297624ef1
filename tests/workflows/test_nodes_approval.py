"""Approvals: one request, told of once; a decision, or its end."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.organizations.models import WebhookDelivery
from apps.organizations.webhooks.services import create_endpoint
from apps.workflows.models import Approval, ApprovalStatus
from apps.workflows.nodes.base import NodeFailure, RunInfo, Waiting
from apps.workflows.nodes.registry import kinds
from tests.workflows.conftest import definition, template
from tests.workflows.nodes import Attempts, Pinner

pytestmark = pytest.mark.django_db
CONFIG = {
    "title": "Refund {{inputs.amount}}",
    "message": {"$ref": "inputs.why"},
    "assignees": ["role:admin", "user:Ada@acme.example"],
    "form": {"type": "object", "properties": {"amount": {"type": "number"}}},
    "expires_s": 60,
}
ROOTS = {"inputs": {"amount": 5, "why": {"a": 1}}}


@pytest.fixture
def run(make_version, start):
    return start(make_version(definition([template("a")])))


@pytest.fixture
def attempts(run):
    return Attempts(RunInfo(run.id, run.organization_id, run.workflow_id, None, None))


def wait(attempts, config=CONFIG, **more) -> tuple[Waiting, Approval]:
    with pytest.raises(Waiting) as caught:
        attempts.run("approval", config, roots=ROOTS, **more)
    return caught.value, Approval.objects.latest("created_at")


def test_it_is_asked_for_once(attempts, run, organization):
    create_endpoint(
        organization_id=organization.id, name="hook", url="http://127.0.0.1:9/x", event_types=["approval.requested"]
    )
    waiting, approval = wait(attempts)
    again, same = wait(attempts)
    assert approval.id == same.id
    assert (approval.run_id, approval.path, approval.status) == (run.id, "it", ApprovalStatus.PENDING)
    assert (approval.title, approval.message) == ("Refund 5", '{"a":1}')
    assert approval.assignees == ["role:admin", "user:ada@acme.example"]
    assert approval.form == CONFIG["form"]
    assert waiting.wake_at == approval.expires_at == again.wake_at
    [told] = WebhookDelivery.objects.filter(event_type="approval.requested")
    assert told.payload["data"]["id"] == str(approval.id)
    wait(attempts, path="loop[1].it")
    assert Approval.objects.count() == 2


def test_without_an_end_it_waits_for_ever(attempts):
    waiting, approval = wait(attempts, {})
    assert (waiting.wake_at, approval.expires_at, approval.assignees) == (None, None, [])
    assert kinds()["approval"].handles({}) == ("approved", "rejected")


@pytest.mark.parametrize("status", [ApprovalStatus.APPROVED, ApprovalStatus.REJECTED])
def test_a_decision_is_its_handle_and_output(attempts, admin, status):
    _, approval = wait(attempts)
    Approval.objects.filter(id=approval.id).update(
        status=status, data={"amount": 4}, comment="fine", decided_at=timezone.now(), decided_by=admin.user
    )
    result = attempts.run("approval", CONFIG, roots=ROOTS)
    assert result.handle == status.value
    assert result.output == {
        "decision": status.value, "data": {"amount": 4}, "comment": "fine", "decided_by": admin.user.email,
    }  # fmt: skip


@pytest.mark.parametrize(("more", "handle"), [({}, "expired"), ({"on_expire": "approved"}, "approved")])
def test_it_ends_by_itself(attempts, run, more, handle):
    config = {**CONFIG, **more}
    assert handle in kinds()["approval"].handles(config)
    _, approval = wait(attempts, config)
    Approval.objects.filter(id=approval.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    for _ in range(2):
        result = attempts.run("approval", config, roots=ROOTS)
        assert (result.handle, result.output["decision"]) == (handle, "expired")
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.EXPIRED
    assert approval.decided_at is not None
    assert list(run.events.values_list("type", flat=True)).count("approval.expired") == 1


def test_a_decision_before_the_end_was_noticed_holds(attempts, run, admin):
    _, approval = wait(attempts)
    Approval.objects.filter(id=approval.id).update(
        status=ApprovalStatus.APPROVED, decided_at=timezone.now(), decided_by=admin.user,
        expires_at=timezone.now() - timedelta(seconds=1),
    )  # fmt: skip
    assert attempts.run("approval", CONFIG, roots=ROOTS).handle == "approved"
    assert "approval.expired" not in run.events.values_list("type", flat=True)


def test_one_that_was_cancelled_fails(attempts):
    _, approval = wait(attempts)
    Approval.objects.filter(id=approval.id).update(status=ApprovalStatus.CANCELLED, decided_at=timezone.now())
    with pytest.raises(NodeFailure) as caught:
        attempts.run("approval", CONFIG, roots=ROOTS)
    assert caught.value.code == "CANCELLED"


def test_a_title_that_is_too_long_fails_and_asks_nobody(attempts):
    with pytest.raises(NodeFailure) as caught:
        attempts.run("approval", {"title": "{{inputs.t}}"}, roots={"inputs": {"t": "x" * 201}})
    assert caught.value.code == "TOO_LARGE"
    assert not Approval.objects.exists()


def test_assignees_are_members(organization, admin, outsider):
    pinner = Pinner(organization.id)
    names = ["role:admin", f"user:{admin.user.email.upper()}", f"user:{outsider.user.email}", "user:no@acme.example"]
    assert kinds()["approval"].pin({"assignees": names}, pinner) == {}
    assert pinner.problems == [("UNKNOWN_USER", "assignees/2"), ("UNKNOWN_USER", "assignees/3")]
    admin.membership.is_active = False
    admin.membership.save()
    pinner = Pinner(organization.id)
    kinds()["approval"].pin({"assignees": names[:2]}, pinner)
    assert pinner.problems == [("UNKNOWN_USER", "assignees/1")]
