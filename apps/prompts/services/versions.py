"""Versions: made one after the other under a lock of their prompt, never changed, never numbered twice."""

from typing import Any, cast

from django.db import transaction

from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.services.definition import Definition, check_definition, definition_of
from apps.users.models import User
from everquant.api.envelope import dumps
from everquant.api.errors import Conflict
from everquant.db import lock_for_update
from everquant.rows import new_row


def new_version(
    *, prompt: Prompt, number: int, definition: Definition, message: str, created_by: User | None
) -> PromptVersion:
    """An unsaved version with its variables; raises BadRequest when the definition is not valid."""
    variables = check_definition(definition)
    return new_row(
        PromptVersion,
        organization_id=prompt.organization_id,
        prompt=prompt,
        version_number=number,
        variables=variables,
        message=message,
        created_by=created_by,
        **definition,
    )


@transaction.atomic(savepoint=False)
def create_version(
    *, prompt: Prompt, changes: Definition, message: str = "", created_by: User | None, even_if_equal: bool = True
) -> PromptVersion:
    """The next version: the current one with `changes`. It becomes current.

    With `even_if_equal` false, changes that change nothing make no version, and the current one is answered.
    Concurrent calls wait for each other and get distinct numbers. Raises BadRequest, Conflict for the other type's
    body.
    """
    locked = lock_for_update(Prompt.objects.all(), pk=prompt.pk)
    current = locked.current_version
    definition = cast("Definition", {**definition_of(current), **_said(prompt, changes)})
    if not even_if_equal and _equals(current, definition):
        return cast("PromptVersion", current)
    version = new_version(
        prompt=prompt,
        number=current.version_number + 1,
        definition=definition,
        message=message,
        created_by=created_by,
    )
    version.save(force_insert=True)
    prompt.current_version = version
    prompt.save_fields("current_version")
    return version


def _said(prompt: Prompt, changes: Definition) -> Definition:
    """The changes without the body that is null; raises Conflict for the body of the other type."""
    wrong = "messages" if prompt.type == Prompt.Type.TEXT else "content"
    if changes.get(wrong) is not None:
        raise Conflict(f"This is a {prompt.type} prompt.", details={wrong: f"This is a {prompt.type} prompt."})
    given = {name: value for name, value in changes.items() if value is not None or name not in {"content", "messages"}}
    return cast("Definition", given)


def _equals(version: PromptVersion, definition: Definition) -> bool:
    return dumps(_comparable(definition_of(version))) == dumps(_comparable(definition))


def _comparable(definition: Definition) -> list[Any]:
    model = definition["model"]
    return [*(value for name, value in sorted(definition.items()) if name != "model"), model and model.pk]


@transaction.atomic(savepoint=False)
def restore_version(
    *, prompt: Prompt, version: PromptVersion, message: str = "", created_by: User | None
) -> PromptVersion:
    """A new version that says what an older one said."""
    return create_version(
        prompt=prompt,
        changes=definition_of(version),
        message=message or f"Restored version {version.version_number}",
        created_by=created_by,
    )
