"""Prompts as a whole: made with their first version, edited, copied, deleted and brought back.

Services of prompts make no savepoint: an error that they raise ends the caller's transaction.
"""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from apps.prompts.models import SLUG_LENGTH, Prompt, PromptVersion
from apps.prompts.services.definition import DEFAULTS, Definition, definition_of, type_of
from apps.prompts.services.versions import create_version, new_version
from apps.users.models import User
from everquant.api.errors import BadRequest, Conflict

SLUG_CONSTRAINT = "prompts_prompt_slug_unique"


@transaction.atomic(savepoint=False)
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
    """A prompt and its version 1. Without a slug it is made of the name.

    Raises BadRequest for what is not valid, Conflict when a living prompt has the slug.
    """
    complete = cast("Definition", {**DEFAULTS, **definition})
    if type not in {None, type_of(complete)}:
        raise BadRequest(f"This is no {type} prompt.", details={"type": "Not what content and messages say."})
    prompt = Prompt(
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
    _save_with_slug(prompt, force_insert=True)
    version.save(force_insert=True)
    prompt.label_numbers = {}
    return prompt


def slug_of(name: str) -> str:
    """A slug made of a name; raises BadRequest when nothing is left of it."""
    slug = slugify(name.replace("_", "-"))[:SLUG_LENGTH].strip("-")
    if not slug:
        raise BadRequest("A slug is needed.", details={"slug": "No slug can be made of the name; give one."})
    return slug


def unique_tags(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _save_with_slug(prompt: Prompt, **options: Any) -> None:
    try:
        prompt.save(**options)
    except IntegrityError as error:
        if SLUG_CONSTRAINT not in str(error):
            raise
        raise Conflict("Another prompt has this slug.", details={"slug": "Another prompt has this slug."}) from error


@transaction.atomic(savepoint=False)
def update_prompt(
    *, prompt: Prompt, fields: dict[str, Any], changes: Definition, message: str = "", updated_by: User | None
) -> Prompt:
    """Set `fields` (slug, name, description, tags, is_active) in place; `changes` make a version when they differ.

    Raises BadRequest, Conflict when another living prompt has the slug.
    """
    if changes:
        create_version(prompt=prompt, changes=changes, message=message, created_by=updated_by, even_if_equal=False)
    if "tags" in fields:
        fields = {**fields, "tags": unique_tags(fields["tags"])}
    different = {name: value for name, value in fields.items() if getattr(prompt, name) != value}
    if different:
        for name, value in different.items():
            setattr(prompt, name, value)
        _save_with_slug(prompt, update_fields=[*different, "updated_at"])
    return prompt


@transaction.atomic(savepoint=False)
def duplicate_prompt(
    *, prompt: Prompt, created_by: User | None, slug: str | None = None, name: str | None = None
) -> Prompt:
    """A new prompt whose version 1 says what the current version says; labels stay behind. Raises Conflict."""
    version = prompt.current_version
    return create_prompt(
        organization_id=prompt.organization_id,
        slug=slug or f"{prompt.slug[: SLUG_LENGTH - 5].rstrip('-/')}-copy",
        name=name or f"{prompt.name[:193]} (copy)",
        description=prompt.description,
        tags=prompt.tags,
        is_active=prompt.is_active,
        definition=definition_of(version),
        created_by=created_by,
        message=f"Copied from {prompt.slug}, version {version.version_number}",
    )


@transaction.atomic(savepoint=False)
def delete_prompt(*, prompt: Prompt) -> None:
    """Take a prompt out of sight and out of service; its slug is free again."""
    prompt.soft_delete()


@transaction.atomic(savepoint=False)
def undelete_prompt(*, prompt: Prompt) -> Prompt:
    """Bring a deleted prompt back as it was. Raises Conflict when its slug was taken meanwhile."""
    if prompt.is_deleted:
        prompt.deleted_at = None
        _save_with_slug(prompt, update_fields=["deleted_at", "updated_at"])
    return prompt


def versions_of(prompt: Prompt) -> list[PromptVersion]:
    """All versions, oldest first."""
    return list(PromptVersion.objects.filter(prompt=prompt).select_related("model").order_by("version_number"))
