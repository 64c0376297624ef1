"""What a stopped test ends with: its winner behind the label, or everything as it was."""

from typing import Any, cast

from django.db import transaction

from apps.evaluations.ab_tests.results import reasons_not_to_promote
from apps.evaluations.ab_tests.services import locked_test
from apps.prompts.labelling import move_label, take_label_away
from apps.prompts.models import PRODUCTION, ABTest, ABTestStatus, ABVariant, Prompt, PromptVersion
from apps.prompts.services import Definition, create_version, definition_of
from apps.users.models import User
from apps.users.principal import Principal
from everquant.api.errors import BadRequest, Conflict, Forbidden
from everquant.db import lock_for_update


@transaction.atomic(savepoint=False)
def promote(*, test: ABTest, variant: str, reason: str = "", force: bool = False, by: Principal) -> ABTest:
    """Move the test's label to the variant, if it is still where it was; again for the same variant changes nothing.

    A variant with a model or parameters of its own becomes a version that has them. Raises Conflict with what speaks
    against it unless forced, and when the label is elsewhere; BadRequest naming `variant`; Forbidden,
    PromotionRefused as `move_label`.
    """
    _require_right(by)
    locked = locked_test(test)
    if locked.status == ABTestStatus.PROMOTED and locked.winner == variant:
        return locked
    locked.check_becoming(ABTestStatus.PROMOTED, "promoted")
    winner = _winner(locked, variant)
    if not force and (reasons := reasons_not_to_promote(locked, variant)):
        details = {f"reasons.{number}": why for number, why in enumerate(reasons)}
        raise Conflict(" ".join([f"Not promoted without force: {variant}.", *reasons]), details=details)
    prompt, mover = _locked_prompt(locked), User.objects.get(pk=by.user_id)
    replaced = _replaced_version(locked, prompt)
    version = _version_of(winner, prompt, mover)
    move_label(
        owner=prompt,
        name=locked.label,
        version=version,
        moved_by=mover,
        may_move_protected=by.can("prompts:protect"),
        expected_version=replaced.version_number if replaced is not None else None,
        reason=_label_reason(f"A/B test {locked.name}: {variant} promoted.", reason),
    )
    locked.promote(winner=variant, replaced_version=replaced, promoted_version=version, reason=reason)
    return locked


@transaction.atomic(savepoint=False)
def rollback(*, test: ABTest, reason: str, by: Principal) -> ABTest:
    """Move the label of a promoted test back, if it is still where that put it; a stopped one ends as it is.

    A label that was not set is taken away, or set to the control where traffic would not get that otherwise.

    Raises Conflict, Forbidden, PromotionRefused as `promote`.
    """
    _require_right(by)
    locked = locked_test(test)
    was_promoted = locked.status == ABTestStatus.PROMOTED
    locked.roll_back(reason=reason)
    if was_promoted:
        _move_back(locked, reason, by)
    return locked


def _require_right(by: Principal) -> None:
    if not by.can("prompts:update"):
        raise Forbidden("To move a label needs prompts:update.")


def _winner(test: ABTest, name: str) -> ABVariant:
    variant: ABVariant | None = test.variants.select_related("version", "model").filter(name=name).first()
    if variant is None:
        raise BadRequest(f"The test has no variant {name}.", details={"variant": "No such variant."})
    if variant.is_control:
        why = "This is the control: roll the test back to leave everything as it is."
        raise BadRequest(why, details={"variant": why})
    return variant


def _locked_prompt(test: ABTest) -> Prompt:
    prompt: Prompt = lock_for_update(Prompt.objects.select_related("current_version"), pk=test.prompt_id)
    if prompt.is_deleted:
        raise Conflict("The prompt is deleted.", details={"prompt_id": "The prompt is deleted."})
    return prompt


def _replaced_version(test: ABTest, prompt: Prompt) -> PromptVersion | None:
    """Where the label must be: at the control, or nowhere when it was not set at the start and never since."""
    is_set = prompt.label_set.filter(name=test.label).exists()
    if is_set or prompt.label_events.filter(name=test.label, created_at__gte=cast("Any", test.started_at)).exists():
        return _control_version(test)
    return None


def _control_version(test: ABTest) -> PromptVersion:
    return test.variants.select_related("version").get(is_control=True).version


def _version_of(winner: ABVariant, prompt: Prompt, mover: User) -> PromptVersion:
    """The variant's version, or a new one that says what the variant did."""
    if winner.model_id is None and not winner.parameters:
        return winner.version
    changes: Definition = definition_of(winner.version)
    if winner.model is not None:
        changes["model"] = winner.model
    changes["parameters"] = {**changes["parameters"], **winner.parameters}
    message = f"Variant {winner.name} of the A/B test {winner.test.name}"[:500]
    return create_version(prompt=prompt, changes=changes, message=message, created_by=mover, even_if_equal=False)


def _move_back(test: ABTest, reason: str, by: Principal) -> None:
    prompt, promoted = _locked_prompt(test), test.promoted_version
    mover: Any = User.objects.get(pk=by.user_id)
    how: dict[str, Any] = {
        "owner": prompt,
        "name": test.label,
        "may_move_protected": by.can("prompts:protect"),
        "expected_version": promoted.version_number if promoted is not None else None,
        "reason": _label_reason(f"A/B test {test.name} rolled back.", reason),
    }
    before = test.replaced_version or _version_without_label(test, prompt)
    if before is not None:
        move_label(version=before, moved_by=mover, **how)
    else:
        take_label_away(removed_by=mover, **how)


def _version_without_label(test: ABTest, prompt: Prompt) -> PromptVersion | None:
    """The control, where traffic would get another version if the label were taken away: a newer one is current."""
    control = _control_version(test)
    return control if test.label == PRODUCTION and prompt.current_version_id != control.pk else None


def _label_reason(what: str, reason: str) -> str:
    return f"{what} {reason}".strip()[:500]
