"""The membership and the API key in force, from Redis, and from the database when Redis is away or does not know.

Entries are invalidated on the commit of whatever they were made of. Each read is one round trip and no query.
"""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from apps.organizations.models import Organization
from apps.users.models import ApiKey, Membership, Session, User
from apps.users.permissions import ROLE_PERMISSIONS
from apps.users.principal import Principal
from everquant.cache import EpochCache

_cache = EpochCache("access", ttl_s=60)
_ENTRY = "v1"
REMEMBERED_ENTRIES = 4096


def principal_of_session(user_id: UUID, organization_id: UUID, session_id: UUID) -> Principal | None:
    """Whoever holds an access token of this sign-in; None when the membership or the sign-in is over."""
    key = _membership_key(user_id, organization_id)
    entry = _read(key, lambda: _load_membership(user_id, organization_id))
    return _session_principal(entry, user_id, organization_id, session_id)


def peek_session(user_id: UUID, organization_id: UUID, session_id: UUID) -> Principal | None:
    """As `principal_of_session`, of what this request has prefetched and nothing else."""
    entry = _cache.peek(_membership_key(user_id, organization_id), _ENTRY)
    return _session_principal(entry, user_id, organization_id, session_id) if entry is not None else None


def principal_of_api_key(secret: str) -> Principal | None:
    """Whoever this key acts for, with the permissions that both its scopes and its creator's role give."""
    key_hash = ApiKey.hash(secret)
    return _valid_now(_read(f"key:{key_hash}", lambda: _load_api_key(key_hash)))


def peek_api_key(secret: str) -> Principal | None:
    """As `principal_of_api_key`, of what this request has prefetched and nothing else."""
    entry = _cache.peek(f"key:{ApiKey.hash(secret)}", _ENTRY)
    return _valid_now(entry) if entry is not None else None


@lru_cache(maxsize=REMEMBERED_ENTRIES)
def _session_principal(entry: bytes, user_id: UUID, organization_id: UUID, session_id: UUID) -> Principal | None:
    found = orjson.loads(entry)
    if found is None or str(session_id) in found["ended_sessions"]:
        return None
    role = found["role"]
    return Principal(user_id, organization_id, found["email"], role, ROLE_PERMISSIONS[role], session_id)


@lru_cache(maxsize=REMEMBERED_ENTRIES)
def _key_principal(entry: bytes) -> tuple[Principal, float] | None:
    """Whom the entry of a key names, and until when (seconds since 1970)."""
    found = orjson.loads(entry)
    if found is None:
        return None
    principal = Principal(
        UUID(found["user_id"]),
        UUID(found["organization_id"]),
        found["email"],
        found["role"],
        ROLE_PERMISSIONS[found["role"]] & frozenset(found["scopes"]),
        api_key_id=UUID(found["id"]),
    )
    ends = [found[name] for name in ("expires_at", "revoked_at") if found[name] is not None]
    return principal, min(ends, default=math.inf)


def _valid_now(entry: bytes) -> Principal | None:
    found = _key_principal(entry)
    return found[0] if found is not None and time.time() < found[1] else None


def _read(epoch_key: str, load: Callable[[], Any]) -> bytes:
    cached, epoch = _cache.read(epoch_key, _ENTRY)
    if cached is not None:
        return cached
    entry = orjson.dumps(load())
    _cache.store(epoch_key, _ENTRY, entry, epoch)
    return entry


@lru_cache(maxsize=REMEMBERED_ENTRIES)
def _membership_key(user_id: UUID, organization_id: UUID) -> str:
    return f"membership:{user_id}:{organization_id}"


def _load_membership(user_id: UUID, organization_id: UUID) -> dict[str, Any] | None:
    row = (
        Membership.objects.for_organization(organization_id)
        .in_force()
        .filter(user_id=user_id)
        .values("role", "user__email")
        .first()
    )
    if row is None:
        return None
    since = timezone.now() - timedelta(seconds=settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"].total_seconds() + 60)
    ended = Session.objects.filter(user_id=user_id, ended_at__gt=since).values_list("id", flat=True)
    return {"role": row["role"], "email": row["user__email"], "ended_sessions": [str(i) for i in ended]}


def _load_api_key(key_hash: str) -> dict[str, Any] | None:
    key = ApiKey.objects.filter(key_hash=key_hash).first()
    if key is None:
        return None
    membership = (
        Membership.objects.for_organization(key.organization_id)
        .in_force()
        .filter(user_id=key.user_id)
        .values("role", "user__email")
        .first()
    )
    if membership is None:
        return None
    return {
        "id": str(key.id),
        "user_id": str(key.user_id),
        "organization_id": str(key.organization_id),
        "email": membership["user__email"],
        "role": membership["role"],
        "scopes": key.scopes,
        "expires_at": key.expires_at.timestamp() if key.expires_at else None,
        "revoked_at": key.revoked_at.timestamp() if key.revoked_at else None,
    }


def names_for_session(user_id: UUID, organization_id: UUID) -> tuple[str, str]:
    """What `principal_of_session` reads, for `everquant.cache.prefetch`."""
    return _cache.names(_membership_key(user_id, organization_id), _ENTRY)


def names_for_api_key(secret: str) -> tuple[str, str]:
    """What `principal_of_api_key` reads, for `everquant.cache.prefetch`."""
    return _cache.names(f"key:{ApiKey.hash(secret)}", _ENTRY)


def _forget(memberships: Any, api_keys: Any) -> None:
    names = [_membership_key(m.user_id, m.organization_id) for m in memberships]
    names += [f"key:{key.key_hash}" for key in api_keys]
    if names:
        _cache.invalidate(*names)


def forget_user(user_id: UUID) -> None:
    """After the commit, nothing remembered of this user is believed."""
    _forget(Membership.objects.filter(user_id=user_id), ApiKey.objects.filter(user_id=user_id))


def _on_membership(instance: Membership, **_: Any) -> None:
    keys = ApiKey.objects.filter(user_id=instance.user_id, organization_id=instance.organization_id)
    _forget([instance], keys)


def _on_user(instance: User, created: bool = False, update_fields: Any = None, **_: Any) -> None:
    if not created and update_fields != frozenset({"last_login"}):
        forget_user(instance.pk)


def _on_organization(instance: Organization, created: bool = False, **_: Any) -> None:
    if not created:
        where = {"organization_id": instance.pk}
        _forget(Membership.objects.filter(**where), ApiKey.objects.filter(**where))


def _on_api_key(instance: ApiKey, **_: Any) -> None:
    _forget([], [instance])


def connect_invalidation() -> None:
    """Called once at start: whatever path changes these rows (API, admin, command), the cache learns of it."""
    for signal in (post_save, post_delete):
        signal.connect(_on_membership, sender=Membership, dispatch_uid="access.membership")
        signal.connect(_on_user, sender=User, dispatch_uid="access.user")
        signal.connect(_on_organization, sender=Organization, dispatch_uid="access.organization")
        signal.connect(_on_api_key, sender=ApiKey, dispatch_uid="access.api_key")
