"""Shapes of people, sign-ins, invitations, keys and audit entries."""

from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.organizations.models import Organization
from apps.users.models import ApiKey, AuditEntry, Invitation, Membership, User
from apps.users.permissions import PERMISSIONS, Role
from everquant.api.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
    StrictUUIDField,
)

MAX_PASSWORD_LENGTH = 128
MIN_PASSWORD_LENGTH = 10
MAX_TOKEN_LENGTH = 4096
MAX_KEY_LIFE_S = 10 * 366 * 24 * 3600
MAX_OVERLAP_S = 7 * 24 * 3600

ACTIONS = {str(name): value for value, name in AuditEntry.Action.choices}

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOMAIN_PART = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL = rf"^{_LOCAL}(?:\.{_LOCAL})*@(?:{_DOMAIN_PART}\.)+(?:[A-Za-z]{{2,63}}|[xX][nN]--[A-Za-z0-9]{{1,59}})\Z"


class EmailAddressField(StrictCharField):
    """An address in ASCII, answered in lower case."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 254)
        kwargs.setdefault("validators", [RegexValidator(EMAIL, "Not an e-mail address.")])
        super().__init__(trim_whitespace=False, **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        value = super().run_validation(data)
        return value.lower() if isinstance(value, str) else value


class PasswordField(StrictCharField):
    """A password as it is typed, nothing trimmed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, max_length=MAX_PASSWORD_LENGTH, **kwargs)


class NewPasswordField(PasswordField):
    def __init__(self, **kwargs: Any) -> None:
        not_only_digits = RegexValidator(r"[^0-9]", "Not digits alone.")
        super().__init__(min_length=MIN_PASSWORD_LENGTH, validators=[not_only_digits], **kwargs)


class TokenField(StrictCharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_TOKEN_LENGTH, **kwargs)


class UserSerializer(StrictSerializer):
    id = StrictUUIDField(read_only=True)
    email = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)

    class Meta:
        model = User


class OrganizationSummarySerializer(StrictSerializer):
    id = StrictUUIDField(read_only=True)
    name = serializers.CharField(read_only=True)
    slug = serializers.CharField(read_only=True)

    class Meta:
        model = Organization


class LoginSerializer(StrictSerializer):
    email = EmailAddressField()
    password = PasswordField()
    organization_id = StrictUUIDField(required=False, help_text="Where to sign in; the oldest membership if left out.")


class SignInSerializer(StrictSerializer):
    """The answer to every request that signs in."""

    access_token = serializers.CharField(source="tokens.access", read_only=True)
    refresh_token = serializers.CharField(source="tokens.refresh", read_only=True)
    token_type = serializers.CharField(default="Bearer", read_only=True)
    expires_in = serializers.IntegerField(
        source="tokens.expires_in", read_only=True, help_text="Seconds until the access token expires."
    )
    user = UserSerializer(source="membership.user", read_only=True)
    organization = OrganizationSummarySerializer(source="membership.organization", read_only=True)
    role = serializers.ChoiceField(source="membership.role", choices=Role.choices, read_only=True)


class RefreshSerializer(StrictSerializer):
    refresh_token = TokenField()


class LogoutSerializer(StrictSerializer):
    refresh_token = TokenField(required=False, help_text="Whose sign-in ends; the access token's if left out.")


class RegisterSerializer(StrictSerializer):
    email = EmailAddressField()
    password = NewPasswordField()
    name = StrictCharField(max_length=200, allow_blank=True, default="")
    organization_name = StrictCharField(max_length=200)


class PasswordChangeSerializer(StrictSerializer):
    current_password = PasswordField()
    new_password = NewPasswordField()


class PasswordResetSerializer(StrictSerializer):
    email = EmailAddressField()


class PasswordResetConfirmSerializer(StrictSerializer):
    uid = StrictUUIDField()
    token = StrictCharField(max_length=128)
    new_password = NewPasswordField()


class SwitchSerializer(StrictSerializer):
    organization_id = StrictUUIDField()


class AcceptInvitationSerializer(StrictSerializer):
    token = TokenField()
    name = StrictCharField(max_length=200, allow_blank=True, default="", help_text="Of a new account.")
    password = NewPasswordField(
        required=False, help_text="Of the new account, or of the one there is. Left out by who is signed in."
    )


class ProfileSerializer(StrictSerializer):
    name = StrictCharField(max_length=200, allow_blank=True)


class MyOrganizationSerializer(OrganizationSummarySerializer):
    role = serializers.ChoiceField(choices=Role.choices, read_only=True)

    class Meta:
        model = Organization


class MeSerializer(StrictSerializer):
    """Who asks, as what, and where else they belong."""

    user = UserSerializer(read_only=True)
    organization = OrganizationSummarySerializer(read_only=True)
    role = serializers.ChoiceField(choices=Role.choices, read_only=True)
    permissions = serializers.ListField(child=serializers.CharField(), read_only=True)
    api_key_id = StrictUUIDField(read_only=True, allow_null=True)
    organizations = MyOrganizationSerializer(many=True, read_only=True)


class MemberSerializer(StrictSerializer):
    """A membership, seen as the person who has it: `id` is the user's."""

    id = StrictUUIDField(source="user_id", read_only=True)
    organization_id = StrictUUIDField(read_only=True)
    email = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    role = serializers.ChoiceField(choices=Role.choices, required=False)
    is_active = StrictBooleanField(required=False)
    last_login_at = serializers.DateTimeField(read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    class Meta:
        model = Membership


class InvitationSerializer(StrictSerializer):
    id = StrictUUIDField(read_only=True)
    organization_id = StrictUUIDField(read_only=True)
    email = EmailAddressField()
    role = serializers.ChoiceField(choices=Role.choices)
    invited_by = StrictUUIDField(source="invited_by_id", read_only=True, allow_null=True)
    is_open = serializers.BooleanField(read_only=True)
    expires_at = serializers.DateTimeField(read_only=True)
    accepted_at = serializers.DateTimeField(read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    class Meta:
        model = Invitation


class NewInvitationSerializer(InvitationSerializer):
    """With what accepts it, shown only when it is made."""

    token = serializers.CharField(read_only=True)
    accept_url = serializers.CharField(read_only=True, help_text="Where the token is sent to.")

    class Meta:
        model = Invitation


class ApiKeySerializer(StrictSerializer):
    id = StrictUUIDField(read_only=True)
    organization_id = StrictUUIDField(read_only=True)
    user_id = StrictUUIDField(read_only=True)
    name = StrictCharField(max_length=200)
    prefix = serializers.CharField(read_only=True, help_text="How the secret begins.")
    scopes = serializers.ListField(child=serializers.CharField(), read_only=True)
    expires_at = serializers.DateTimeField(read_only=True, allow_null=True)
    last_used_at = serializers.DateTimeField(read_only=True, allow_null=True)
    revoked_at = serializers.DateTimeField(
        read_only=True, allow_null=True, help_text="When a key that is being replaced ends."
    )
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    class Meta:
        model = ApiKey


class ApiKeyInputSerializer(StrictSerializer):
    name = StrictCharField(max_length=200)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=sorted(PERMISSIONS)), min_length=1, max_length=len(PERMISSIONS)
    )
    expires_in_s = StrictIntegerField(
        min_value=1, max_value=MAX_KEY_LIFE_S, allow_null=True, default=None, help_text="Null: until it is revoked."
    )


class ApiKeyRotationSerializer(StrictSerializer):
    overlap_s = StrictIntegerField(
        min_value=0, max_value=MAX_OVERLAP_S, default=0, help_text="How long the old secret still works, in seconds."
    )
    expires_in_s = StrictIntegerField(
        min_value=1,
        max_value=MAX_KEY_LIFE_S,
        allow_null=True,
        default=None,
        help_text="Null: the new key expires when the old one would have.",
    )


class NewApiKeySerializer(ApiKeySerializer):
    secret = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta:
        model = ApiKey


class RoleSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=Role.choices, read_only=True)
    permissions = serializers.ListField(child=serializers.CharField(), read_only=True)


class RoleTableSerializer(StrictSerializer):
    roles = RoleSerializer(many=True, read_only=True)
    permissions = serializers.ListField(child=serializers.CharField(), read_only=True)


@extend_schema_field({"type": "object", "additionalProperties": {"type": "array"}})
class ChangesField(serializers.JSONField):
    pass


class AuditEntrySerializer(StrictSerializer):
    id = StrictUUIDField(read_only=True)
    organization_id = StrictUUIDField(read_only=True)
    action = serializers.ChoiceField(source="get_action_display", choices=list(ACTIONS), read_only=True)
    object_type = serializers.CharField(read_only=True, help_text="App and model, such as users.membership.")
    object_id = serializers.CharField(source="object_pk", read_only=True)
    object_name = serializers.CharField(source="object_repr", read_only=True)
    changes = ChangesField(
        read_only=True,
        allow_null=True,
        help_text="Field → its old and its new value; secrets are masked.",
    )
    actor_id = StrictUUIDField(read_only=True, allow_null=True)
    actor_email = serializers.CharField(read_only=True, allow_null=True)
    api_key_id = StrictUUIDField(read_only=True, allow_null=True)
    ip_address = serializers.CharField(source="remote_addr", read_only=True, allow_null=True)
    request_id = serializers.CharField(source="cid", read_only=True, allow_null=True)
    created_at = serializers.DateTimeField(source="timestamp", read_only=True)

    class Meta:
        model = AuditEntry
