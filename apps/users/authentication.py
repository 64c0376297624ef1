"""`Authorization: Bearer` with an access token or an API key. No database query while the cache is warm."""

import time
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication

from apps.users.access import names_for_api_key, names_for_session, principal_of_api_key, principal_of_session
from apps.users.models import ApiKey, User
from apps.users.models.access import API_KEY_PREFIX
from apps.users.principal import Principal
from apps.users.tokens import AccessToken, read_token
from everquant.api.errors import Unauthorized
from everquant.api.throttling import counters_of, counts_of
from everquant.cache import prefetch

MAX_CREDENTIAL_LENGTH = 4096
LAST_USE_INTERVAL_S = 60.0
REMEMBERED_CREDENTIALS = 4096


class BearerAuthentication(BaseAuthentication):
    def authenticate(self, request: Any) -> tuple[User, Principal] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        scheme, _, credential = header.partition(" ")
        if scheme.lower() != "bearer" or not credential or len(credential) > MAX_CREDENTIAL_LENGTH:
            raise Unauthorized("Authorization must be 'Bearer' and a token.")
        principal = principal_of_credential(credential.strip(), request.parser_context["view"])
        return _user_of(principal), principal

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


def principal_of_credential(credential: str, view: Any) -> Principal:
    """Raises Unauthorized. What the request needs of Redis is read here in one round trip."""
    if credential.startswith(API_KEY_PREFIX):
        return _principal_of_api_key(credential, view)
    user_id, organization_id, session_id, expires_at = _verified(credential, tuple(settings.JWT_SECRETS))
    if expires_at <= time.time():
        raise Unauthorized("The access token has expired.")
    _prefetch(names_for_session(user_id, organization_id), organization_id, str(user_id), view)
    principal = principal_of_session(user_id, organization_id, session_id)
    if principal is None:
        raise Unauthorized("The sign-in or the membership has ended.")
    return principal


def _principal_of_api_key(secret: str, view: Any) -> Principal:
    known = _known_keys.get(secret)
    if known is not None:
        organization_id, key_id = known
        _prefetch(names_for_api_key(secret), organization_id, str(key_id), view)
    principal = principal_of_api_key(secret)
    if principal is None or principal.api_key_id is None:
        raise Unauthorized("The API key is not valid.")
    if known is None and len(_known_keys) < REMEMBERED_CREDENTIALS:
        _known_keys[secret] = principal.organization_id, principal.api_key_id
    _note_use(principal.api_key_id)
    return principal


# Whose a key is never changes; whether it still opens anything is asked at every request.
_known_keys: dict[str, tuple[UUID, UUID]] = {}


@lru_cache(maxsize=REMEMBERED_CREDENTIALS)
def _verified(credential: str, _secrets: tuple[str, ...]) -> tuple[UUID, UUID, UUID, int]:
    """User, organization, session and expiry of a token whose signature is right under these secrets."""
    token = read_token(AccessToken, credential)
    return UUID(token["user_id"]), UUID(token["organization_id"]), token.session_id, int(token["exp"])


def _prefetch(names: tuple[str, str], organization_id: UUID, throttle_key: str, view: Any) -> None:
    wanted = [*names, *view.names_to_prefetch(organization_id)]
    prefetch(wanted, counters_of(counts_of(organization_id, throttle_key)))


def _user_of(principal: Principal) -> User:
    """The user without a query: other columns are fetched when somebody asks for them."""
    return User.from_db("default", ["id", "email", "is_active"], [principal.user_id, principal.email, True])


_last_noted: dict[UUID, float] = {}


def _note_use(key_id: UUID) -> None:
    """Write `last_used_at` at most once a minute and process."""
    now = time.monotonic()
    if now - _last_noted.get(key_id, -LAST_USE_INTERVAL_S) >= LAST_USE_INTERVAL_S:
        _last_noted[key_id] = now
        ApiKey.objects.filter(id=key_id).update(last_used_at=timezone.now())


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token of /auth/login, or an API key (eq_…).",
        }
