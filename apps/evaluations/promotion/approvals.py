"""What people say of versions."""

from django.db import transaction
from django.utils import timezone

from apps.evaluations.models import Decision, PromotionApproval, PromotionPolicy
from apps.evaluations.promotion.requirements import entitled
from apps.evaluations.promotion.targets import right_to_change, version_of
from apps.users.principal import Principal
from everquant.api.errors import Conflict, Forbidden
from everquant.db import lock_for_update


@transaction.atomic(savepoint=False)
def decide(
    *, policy: PromotionPolicy, version_number: int, decision: str, by: Principal, comment: str = ""
) -> PromotionApproval:
    """What `by` says of a version now; what they said before is withdrawn.

    Raises Forbidden for API keys, for whom the right to change it is missing, and for an author who approves.
    """
    _require_person(policy, by)
    locked: PromotionPolicy = lock_for_update(PromotionPolicy.objects.all(), pk=policy.pk)
    if by.user_id not in entitled(locked, [by.user_id]):
        raise Forbidden(f"Members with {right_to_change(locked)} decide.")
    version = version_of(locked, version_number)
    if decision == Decision.APPROVE and version.created_by_id == by.user_id:
        raise Forbidden("A version is approved by others than its author.")
    before = locked.approvals.standing().filter(user_id=by.user_id, version_id=version.id, revision=locked.revision)
    for one in before:
        _withdraw(one)
    made: PromotionApproval = PromotionApproval.objects.create(
        organization_id=locked.organization_id,
        policy=locked,
        revision=locked.revision,
        version_id=version.id,
        version_number=version.version_number,
        decision=decision,
        comment=comment,
        user_id=by.user_id,
    )
    return made


@transaction.atomic(savepoint=False)
def withdraw_decision(*, approval: PromotionApproval, by: Principal) -> PromotionApproval:
    """Raises Conflict when it was withdrawn, Forbidden for another's."""
    _require_person(approval.policy, by)
    lock_for_update(PromotionPolicy.objects.only("id"), pk=approval.policy_id)
    locked: PromotionApproval = lock_for_update(PromotionApproval.objects.all(), pk=approval.pk)
    if locked.withdrawn_at is not None:
        raise Conflict("It was withdrawn.", details={"withdrawn_at": locked.withdrawn_at.isoformat()})
    if locked.user_id != by.user_id:
        raise Forbidden("People withdraw what they said themselves.")
    _withdraw(locked)
    return locked


def _withdraw(approval: PromotionApproval) -> None:
    approval.withdrawn_at = timezone.now()
    approval.save_fields("withdrawn_at")


def _require_person(policy: PromotionPolicy, by: Principal) -> None:
    if by.api_key_id is not None:
        raise Forbidden("Versions are approved by people, not by API keys.")
    if not by.can(right_to_change(policy)):
        raise Forbidden(f"To approve needs {right_to_change(policy)}.")
