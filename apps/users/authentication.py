"""`Authorization: Bearer` with an access token or an API key. No database query while the cache is warm."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication

from apps.users.access import (
    names_for_api_key,
    names_for_session,
    peek_api_key,
    peek_session,
    principal_of_api_key,
    principal_of_session,
)
from apps.users.models import ApiKey, User
from apps.users.models.access import API_KEY_PREFIX
from apps.users.principal import Principal
from apps.users.tokens import AccessToken, read_token
from everquant.api.errors import Unauthorized
from everquant.api.throttling import Window, windows_of
from everquant.cache import prefetch
from everquant.rows import stored_row

MAX_CREDENTIAL_LENGTH = 4096
LAST_USE_INTERVAL_S = 60.0
REMEMBERED_CREDENTIALS = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose a credential is. Whether it still opens anything is asked at every request.

    `names` is what `principal` and `peek` read of Redis; `expires_at` is in seconds since 1970.
    """

    organization_id: UUID
    throttle_key: str
    names: tuple[str, str]
    principal: Callable[[], Principal | None]
    peek: Callable[[], Principal | None]
    expires_at: float = math.inf


class BearerAuthentication(BaseAuthentication):
    def authenticate(self, request: Any) -> tuple[User, Principal] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        principal = _authenticated(bearer_credential(header), request.parser_context["view"])
        return _user_of(principal), principal

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"


def bearer_credential(header: str) -> str:
    """Raises Unauthorized."""
    scheme, _, credential = header.partition(" ")
    if scheme.lower() != "bearer" or not credential or len(credential) > MAX_CREDENTIAL_LENGTH:
        raise Unauthorized("Authorization must be 'Bearer' and a token.")
    return credential.strip()


def caller_of(credential: str) -> Caller | None:
    """None for an API key that this process has not seen yet. Raises Unauthorized for a token that is not valid."""
    if credential.startswith(API_KEY_PREFIX):
        return _known_keys.get(credential)
    caller = _caller_of_token(credential, tuple(settings.JWT_SECRETS))
    if caller.expires_at <= time.time():
        raise Unauthorized("The access token has expired.")
    return caller


def _authenticated(credential: str, view: Any) -> Principal:
    """Raises Unauthorized. What the request needs of Redis is read here in one round trip."""
    caller = caller_of(credential)
    if caller is not None:
        prefetch_for(caller, view.names_to_prefetch(caller.organization_id))
    is_key = credential.startswith(API_KEY_PREFIX)
    principal = caller.principal() if caller is not None else principal_of_api_key(credential)
    if principal is None:
        raise Unauthorized("The API key is not valid." if is_key else "The sign-in or the membership has ended.")
    if is_key and caller is None and len(_known_keys) < REMEMBERED_CREDENTIALS:
        _known_keys[credential] = _caller_of_key(credential, principal)
    note_use(principal)
    return principal


def prefetch_for(caller: Caller, names: Iterable[str]) -> list[Window]:
    """Read in one round trip who calls, these names, and the counters of the limits, which are given back."""
    windows = windows_of(caller.organization_id, caller.throttle_key)
    prefetch([*caller.names, *names], {window.counter: window.lifetime_s for window in windows})
    return windows


_known_keys: dict[str, Caller] = {}


def _caller_of_key(secret: str, principal: Principal) -> Caller:
    return Caller(
        principal.organization_id,
        principal.throttle_key,
        names_for_api_key(secret),
        partial(principal_of_api_key, secret),
        partial(peek_api_key, secret),
    )


@lru_cache(maxsize=REMEMBERED_CREDENTIALS)
def _caller_of_token(credential: str, _secrets: tuple[str, ...]) -> Caller:
    """Of a token whose signature is right under these secrets; it may have expired since. Raises Unauthorized."""
    token = read_token(AccessToken, credential)
    user_id, organization_id = UUID(token["user_id"]), UUID(token["organization_id"])
    session = (user_id, organization_id, token.session_id)
    return Caller(
        organization_id,
        str(user_id),
        names_for_session(user_id, organization_id),
        partial(principal_of_session, *session),
        partial(peek_session, *session),
        int(token["exp"]),
    )


def _user_of(principal: Principal) -> User:
    """The user without a query: other columns are fetched when somebody asks for them."""
    return stored_row(User, id=principal.user_id, email=principal.email, is_active=True)


_last_noted: dict[UUID, float] = {}


def is_use_due(principal: Principal) -> bool:
    """Whether `note_use` would write."""
    key_id = principal.api_key_id
    return key_id is not None and time.monotonic() - _last_noted.get(key_id, -math.inf) >= LAST_USE_INTERVAL_S


def note_use(principal: Principal) -> None:
    """Write an API key's `last_used_at`, at most once a minute and process."""
    if principal.api_key_id is not None and is_use_due(principal):
        _last_noted[principal.api_key_id] = time.monotonic()
        ApiKey.objects.filter(id=principal.api_key_id).update(last_used_at=timezone.now())


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token of /auth/login, or an API key (eq_…).",
        }
