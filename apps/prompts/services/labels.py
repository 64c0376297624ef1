"""Labels: the names by which programs ask for a version."""

from typing import Any, cast

from apps.prompts.labelling import ANY_VERSION, MoveCheck, move_label, take_label_away
from apps.prompts.models import Prompt, PromptLabel, PromptVersion
from apps.prompts.promotion import LabelMove, check_promotion
from apps.users.models import User


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
    """As `move_label`; raises PromotionRefused too."""
    label = move_label(
        owner=prompt,
        name=name,
        version=version,
        moved_by=moved_by,
        may_move_protected=may_move_protected,
        expected_version=expected_version,
        reason=reason,
        check=_promotion_check(prompt, name, moved_by),
    )
    return cast("PromptLabel", label)


def remove_label(
    *,
    prompt: Prompt,
    name: str,
    removed_by: User | None,
    may_move_protected: bool,
    expected_version: int | None = ANY_VERSION,
    reason: str = "",
) -> None:
    """As `take_label_away`; raises PromotionRefused too."""
    take_label_away(
        owner=prompt,
        name=name,
        removed_by=removed_by,
        may_move_protected=may_move_protected,
        expected_version=expected_version,
        reason=reason,
        check=_promotion_check(prompt, name, removed_by),
    )


def _promotion_check(prompt: Prompt, name: str, by: User | None) -> MoveCheck:
    def check(before: Any, after: Any) -> None:
        check_promotion(LabelMove(prompt, name, before, after, by.pk if by else None))

    return check
