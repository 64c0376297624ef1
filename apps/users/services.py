"""Signing in and out, registering, inviting, and keys: everything that writes more than one row."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import transaction
from django.utils import timezone

from apps.users.access import forget_user
from apps.users.models import Membership, Session
from apps.users.tokens import AccessToken, RefreshToken


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a sign-in gives; `expires_in` is the access token's life in seconds."""

    access: str
    refresh: str
    expires_in: int


@transaction.atomic
def start_session(*, membership: Membership) -> TokenPair:
    """A new family of refresh tokens for this membership."""
    session = Session(user_id=membership.user_id, organization_id=membership.organization_id)
    refresh = RefreshToken.for_session(session, membership)
    session.current_jti = refresh["jti"]
    session.expires_at = datetime.fromtimestamp(refresh["exp"], UTC)
    session.save()
    return _pair(session, membership, refresh)


def _pair(session: Session, membership: Membership, refresh: RefreshToken) -> TokenPair:
    access = AccessToken.for_session(session, membership)
    return TokenPair(str(access), str(refresh), int(access.lifetime.total_seconds()))


def end_session(*, session: Session, because: str) -> None:
    """End a family of refresh tokens; its access tokens stop working at once. A second call changes nothing."""
    if session.ended_at is None:
        session.ended_at, session.ended_because = timezone.now(), because
        with transaction.atomic():
            session.save_fields("ended_at", "ended_because")
            forget_user(session.user_id)
