"""Offering a role by e-mail, and accepting it."""

from django.core.signing import BadSignature
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.users.models import Invitation, Membership, User
from apps.users.models.access import INVITATION_LIFETIME
from apps.users.principal import Principal
from apps.users.services.accounts import create_account
from apps.users.services.grants import require_can_grant_role
from apps.users.services.sessions import WRONG_CREDENTIALS, SignIn, begin
from apps.users.tasks import send_invitation
from everquant.api.errors import BadRequest, Conflict, Unauthorized


@transaction.atomic
def invite(*, actor: Principal, email: str, role: str) -> Invitation:
    """An invitation and its queued letter. Raises Forbidden for a role beyond the actor's own rights, Conflict for a
    member or an address that has an open invitation."""
    require_can_grant_role(actor, role)
    if Membership.objects.for_organization(actor.organization_id).filter(user__email=email).exists():
        raise Conflict("This person is a member already.", details={"email": "Is a member."})
    pending = Invitation.objects.for_organization(actor.organization_id).filter(
        email=email, accepted_at__isnull=True, revoked_at__isnull=True
    )
    for expired in pending.filter(expires_at__lte=timezone.now()):
        expired.revoke()
    invitation = Invitation(
        organization_id=actor.organization_id,
        email=email,
        role=role,
        invited_by_id=actor.user_id,
        expires_at=timezone.now() + INVITATION_LIFETIME,
    )
    try:
        with transaction.atomic():
            invitation.save()
    except IntegrityError:
        raise Conflict("There is an open invitation for this address.", details={"email": "Is invited."}) from None
    send_invitation.defer(invitation_id=str(invitation.id))
    return invitation


@transaction.atomic
def resend_invitation(*, actor: Principal, invitation: Invitation) -> None:
    """Another letter, and seven more days from now. Raises Conflict when it is accepted or revoked."""
    if invitation.accepted_at is not None or invitation.revoked_at is not None:
        raise Conflict("The invitation is not open any more.")
    require_can_grant_role(actor, invitation.role)
    invitation.expires_at = timezone.now() + INVITATION_LIFETIME
    invitation.save_fields("expires_at")
    send_invitation.defer(invitation_id=str(invitation.id))


@transaction.atomic
def accept_invitation(*, actor: Principal | None, token: str, name: str, password: str | None) -> SignIn:
    """Join, and sign in. A new person gives the password of their new account; whoever has an account is signed in
    as themselves or gives its password, for the token alone (its sender knows it) proves nothing.

    Raises Unauthorized, also for a token that is not good; BadRequest for a weak password; Conflict for a member.
    """
    invitation = _open_invitation(token)
    user = User.objects.filter(email=invitation.email).first()
    if user is None:
        if password is None:
            raise BadRequest("A new account needs a password.", details={"password": "This field is required."})
        user = create_account(email=invitation.email, password=password, name=name)
    elif not _proves(user, actor, password):
        raise Unauthorized(WRONG_CREDENTIALS)
    membership = _join(invitation, user)
    invitation.accepted_at = timezone.now()
    invitation.save_fields("accepted_at")
    return begin(membership=membership)


def _proves(user: User, actor: Principal | None, password: str | None) -> bool:
    if not user.is_active:
        return False
    if actor is not None and actor.session_id is not None and actor.user_id == user.id:
        return True
    return password is not None and user.check_password(password)


def _join(invitation: Invitation, user: User) -> Membership:
    try:
        with transaction.atomic():
            return Membership.objects.create(organization=invitation.organization, user=user, role=invitation.role)
    except IntegrityError:
        raise Conflict("You are a member of this organization already.") from None


def _open_invitation(token: str) -> Invitation:
    """The invitation, locked; raises Unauthorized."""
    refusal = Unauthorized("The invitation is not valid any more.", details={"token": "Not valid, used or expired."})
    try:
        invitation_id = Invitation.id_in_token(token)
    except BadSignature:
        raise refusal from None
    found = Invitation.objects.select_for_update(of=("self",)).select_related("organization")
    invitation: Invitation | None = found.filter(id=invitation_id).first()
    if invitation is None or not invitation.is_open or not invitation.organization.is_active:
        raise refusal
    return invitation
