"""A person's own account: making it, and its password."""

import re
import secrets
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from apps.organizations.models import Organization
from apps.organizations.registry import organization_created
from apps.users.models import Membership, User
from apps.users.permissions import Role
from apps.users.principal import Principal
from apps.users.services.sessions import SignIn, begin, end_sessions
from apps.users.tasks import send_password_reset
from everquant.api.errors import BadRequest, Conflict, Forbidden, Unauthorized

_SLUG_LENGTH = 50


def check_new_password(password: str, user: User, field: str = "password") -> None:
    """Raises BadRequest naming the field when a validator of AUTH_PASSWORD_VALIDATORS refuses."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        reason = " ".join(error.messages)
        raise BadRequest(reason, details={field: reason}) from None


@transaction.atomic
def register(*, email: str, password: str, name: str, organization_name: str) -> SignIn:
    """A new user as admin of a new organization, signed in; raises Conflict for a known e-mail address."""
    user = create_account(email=email, password=password, name=name)
    organization = _create_organization(organization_name)
    membership = Membership.objects.create(organization=organization, user=user, role=Role.ADMIN)
    organization_created(organization)
    return begin(membership=membership)


def create_account(*, email: str, password: str, name: str) -> User:
    """Raises BadRequest for a weak password, Conflict for a known e-mail address."""
    check_new_password(password, User(email=email, name=name))
    try:
        with transaction.atomic():
            return User.objects.create_user(email, password, name=name)
    except IntegrityError:
        message = "There is an account with this e-mail address."
        raise Conflict(message, details={"email": message}) from None


def _create_organization(name: str) -> Organization:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_SLUG_LENGTH].strip("-") or "organization"
    if Organization.objects.filter(slug=slug).exists():
        slug = f"{slug}-{secrets.token_hex(4)}"
    try:
        with transaction.atomic():
            return Organization.objects.create(name=name, slug=slug)
    except IntegrityError:
        raise Conflict("An organization of this name is just being made; try again.") from None


@transaction.atomic
def change_password(*, actor: Principal, current_password: str, new_password: str) -> None:
    """Ends the user's other sign-ins; raises Forbidden for a wrong current password, BadRequest for a weak one."""
    user = User.objects.select_for_update().get(id=actor.user_id)
    if not user.check_password(current_password):
        raise Forbidden("The current password is wrong.", details={"current_password": "Wrong."})
    check_new_password(new_password, user, "new_password")
    _set_password(user, new_password, keep=actor.session_id)


def _set_password(user: User, password: str, keep: UUID | None = None) -> None:
    user.set_password(password)
    user.save_fields("password")
    end_sessions(user_id=user.id, because="password changed", keep=keep)


def request_password_reset(*, email: str) -> None:
    """Queue a letter; whether there is such an account is only looked at by the worker."""
    send_password_reset.defer(email=email)


@transaction.atomic
def confirm_password_reset(*, user_id: UUID, token: str, new_password: str) -> None:
    """Set the password and end every sign-in. The token dies with the old password; raises Unauthorized."""
    user = User.objects.select_for_update().filter(id=user_id, is_active=True).first()
    if user is None or not default_token_generator.check_token(user, token):
        raise Unauthorized("The link is not valid any more.", details={"token": "Not valid, used or expired."})
    check_new_password(new_password, user, "new_password")
    _set_password(user, new_password)
