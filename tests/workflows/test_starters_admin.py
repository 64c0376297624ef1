"""Operators see schedules and triggers, and switch them off and on."""

import pytest
from django.test import Client
from django.urls import reverse

from apps.users.models import User
from apps.workflows.models import WorkflowSchedule, WorkflowTrigger
from tests.workflows.starting import make_workflow

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator():
    client = Client()
    client.force_login(User.objects.create_superuser("operator@acme.example", "a long enough one"))
    return client


@pytest.fixture
def workflow(editor):
    return make_workflow(editor)


@pytest.mark.parametrize("kind", ["schedule", "trigger"])
def test_seen_and_switched(kind, operator, editor, workflow):
    body = {"name": "Nightly", "cron": "0 2 * * *", "inputs": {"ticket": "T"}}
    if kind == "trigger":
        body = {"name": "Nightly"}
    made = editor.client.post(f"/api/v1/workflows/{workflow.id}/{kind}s", body).json()["data"]
    listed = operator.get(reverse(f"admin:workflows_workflow{kind}_changelist"))
    assert b"Nightly" in listed.content
    page = reverse(f"admin:workflows_workflow{kind}_change", args=[made["id"]])
    shown = operator.get(page)
    assert shown.status_code == 200
    assert b"whsec_" not in shown.content
    assert operator.post(page, {}).status_code == 302
    model = {"schedule": WorkflowSchedule, "trigger": WorkflowTrigger}[kind]
    assert model.objects.get().is_active is False
    assert operator.post(page, {"is_active": "on"}).status_code == 302
    assert model.objects.get().is_active is True
    assert operator.get(reverse(f"admin:workflows_workflow{kind}_add")).status_code == 403
