"""Labels of what has versions, prompts and workflows alike: moved under a lock of their owner, each move remembered.

Nothing else writes labels, so that every move passes the checks of `promotion`. An owner is a model with `versions`,
`label_set` and `label_events`, which have the fields of those of prompts.
"""

from typing import Any

from django.db import transaction

from apps.organizations.models import Organization
from apps.prompts.promotion import LabelMove, check_promotion
from apps.users.models import User
from everquant.api.errors import Conflict, Forbidden, NotFound
from everquant.db import lock_for_update

ANY_VERSION = -1
"""For `expected_version`: wherever the label is now."""
HISTORY_LENGTH = 100


@transaction.atomic(savepoint=False)
def move_label(
    *,
    owner: Any,
    name: str,
    version: Any,
    moved_by: User | None,
    may_move_protected: bool,
    expected_version: int | None = ANY_VERSION,
    reason: str = "",
) -> Any:
    """Point a label at a version. A label that is there already changes nothing and leaves no event.

    `expected_version` is the number that the label must still have, None when it must not be set. Raises Forbidden
    for a protected label, Conflict when the label is elsewhere, PromotionRefused.
    """
    label = _locked_label(owner, name, expected_version)
    _require_right(owner, name, may_move_protected)
    before = label.version if label is not None else None
    if label is not None and before == version:
        return label
    check_promotion(LabelMove(owner, name, before, version, moved_by.pk if moved_by else None))
    if label is None:
        label = owner.label_set.create(organization_id=owner.organization_id, name=name, version=version)
    else:
        label.version = version
        label.save()
    _record(owner, name, before, version, moved_by, reason)
    return label


@transaction.atomic(savepoint=False)
def take_label_away(
    *,
    owner: Any,
    name: str,
    removed_by: User | None,
    may_move_protected: bool,
    expected_version: int | None = ANY_VERSION,
    reason: str = "",
) -> None:
    """Its history stays. Raises as `move_label`, and NotFound when it is not set."""
    label = _locked_label(owner, name, expected_version)
    if label is None:
        raise NotFound(f"The {noun_of(owner)} has no such label.")
    _require_right(owner, name, may_move_protected)
    before = label.version
    check_promotion(LabelMove(owner, name, before, None, removed_by.pk if removed_by else None))
    label.delete()
    _record(owner, name, before, None, removed_by, reason)


def label_of(owner: Any, name: str) -> dict[str, Any] | None:
    """A label as it is read, or None when it was never set; three queries."""
    version = owner.label_set.filter(name=name).values_list("version__version_number", flat=True).first()
    events = owner.label_events.filter(name=name).values(
        "from_version__version_number", "to_version__version_number", "reason", "created_by_id", "created_at"
    )[:HISTORY_LENGTH]
    history = [
        {
            "from_version": event["from_version__version_number"],
            "to_version": event["to_version__version_number"],
            "reason": event["reason"],
            "created_by": event["created_by_id"],
            "created_at": event["created_at"],
        }
        for event in events
    ]
    if version is None and not history:
        return None
    return {"name": name, "version": version, "is_protected": name in _protected(owner), "history": history}


def noun_of(owner: Any) -> str:
    return str(owner._meta.model_name)


def _protected(owner: Any) -> list[str]:
    found: list[str] = Organization.objects.values_list("protected_labels", flat=True).get(pk=owner.organization_id)
    return found


def _locked_label(owner: Any, name: str, expected_version: int | None) -> Any:
    lock_for_update(type(owner).objects.all(), pk=owner.pk)
    label = owner.label_set.select_related("version").filter(name=name).first()
    actual = label.version.version_number if label is not None else None
    if expected_version not in {ANY_VERSION, actual}:
        where = "not set" if actual is None else f"at version {actual}"
        raise Conflict(f"The label is {where}.", details={"expected_version": f"The label is {where}."})
    return label


def _require_right(owner: Any, name: str, may_move_protected: bool) -> None:  # noqa: FBT001, RUF100 (a right, not a mode)
    if name in _protected(owner) and not may_move_protected:
        raise Forbidden(f"The label {name} is protected: {noun_of(owner)}s:protect is needed to move it.")


def _record(owner: Any, name: str, before: Any, after: Any, moved_by: User | None, reason: str) -> None:
    owner.label_events.create(
        organization_id=owner.organization_id,
        name=name,
        from_version=before,
        to_version=after,
        reason=reason,
        created_by=moved_by,
    )
