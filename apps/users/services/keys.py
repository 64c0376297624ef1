"""API keys: making one, and replacing one while the old one still works for a while."""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from apps.users.models import ApiKey
from apps.users.principal import Principal
from apps.users.services.grants import require_can_grant
from everquant.api.errors import Conflict


@transaction.atomic
def create_api_key(
    *, actor: Principal, name: str, scopes: list[str], expires_in_s: int | None = None
) -> tuple[ApiKey, str]:
    """The key and its secret, which is shown this once. It acts for the actor.

    A key made with a key does not outlive it. Raises Forbidden for scopes beyond the actor's own permissions.
    """
    require_can_grant(actor, scopes, "scopes")
    expires_at = timezone.now() + timedelta(seconds=expires_in_s) if expires_in_s is not None else None
    return _issue(actor, name, scopes, expires_at)


@transaction.atomic
def rotate_api_key(
    *, actor: Principal, api_key: ApiKey, overlap_s: int, expires_in_s: int | None = None
) -> tuple[ApiKey, str]:
    """A new key with the same name, scopes and (unless given) expiry; the old one ends after the overlap.

    The new one acts for whoever rotates, so that nobody gets a secret that acts for another person. Raises Forbidden
    for scopes beyond the actor's own permissions, Conflict for a key that has ended or is being replaced.
    """
    now = timezone.now()
    if api_key.revoked_at is not None or not api_key.is_usable(now):
        raise Conflict("The key has ended or is being replaced already.")
    require_can_grant(actor, api_key.scopes, "scopes")
    expires_at = now + timedelta(seconds=expires_in_s) if expires_in_s is not None else api_key.expires_at
    issued = _issue(actor, api_key.name, api_key.scopes, expires_at)
    api_key.revoke(now + timedelta(seconds=overlap_s))
    return issued


def _issue(actor: Principal, name: str, scopes: list[str], expires_at: datetime | None) -> tuple[ApiKey, str]:
    key = ApiKey(
        organization_id=actor.organization_id,
        user_id=actor.user_id,
        name=name,
        scopes=sorted(set(scopes)),
        expires_at=_earlier(expires_at, _end_of_own_key(actor)),
    )
    secret = key.give_secret()
    key.save()
    return key, secret


def _end_of_own_key(actor: Principal) -> datetime | None:
    if actor.api_key_id is None:
        return None
    own = ApiKey.objects.get(id=actor.api_key_id)
    return _earlier(own.expires_at, own.revoked_at)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((end for end in (one, other) if end is not None), default=None)
