"""What may forbid a move of a label. Higher apps register here in their AppConfig.ready()."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from apps.prompts.models import Prompt, PromptVersion
from everquant.api.errors import Conflict


class PromotionRefused(Conflict):
    """A check does not let the label move; the message says why."""


@dataclass(frozen=True, slots=True)
class LabelMove:
    """A label about to move; no `to_version` means that it is removed, no `from_version` that it is new."""

    prompt: Prompt
    label: str
    from_version: PromptVersion | None
    to_version: PromptVersion | None
    user_id: UUID | None


PromotionCheck = Callable[[LabelMove], None]
_checks: list[PromotionCheck] = []


def register_promotion_check(check: PromotionCheck) -> None:
    """Have `check(move)` called in the transaction of every move; it raises PromotionRefused to forbid it."""
    if check not in _checks:
        _checks.append(check)


def unregister_promotion_check(check: PromotionCheck) -> None:
    _checks.remove(check)


def check_promotion(move: LabelMove) -> None:
    for check in _checks:
        check(move)
