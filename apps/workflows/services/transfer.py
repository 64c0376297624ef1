"""A workflow as a file: into an organization."""

from typing import Any
from uuid import UUID

from django.db import transaction

from apps.prompts.services import OnConflict
from apps.users.models import User
from apps.workflows.models import Workflow
from apps.workflows.services.publishing import publish
from apps.workflows.services.workflows import create_workflow, update_workflow
from everquant.api.errors import Conflict, Forbidden


@transaction.atomic(savepoint=False)
def import_workflow(
    *,
    organization_id: UUID,
    document: dict[str, Any],
    on_conflict: OnConflict,
    is_published: bool,
    imported_by: User | None,
    may_update: bool,
) -> tuple[Workflow, str]:
    """The workflow of a checked document, and what became of it: created, updated, unchanged or skipped.

    With `is_published` it is published too. A workflow that has the slug is left as it is (`skip`) or gets the
    document's definition as its draft (`version`). Raises Conflict, Forbidden, InvalidWorkflow.
    """
    if is_published and not may_update:
        raise Forbidden("workflows:update is needed to publish.")
    living = Workflow.objects.for_organization(organization_id).alive()
    workflow: Workflow | None = living.select_for_update(of=("self",)).filter(slug=document["slug"]).first()
    if workflow is None:
        fields = {name: document[name] for name in ("slug", "name", "description", "tags")}
        workflow = create_workflow(
            organization_id=organization_id, draft=document["definition"], created_by=imported_by, **fields
        )
        outcome = "created"
    elif on_conflict == OnConflict.FAIL:
        raise Conflict("Another workflow has this slug.", details={"slug": "Another workflow has this slug."})
    elif on_conflict == OnConflict.SKIP:
        return workflow, "skipped"
    elif not may_update:
        raise Forbidden("workflows:update is needed to change workflows that exist.")
    else:
        before = workflow.updated_at
        update_workflow(workflow=workflow, fields={"draft": document["definition"]})
        outcome = "unchanged" if workflow.updated_at == before else "updated"
    if is_published:
        _, is_new = publish(workflow=workflow, published_by=imported_by, message="Imported")
        outcome = "updated" if is_new and outcome == "unchanged" else outcome
    return workflow, outcome
