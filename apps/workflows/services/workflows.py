"""Workflows as a whole: made with a draft, edited, copied, deleted and brought back.

Services of workflows make no savepoint: an error that they raise ends the caller's transaction.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.prompts.naming import (
    bring_back,
    change_fields,
    copied_name,
    copied_slug,
    save_with_slug,
    slug_of,
    take_away,
    unique_tags,
)
from apps.users.models import User
from apps.workflows.models import Workflow


@transaction.atomic(savepoint=False)
def create_workflow(
    *,
    organization_id: UUID,
    name: str,
    draft: dict[str, Any],
    created_by: User | None,
    slug: str | None = None,
    description: str = "",
    tags: Sequence[str] = (),
    is_active: bool = True,
    max_concurrent_runs: int | None = None,
) -> Workflow:
    """A workflow without a version; its draft may be invalid. Without a slug it is made of the name.

    Raises BadRequest when no slug can be made, Conflict when a living workflow has it.
    """
    workflow = Workflow(
        organization_id=organization_id,
        slug=slug or slug_of(name),
        name=name,
        description=description,
        tags=unique_tags(tags),
        draft=draft,
        is_active=is_active,
        max_concurrent_runs=max_concurrent_runs,
        created_by=created_by,
    )
    save_with_slug(workflow, force_insert=True)
    workflow.label_numbers = {}
    return workflow


@transaction.atomic(savepoint=False)
def update_workflow(*, workflow: Workflow, fields: dict[str, Any]) -> Workflow:
    """Set slug, name, description, tags, draft, is_active and max_concurrent_runs in place. Raises Conflict."""
    change_fields(workflow, fields)
    return workflow


@transaction.atomic(savepoint=False)
def duplicate_workflow(
    *, workflow: Workflow, created_by: User | None, slug: str | None = None, name: str | None = None
) -> Workflow:
    """A new workflow with the draft of this one; versions and labels stay behind. Raises Conflict."""
    return create_workflow(
        organization_id=workflow.organization_id,
        slug=slug or copied_slug(workflow.slug),
        name=name or copied_name(workflow.name),
        description=workflow.description,
        tags=workflow.tags,
        draft=workflow.draft,
        is_active=workflow.is_active,
        max_concurrent_runs=workflow.max_concurrent_runs,
        created_by=created_by,
    )


@transaction.atomic(savepoint=False)
def delete_workflow(*, workflow: Workflow) -> None:
    """Take a workflow out of sight; its slug is free again. Runs that have begun go on. Raises PromotionRefused."""
    take_away(workflow)


@transaction.atomic(savepoint=False)
def undelete_workflow(*, workflow: Workflow) -> Workflow:
    """Bring a deleted workflow back as it was. Raises Conflict when its slug was taken meanwhile."""
    bring_back(workflow)
    return workflow
