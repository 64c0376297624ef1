"""Triggers as people change them, and their secrets."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.organizations.webhooks.signing import new_secret
from apps.workflows.models import Workflow, WorkflowTrigger
from apps.workflows.starting import refuse_many, version_now
from apps.workflows.triggers.mapping import check_mapping


@transaction.atomic
def create_trigger(*, workflow: Workflow, created_by_id: UUID, **values: Any) -> tuple[WorkflowTrigger, str]:
    """The trigger and its secret, which is shown this once.

    Raises BadRequest naming the field, Conflict when the workflow has as many as it may.
    """
    refuse_many(workflow, WorkflowTrigger)
    trigger = WorkflowTrigger(
        organization_id=workflow.organization_id, workflow=workflow, created_by_id=created_by_id, **values
    )
    check_mapping(trigger.inputs)
    version_now(workflow, trigger.label)
    secret = new_secret()
    trigger.set_secret(secret)
    trigger.save(force_insert=True)
    return trigger, secret


def update_trigger(*, trigger: WorkflowTrigger, **values: Any) -> WorkflowTrigger:
    """Raises BadRequest naming the field."""
    for name, value in values.items():
        setattr(trigger, name, value)
    check_mapping(trigger.inputs)
    if "label" in values:
        version_now(Workflow.objects.with_current().get(id=trigger.workflow_id), trigger.label)
    trigger.last_error = ""
    trigger.save_fields(*values, "last_error")
    return trigger


def rotate_secret(*, trigger: WorkflowTrigger) -> str:
    """The new secret, shown this once. The old one is taken as well for SECRET_OVERLAP."""
    secret = new_secret()
    trigger.replace_secret(secret, timezone.now())
    trigger.save_fields("encrypted_secret", "previous_encrypted_secret", "previous_secret_expires_at")
    return secret
