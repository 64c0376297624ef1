"""Sign-ins: each is a `Session`, a family of refresh tokens of which only the newest is good."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.contrib.auth import authenticate
from django.db import transaction
from django.utils import timezone

from apps.users.access import forget_user
from apps.users.models import Membership, Session, User
from apps.users.principal import Principal
from apps.users.tokens import AccessToken, RefreshToken, read_token
from everquant.api.errors import Forbidden, NotFound, Unauthorized

WRONG_CREDENTIALS = "E-mail address or password is wrong."


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a sign-in gives; `expires_in` is the access token's life in seconds."""

    access: str
    refresh: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class SignIn:
    tokens: TokenPair
    membership: Membership


def sign_in(*, email: str, password: str, organization_id: UUID | None = None) -> SignIn:
    """A new session in the named organization, or in the oldest membership in force.

    Unknown accounts cost the same Argon2 hash as known ones (Django's backend). Raises Unauthorized, and Forbidden
    for somebody who has proved who they are and belongs to no such organization.
    """
    user = authenticate(username=email, password=password)
    if not isinstance(user, User):
        raise Unauthorized(WRONG_CREDENTIALS)
    memberships = Membership.objects.in_force().filter(user=user)
    if organization_id is not None:
        memberships = memberships.for_organization(organization_id)
    membership = memberships.select_related("user", "organization").first()
    if membership is None:
        raise Forbidden("There is no active membership to sign in to.")
    return begin(membership=membership)


def begin(*, membership: Membership) -> SignIn:
    """Start a session and note the time on the user."""
    tokens = start_session(membership=membership)
    User.objects.filter(id=membership.user_id).update(last_login=timezone.now())
    return SignIn(tokens, membership)


@transaction.atomic
def start_session(*, membership: Membership) -> TokenPair:
    """A new family of refresh tokens for this membership."""
    session = Session(user_id=membership.user_id, organization_id=membership.organization_id)
    refresh = RefreshToken.for_session(session, membership)
    session.current_jti = refresh["jti"]
    session.expires_at = _expiry_of(refresh)
    session.save()
    return _pair(session, membership, refresh)


def _expiry_of(token: RefreshToken) -> datetime:
    return datetime.fromtimestamp(token["exp"], UTC)


def _pair(session: Session, membership: Membership, refresh: RefreshToken) -> TokenPair:
    access = AccessToken.for_session(session, membership)
    return TokenPair(str(access), str(refresh), int(access.lifetime.total_seconds()))


def refresh_session(*, refresh_token: str) -> SignIn:
    """New tokens for the family's newest refresh token; raises Unauthorized.

    One statement compares and swaps, so that of two requests with one token one wins. An older token is a stolen or
    a copied one: the family ends, and the end stays although the request fails.
    """
    presented = read_token(RefreshToken, refresh_token)
    session = Session.objects.filter(id=presented.session_id, ended_at__isnull=True).first()
    membership = _membership_of(session) if session else None
    if session is None or membership is None:
        raise Unauthorized("The sign-in or the membership has ended.")
    fresh = RefreshToken.for_session(session, membership)
    rotated = Session.objects.filter(id=session.id, current_jti=presented["jti"], ended_at__isnull=True).update(
        current_jti=fresh["jti"], expires_at=_expiry_of(fresh), updated_at=timezone.now()
    )
    if not rotated:
        end_session(session=session, because="refresh token used twice")
        raise Unauthorized("This refresh token has been used before; sign in again.")
    return SignIn(_pair(session, membership, fresh), membership)


def _membership_of(session: Session) -> Membership | None:
    memberships = Membership.objects.for_organization(session.organization_id).in_force()
    return memberships.filter(user_id=session.user_id).select_related("user", "organization").first()


def switch_organization(*, actor: Principal, organization_id: UUID) -> SignIn:
    """A session in another of the user's organizations; raises NotFound when there is no membership in force."""
    memberships = Membership.objects.for_organization(organization_id).in_force()
    membership = memberships.filter(user_id=actor.user_id).select_related("user", "organization").first()
    if membership is None:
        raise NotFound("No such organization.")
    return begin(membership=membership)


def sign_out(*, actor: Principal | None, refresh_token: str | None) -> None:
    """End the session of the refresh token if one is given, else the caller's own; raises Unauthorized."""
    if refresh_token is not None:
        session_id: UUID | None = read_token(RefreshToken, refresh_token).session_id
    elif actor is not None:
        session_id = actor.session_id
    else:
        raise Unauthorized
    if session_id is None:
        raise Forbidden("An API key has no sign-in to end.")
    session = Session.objects.filter(id=session_id).first()
    if session is not None:
        end_session(session=session, because="signed out")


def end_session(*, session: Session, because: str) -> None:
    """End a family of refresh tokens; its access tokens stop working at once. A second call changes nothing."""
    if session.ended_at is None:
        session.ended_at, session.ended_because = timezone.now(), because
        with transaction.atomic():
            session.save_fields("ended_at", "ended_because")
            forget_user(session.user_id)


@transaction.atomic
def end_sessions(*, user_id: UUID, because: str, organization_id: UUID | None = None, keep: UUID | None = None) -> None:
    """End every sign-in of a user, or those in one organization, but for the session `keep`."""
    sessions = Session.objects.filter(user_id=user_id, ended_at__isnull=True)
    if organization_id is not None:
        sessions = sessions.filter(organization_id=organization_id)
    if keep is not None:
        sessions = sessions.exclude(id=keep)
    now = timezone.now()
    sessions.update(ended_at=now, ended_because=because, updated_at=now)
    forget_user(user_id)
