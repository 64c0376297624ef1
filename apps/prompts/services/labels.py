"""Labels: the names by which programs ask for a version."""

from django.db import transaction

from apps.organizations.models import Organization
from apps.prompts.models import Prompt, PromptLabel, PromptLabelEvent, PromptVersion
from apps.prompts.promotion import LabelMove, check_promotion
from apps.users.models import User
from everquant.api.errors import Conflict, Forbidden, NotFound
from everquant.db import lock_for_update

ANY_VERSION = -1
"""For `expected_version`: wherever the label is now."""


@transaction.atomic(savepoint=False)
def set_label(
    *,
    prompt: Prompt,
    name: str,
    version: PromptVersion,
    moved_by: User | None,
    may_move_protected: bool,
    expected_version: int | None = ANY_VERSION,
    reason: str = "",
) -> PromptLabel:
    """Point a label at a version. A label that is there already changes nothing and leaves no event.

    `expected_version` is the number that the label must still have, None when it must not be set. Raises Forbidden
    for a protected label, Conflict when the label is elsewhere, PromotionRefused.
    """
    label = _locked_label(prompt, name, expected_version)
    _require_right(prompt, name, may_move_protected)
    before = label.version if label is not None else None
    if label is not None and before == version:
        return label
    _check(prompt, name, before, version, moved_by)
    if label is None:
        label = PromptLabel(organization_id=prompt.organization_id, prompt=prompt, name=name)
    label.version = version
    label.save()
    _record(prompt, name, before, version, moved_by, reason)
    return label


@transaction.atomic(savepoint=False)
def remove_label(
    *,
    prompt: Prompt,
    name: str,
    removed_by: User | None,
    may_move_protected: bool,
    expected_version: int | None = ANY_VERSION,
    reason: str = "",
) -> None:
    """Take a label away; its history stays. Raises as `set_label`, and NotFound when it is not set."""
    label = _locked_label(prompt, name, expected_version)
    if label is None:
        raise NotFound("The prompt has no such label.")
    _require_right(prompt, name, may_move_protected)
    _check(prompt, name, label.version, None, removed_by)
    before = label.version
    label.delete()
    _record(prompt, name, before, None, removed_by, reason)


def _locked_label(prompt: Prompt, name: str, expected_version: int | None) -> PromptLabel | None:
    lock_for_update(Prompt.objects.all(), pk=prompt.pk)
    label = PromptLabel.objects.select_related("version").filter(prompt=prompt, name=name).first()
    actual = label.version.version_number if label is not None else None
    if expected_version not in {ANY_VERSION, actual}:
        where = "not set" if actual is None else f"at version {actual}"
        raise Conflict(f"The label is {where}.", details={"expected_version": f"The label is {where}."})
    return label


def _require_right(prompt: Prompt, name: str, may_move_protected: bool) -> None:  # noqa: FBT001, RUF100 (a right, not a mode)
    protected = Organization.objects.values_list("protected_labels", flat=True).get(pk=prompt.organization_id)
    if name in protected and not may_move_protected:
        raise Forbidden(f"The label {name} is protected: prompts:protect is needed to move it.")


def _check(
    prompt: Prompt, name: str, before: PromptVersion | None, after: PromptVersion | None, moved_by: User | None
) -> None:
    check_promotion(LabelMove(prompt, name, before, after, moved_by.pk if moved_by else None))


def _record(
    prompt: Prompt,
    name: str,
    before: PromptVersion | None,
    after: PromptVersion | None,
    moved_by: User | None,
    reason: str,
) -> None:
    PromptLabelEvent.objects.create(
        organization_id=prompt.organization_id,
        prompt=prompt,
        name=name,
        from_version=before,
        to_version=after,
        reason=reason,
        created_by=moved_by,
    )
