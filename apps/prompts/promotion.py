"""What may forbid a move of a label, of prompts and workflows alike, or that its owner leaves its slug.

Higher apps register here in their AppConfig.ready().
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from everquant.api.errors import Conflict


class PromotionRefused(Conflict):
    """A check does not let the label move; the message says why."""


@dataclass(frozen=True, slots=True)
class LabelMove:
    """A label about to move; no `to_version` means that it is removed, no `from_version` that it is new.

    `owner` is the prompt or workflow, locked until the transaction ends.
    """

    owner: Any
    label: str
    from_version: Any
    to_version: Any
    user_id: UUID | None


PromotionCheck = Callable[[LabelMove], None]
DepartureCheck = Callable[[Any], None]
_checks: list[PromotionCheck] = []
_departure_checks: list[DepartureCheck] = []


def register_promotion_check(check: PromotionCheck) -> None:
    """Have `check(move)` called in the transaction of every move; it raises PromotionRefused to forbid it."""
    if check not in _checks:
        _checks.append(check)


def unregister_promotion_check(check: PromotionCheck) -> None:
    _checks.remove(check)


def check_promotion(move: LabelMove) -> None:
    for check in _checks:
        check(move)


def register_departure_check(check: DepartureCheck) -> None:
    """Have `check(owner)` called before a prompt or workflow is deleted or gets another slug.

    Programs ask for a slug and a label: whatever takes the slug next would be served under the label. It raises
    PromotionRefused to forbid it.
    """
    if check not in _departure_checks:
        _departure_checks.append(check)


def check_departure(owner: Any) -> None:
    for check in _departure_checks:
        check(owner)
