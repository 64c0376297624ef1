from typing import Any

from django.conf import settings
from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.users import services
from apps.users.models import Membership, User
from apps.users.permissions import AUTHENTICATED, PERSON, PUBLIC
from apps.users.serializers import (
    AcceptInvitationSerializer,
    LoginSerializer,
    LogoutSerializer,
    MeSerializer,
    PasswordChangeSerializer,
    PasswordResetConfirmSerializer,
    PasswordResetSerializer,
    ProfileSerializer,
    RefreshSerializer,
    RegisterSerializer,
    SignInSerializer,
    SwitchSerializer,
)
from apps.users.services import SignIn
from apps.users.tenancy import PermissionViewSet
from everquant.api.conditional import etag_of, require_match
from everquant.api.errors import Forbidden
from everquant.api.throttling import check_login_limits, client_address

MAYBE_SIGNED_IN: Any = [{"bearer": []}, {}]
SIGNS_IN = extend_schema(responses={200: SignInSerializer})
SIGNS_IN_NEWLY = extend_schema(responses={201: SignInSerializer})
NO_CONTENT = extend_schema(responses={204: None})


class AuthViewSet(PermissionViewSet):
    """Signing in and out, and a person's own account.

    Only `register` and `accept_invitation` make something, and honour an Idempotency-Key. What the others do in
    refusing (a family of tokens that ends) must outlive the refusal, which a key's transaction would undo.
    """

    pagination_class = None
    permissions = {
        "login": PUBLIC,
        "refresh": PUBLIC,
        "logout": PUBLIC,
        "register": PUBLIC,
        "me": AUTHENTICATED,
        "update_me": PERSON,
        "password": PERSON,
        "password_reset": PUBLIC,
        "password_reset_confirm": PUBLIC,
        "switch": PERSON,
        "accept_invitation": PUBLIC,
    }
    network_actions = frozenset(
        {"login", "refresh", "logout", "password", "password_reset", "password_reset_confirm", "switch"}
    )
    input_serializer_classes = {
        "login": LoginSerializer,
        "refresh": RefreshSerializer,
        "logout": LogoutSerializer,
        "register": RegisterSerializer,
        "update_me": ProfileSerializer,
        "password": PasswordChangeSerializer,
        "password_reset": PasswordResetSerializer,
        "password_reset_confirm": PasswordResetConfirmSerializer,
        "switch": SwitchSerializer,
        "accept_invitation": AcceptInvitationSerializer,
    }
    serializer_class = SignInSerializer
    output_serializer_classes = {"me": MeSerializer, "update_me": MeSerializer}
    tagged_actions = frozenset({"me", "update_me"})
    guarded_actions = frozenset({"update_me"})
    further_errors = {"login": (403,), "logout": (403,), "register": (403,), "switch": (404,)}

    @SIGNS_IN
    def login(self, request: Request) -> Response:
        """Sign in with e-mail address and password."""
        data = self.validated()
        check_login_limits(request._request, data["email"])
        return self._signed_in(services.sign_in(**data))

    @SIGNS_IN
    def refresh(self, request: Request) -> Response:
        """New tokens for a refresh token. It works once: presented again, it ends the sign-in."""
        return self._signed_in(services.refresh_session(**self.validated()))

    @extend_schema(responses={204: None}, auth=MAYBE_SIGNED_IN)
    def logout(self, request: Request) -> Response:
        """End a sign-in: that of the refresh token, else the caller's own."""
        services.sign_out(actor=self.principal, refresh_token=self.validated().get("refresh_token"))
        return Response(status=204)

    @SIGNS_IN_NEWLY
    def register(self, request: Request) -> Response:
        """Make an account and an organization, with the account as its admin, and sign in."""
        data = self.validated()
        check_login_limits(request._request, data["email"])
        if not settings.ALLOW_REGISTRATION:
            raise Forbidden("Registration is closed; ask for an invitation.")
        return self._signed_in(services.register(**data), status=201)

    def me(self, request: Request) -> Response:
        """Who the caller is: account, organization, role and permissions."""
        return self.answer(self._me())

    @transaction.atomic
    def update_me(self, request: Request) -> Response:
        """Change one's own name."""
        user = User.objects.select_for_update().get(id=self.principal.user_id)
        header = request.headers.get("If-Match")
        if header:
            require_match(header, etag_of(self.represent(self._me())))
        data = self.validated(partial=True)
        if data:
            user.name = data["name"]
            user.save_fields("name")
        return self.answer(self._me())

    @NO_CONTENT
    def password(self, request: Request) -> Response:
        """Change one's own password. Every other sign-in ends."""
        check_login_limits(request._request, self.principal.email)
        services.change_password(actor=self.principal, **self.validated())
        return Response(status=204)

    @NO_CONTENT
    def password_reset(self, request: Request) -> Response:
        """Ask for a letter that resets a password. The answer is the same for unknown addresses."""
        data = self.validated()
        check_login_limits(request._request, f"reset {data['email']}")
        services.request_password_reset(email=data["email"])
        return Response(status=204)

    @NO_CONTENT
    def password_reset_confirm(self, request: Request) -> Response:
        """Set a new password with what the letter says. Every sign-in ends."""
        data = self.validated()
        check_login_limits(request._request, f"confirm {data['uid']}")
        services.confirm_password_reset(user_id=data["uid"], token=data["token"], new_password=data["new_password"])
        return Response(status=204)

    @SIGNS_IN
    def switch(self, request: Request) -> Response:
        """Sign in to another organization of one's own."""
        return self._signed_in(services.switch_organization(actor=self.principal, **self.validated()))

    @extend_schema(responses={201: SignInSerializer}, auth=MAYBE_SIGNED_IN)
    def accept_invitation(self, request: Request) -> Response:
        """Join the organization of an invitation, and sign in to it."""
        data = self.validated()
        check_login_limits(request._request, f"invited at {client_address()}")
        accepted = services.accept_invitation(
            actor=self.principal, token=data["token"], name=data["name"], password=data.get("password")
        )
        return self._signed_in(accepted, status=201)

    def _signed_in(self, signed_in: SignIn, status: int = 200) -> Response:
        data = SignInSerializer(signed_in).data
        return Response(data, status=status, headers={"Cache-Control": "no-store"})

    def _me(self) -> dict[str, Any]:
        """Two queries: the user and their memberships with organizations."""
        principal = self.principal
        user = User.objects.get(id=principal.user_id)
        memberships = list(Membership.objects.in_force().filter(user=user).select_related("organization"))
        here = next(m.organization for m in memberships if m.organization_id == principal.organization_id)
        shown = memberships if principal.api_key_id is None else []
        return {
            "user": user,
            "organization": here,
            "role": principal.role,
            "permissions": sorted(principal.permissions),
            "api_key_id": principal.api_key_id,
            "organizations": [
                {"id": m.organization.id, "name": m.organization.name, "slug": m.organization.slug, "role": m.role}
                for m in shown
            ],
        }
