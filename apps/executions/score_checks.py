"""What may forbid a score of an execution. Higher apps register here in their AppConfig.ready()."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NewScore:
    """A score that is about to be stored; its value fits its type."""

    organization_id: UUID
    name: str
    type: str
    value: float | bool | str


ScoreCheck = Callable[[NewScore], None]
_checks: list[ScoreCheck] = []


def register_score_check(check: ScoreCheck) -> None:
    """Have `check(score)` called in the transaction that stores it; it raises BadRequest naming `type` or `value`."""
    if check not in _checks:
        _checks.append(check)


def check_score(score: NewScore) -> None:
    for check in _checks:
        check(score)
