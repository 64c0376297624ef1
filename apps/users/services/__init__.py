"""Signing in and out, registering, inviting, and keys: everything that writes more than one row."""

from apps.users.services.accounts import (
    change_password,
    confirm_password_reset,
    register,
    request_password_reset,
)
from apps.users.services.invitations import accept_invitation, invite, resend_invitation
from apps.users.services.keys import create_api_key, rotate_api_key
from apps.users.services.members import change_member, remove_member
from apps.users.services.sessions import (
    SignIn,
    TokenPair,
    end_session,
    end_sessions,
    refresh_session,
    sign_in,
    sign_out,
    start_session,
    switch_organization,
)

__all__ = [
    "SignIn",
    "TokenPair",
    "accept_invitation",
    "change_member",
    "change_password",
    "confirm_password_reset",
    "create_api_key",
    "end_session",
    "end_sessions",
    "invite",
    "refresh_session",
    "register",
    "remove_member",
    "request_password_reset",
    "resend_invitation",
    "rotate_api_key",
    "sign_in",
    "sign_out",
    "start_session",
    "switch_organization",
]
