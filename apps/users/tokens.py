"""Access and refresh tokens: the design's claims over simplejwt, signed by the first of JWT_SECRET, read by any."""

from functools import cache
from typing import Any, Self, TypeVar
from uuid import UUID

from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenBackendError, TokenError
from rest_framework_simplejwt.tokens import AccessToken as SimpleAccessToken
from rest_framework_simplejwt.tokens import RefreshToken as SimpleRefreshToken
from rest_framework_simplejwt.tokens import Token

from apps.users.models import Membership, Session
from everquant.api.errors import Unauthorized

_ID_CLAIMS = ("user_id", "organization_id", "sid")
_TEXT_CLAIMS = ("email", "role", "jti")


class RotatingBackend(TokenBackend):
    """HS256 with several secrets: the first signs, each verifies."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        audience, issuer = settings.JWT_AUDIENCE, settings.JWT_ISSUER
        super().__init__("HS256", secrets[0], audience=audience, issuer=issuer)
        self._others = [TokenBackend("HS256", other, audience=audience, issuer=issuer) for other in secrets[1:]]

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        try:
            return dict(super().decode(token, verify))
        except TokenBackendError:
            for backend in self._others:
                try:
                    return dict(backend.decode(token, verify))
                except TokenBackendError:
                    continue
            raise


@cache
def _backend(secrets: tuple[str, ...]) -> RotatingBackend:
    return RotatingBackend(secrets)


class _Claims(Token):
    def get_token_backend(self) -> RotatingBackend:
        return _backend(tuple(settings.JWT_SECRETS))

    @classmethod
    def for_session(cls, session: Session, membership: Membership) -> Self:
        """A token of this sign-in with the claims of the design; its role is only a hint (see authentication)."""
        token = cls()
        token["user_id"] = str(session.user_id)
        token["organization_id"] = str(membership.organization_id)
        token["email"] = membership.user.email
        token["role"] = membership.role
        token["sid"] = str(session.id)
        return token

    @property
    def session_id(self) -> UUID:
        return UUID(self["sid"])


class AccessToken(_Claims, SimpleAccessToken):
    pass


class RefreshToken(_Claims, SimpleRefreshToken):  # type: ignore[misc] # simplejwt mixes its own bases so
    pass


_Read = TypeVar("_Read", AccessToken, RefreshToken)


def read_token(kind: type[_Read], encoded: str) -> _Read:
    """The verified token, its claims of the right types; raises Unauthorized."""
    invalid = Unauthorized(f"The {kind.token_type} token is not valid.")
    try:
        token = kind(encoded)  # type: ignore[arg-type] # simplejwt takes the encoded text
    except ExpiredTokenError:
        raise Unauthorized(f"The {kind.token_type} token has expired.") from None
    except (TokenError, TypeError, ValueError, OverflowError):  # the last three: claims of the wrong type
        raise invalid from None
    try:
        ids = [str(UUID(token.payload[name])) for name in _ID_CLAIMS]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise invalid from None
    if ids != [token[name] for name in _ID_CLAIMS] or not all(isinstance(token.get(n), str) for n in _TEXT_CLAIMS):
        raise invalid
    return token
