"""Members of an organization: their role, their being active, their leaving. There is always an admin."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.organizations.models import Organization
from apps.users.models import ApiKey, Membership
from apps.users.permissions import Role
from apps.users.principal import Principal
from apps.users.services.grants import require_can_grant_role
from apps.users.services.sessions import end_sessions
from everquant.api.errors import Conflict


@transaction.atomic
def change_member(
    *, actor: Principal, membership: Membership, role: str | None = None, is_active: bool | None = None
) -> None:
    """Raises Forbidden for a role beyond the actor's own rights, Conflict for the last admin."""
    was_admin = _is_acting_admin(membership)
    was = (membership.role, membership.is_active)
    membership.role = role if role is not None else membership.role
    membership.is_active = is_active if is_active is not None else membership.is_active
    if (membership.role, membership.is_active) == was:
        return
    if membership.role != was[0] or membership.is_active:
        require_can_grant_role(actor, membership.role)
    if was_admin and not _is_acting_admin(membership):
        _require_another_admin(membership)
    membership.save_fields("role", "is_active")
    if not membership.is_active:
        _end_sign_ins(membership, "deactivated")


@transaction.atomic
def remove_member(*, membership: Membership) -> None:
    """End the membership, its sign-ins and its API keys; raises Conflict for the last admin."""
    if _is_acting_admin(membership):
        _require_another_admin(membership)
    _end_sign_ins(membership, "membership ended")
    keys = ApiKey.objects.for_organization(membership.organization_id).filter(user_id=membership.user_id)
    for key in keys.unrevoked():
        key.revoke(timezone.now())
    membership.delete()


def _is_acting_admin(membership: Membership) -> bool:
    return membership.role == Role.ADMIN and membership.is_active


def _require_another_admin(membership: Membership) -> None:
    """Under a lock on the organization, so that two admins cannot remove each other at once."""
    lock_organization(membership.organization_id)
    admins = Membership.objects.for_organization(membership.organization_id).in_force().filter(role=Role.ADMIN)
    if not admins.exclude(id=membership.id).exists():
        raise Conflict("An organization needs an active admin.", details={"role": "This is the last admin."})


def lock_organization(organization_id: UUID) -> Organization:
    """Locked against others who lock it; rows that refer to it can still be added."""
    return Organization.objects.select_for_update(no_key=True).get(id=organization_id)


def _end_sign_ins(membership: Membership, because: str) -> None:
    end_sessions(user_id=membership.user_id, because=because, organization_id=membership.organization_id)
