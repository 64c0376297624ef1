"""The letters that the worker sends. Their secrets are made here, so that no job holds one."""

from uuid import UUID

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import send_mail

from apps.users.models import Invitation, User
from everquant.db import release_connection

ACCEPT_PATH = "/api/v1/auth/invitations/accept"
CONFIRM_PATH = "/api/v1/auth/password/reset/confirm"

_INVITATION = """\
You are invited to {organization} on EverQuant as {role}.

Accept until {until:%Y-%m-%d %H:%M} UTC by sending this token, with your name and a password, to {url}:

{token}

For example:
curl -X POST {url} -H 'Content-Type: application/json' \\
  -d '{{"token": "{token}", "name": "...", "password": "..."}}'

Whoever has an account already gives its password.
"""

_RESET = """\
A new password was asked for {email}. If it was not you, do nothing.

To set one, send this to {url}:

curl -X POST {url} -H 'Content-Type: application/json' \\
  -d '{{"uid": "{uid}", "token": "{token}", "new_password": "..."}}'
"""


def accept_url() -> str:
    return settings.PUBLIC_URL + ACCEPT_PATH


def send_invitation_mail(*, invitation_id: UUID) -> None:
    """Nothing is sent for an invitation that is not open any more."""
    invitation = Invitation.objects.select_related("organization").filter(id=invitation_id).first()
    if invitation is None or not invitation.is_open:
        return
    organization = " ".join(invitation.organization.name.split())
    body = _INVITATION.format(
        organization=organization,
        role=invitation.role,
        until=invitation.expires_at,
        url=accept_url(),
        token=invitation.token,
    )
    _send(f"Invitation to {organization}", body, invitation.email)


def send_reset_mail(*, email: str) -> None:
    """Nothing is sent to an address without an active account."""
    user = User.objects.filter(email=email, is_active=True).first()
    if user is None:
        return
    token = default_token_generator.make_token(user)
    url = settings.PUBLIC_URL + CONFIRM_PATH
    _send("A new password for EverQuant", _RESET.format(email=email, url=url, uid=user.id, token=token), email)


def _send(subject: str, body: str, to: str) -> None:
    release_connection()
    send_mail(subject, body, settings.DEFAULT_FROM_EMAIL, [to])
