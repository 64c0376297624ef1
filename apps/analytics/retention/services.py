from uuid import UUID

from django.db import transaction

from apps.analytics.models import RetentionPolicy
from everquant.db import lock_for_update


def policy_of(organization_id: UUID) -> RetentionPolicy:
    """As stored, else one that keeps everything, unsaved."""
    found: RetentionPolicy | None = RetentionPolicy.objects.filter(organization_id=organization_id).first()
    return found or RetentionPolicy(organization_id=organization_id)


def lock_policy(organization_id: UUID) -> RetentionPolicy:
    """The stored one, made if need be, locked: a batch of a purge has ended, and the next one will see the change."""
    RetentionPolicy.objects.get_or_create(organization_id=organization_id)
    policy: RetentionPolicy = lock_for_update(RetentionPolicy.objects.all(), organization_id=organization_id)
    return policy


@transaction.atomic
def set_policy(
    *,
    policy: RetentionPolicy,
    payload_days: int | None,
    execution_days: int | None,
    legal_hold: bool | None = None,
    legal_hold_reason: str | None = None,
) -> RetentionPolicy:
    """Of a locked policy. What is purged already does not come back; a hold ends only by saying so."""
    policy.payload_days, policy.execution_days = payload_days, execution_days
    if legal_hold is not None:
        policy.legal_hold, policy.legal_hold_reason = legal_hold, legal_hold_reason or ""
    elif legal_hold_reason is not None:
        policy.legal_hold_reason = legal_hold_reason
    policy.save_fields("payload_days", "execution_days", "legal_hold", "legal_hold_reason")
    return policy
