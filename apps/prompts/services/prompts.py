"""Prompts as a whole: made with their first version, edited, copied, deleted and brought back.

Those that change one make no savepoint: an error that they raise ends the caller's transaction.
"""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django.db import transaction

from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.naming import (
    bring_back,
    change_fields,
    copied_name,
    copied_slug,
    refusing_taken_slug,
    slug_of,
    take_away,
    unique_tags,
)
from apps.prompts.services.definition import DEFAULTS, Definition, definition_of, type_of
from apps.prompts.services.versions import create_version, new_version
from apps.users.models import User
from apps.users.storing import store_new
from everquant.api.errors import BadRequest
from everquant.rows import new_row


def create_prompt(
    *,
    organization_id: UUID,
    name: str,
    definition: Definition,
    created_by: User | None,
    slug: str | None = None,
    description: str = "",
    tags: Sequence[str] = (),
    is_active: bool = True,
    type: str | None = None,  # noqa: A002 (the field's name in the API)
    message: str = "",
) -> Prompt:
    """A prompt and its version 1, stored in one statement. Without a slug it is made of the name.

    Raises BadRequest for what is not valid, Conflict when a living prompt has the slug.
    """
    complete = cast("Definition", {**DEFAULTS, **definition})
    if type not in {None, type_of(complete)}:
        raise BadRequest(f"This is no {type} prompt.", details={"type": "Not what content and messages say."})
    prompt = new_row(
        Prompt,
        organization_id=organization_id,
        slug=slug or slug_of(name),
        name=name,
        description=description,
        type=type_of(complete),
        tags=unique_tags(tags),
        is_active=is_active,
        created_by=created_by,
    )
    version = new_version(prompt=prompt, number=1, definition=complete, message=message, created_by=created_by)
    prompt.current_version = version
    with refusing_taken_slug(prompt):
        store_new(prompt, version)
    prompt.label_numbers = {}
    return prompt


@transaction.atomic(savepoint=False)
def update_prompt(
    *, prompt: Prompt, fields: dict[str, Any], changes: Definition, message: str = "", updated_by: User | None
) -> Prompt:
    """Set `fields` (slug, name, description, tags, is_active) in place; `changes` make a version when they differ.

    Raises BadRequest, Conflict when another living prompt has the slug.
    """
    if changes:
        create_version(prompt=prompt, changes=changes, message=message, created_by=updated_by, even_if_equal=False)
    change_fields(prompt, fields)
    return prompt


@transaction.atomic(savepoint=False)
def duplicate_prompt(
    *, prompt: Prompt, created_by: User | None, slug: str | None = None, name: str | None = None
) -> Prompt:
    """A new prompt whose version 1 says what the current version says; labels stay behind. Raises Conflict."""
    version = prompt.current_version
    return create_prompt(
        organization_id=prompt.organization_id,
        slug=slug or copied_slug(prompt.slug),
        name=name or copied_name(prompt.name),
        description=prompt.description,
        tags=prompt.tags,
        is_active=prompt.is_active,
        definition=definition_of(version),
        created_by=created_by,
        message=f"Copied from {prompt.slug}, version {version.version_number}",
    )


@transaction.atomic(savepoint=False)
def delete_prompt(*, prompt: Prompt) -> None:
    """Take a prompt out of sight and out of service; its slug is free again. Raises PromotionRefused."""
    take_away(prompt)


@transaction.atomic(savepoint=False)
def undelete_prompt(*, prompt: Prompt) -> Prompt:
    """Bring a deleted prompt back as it was. Raises Conflict when its slug was taken meanwhile."""
    bring_back(prompt)
    return prompt


def versions_of(prompt: Prompt) -> list[PromptVersion]:
    """All versions, oldest first."""
    return list(PromptVersion.objects.filter(prompt=prompt).select_related("model").order_by("version_number"))
