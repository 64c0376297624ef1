import hashlib
import secrets
from datetime import datetime, timedelta

from auditlog.registry import auditlog
from django.contrib.postgres.fields import ArrayField
from django.core import signing
from django.db import models
from django.utils import timezone

from apps.organizations.models import Organization, TenantModel
from apps.users.models.people import User
from apps.users.permissions import Role
from everquant.db import BaseModel

API_KEY_PREFIX = "eq_"
INVITATION_LIFETIME = timedelta(days=7)
_INVITATION_SALT = "everquant.invitation"


class Session(BaseModel):
    """One sign-in: a family of refresh tokens of which only the newest (`current_jti`) is good.

    An older one presented again means that it was stolen: the family ends.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    current_jti = models.CharField(max_length=64)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_because = models.CharField(max_length=32, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["user", "ended_at"], name="users_session_user"),
            models.Index(fields=["expires_at"], name="users_session_expires"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} since {self.created_at:%Y-%m-%d %H:%M}"


class Invitation(TenantModel):
    """An offer of a role to an e-mail address. Its token is signed, not stored; the row decides whether it holds."""

    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=16, choices=Role.choices)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "email"],
                condition=models.Q(accepted_at__isnull=True, revoked_at__isnull=True),
                name="users_invitation_one_open",
            ),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="users_invitation_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"

    @property
    def is_open(self) -> bool:
        return self.accepted_at is None and self.revoked_at is None and self.expires_at > timezone.now()

    @property
    def token(self) -> str:
        return signing.dumps(str(self.id), salt=_INVITATION_SALT)

    @staticmethod
    def id_in_token(token: str) -> str:
        """The invitation's id; raises django.core.signing.BadSignature."""
        return str(signing.loads(token, salt=_INVITATION_SALT, max_age=INVITATION_LIFETIME))


class ApiKey(TenantModel):
    """A key for programs: acts for its creator, within `scopes`. Only the SHA-256 of the secret is stored.

    The secret has 256 random bits, so a fast hash is safe and lets every request look it up.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=12, editable=False)
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=64))
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @staticmethod
    def hash(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()

    def give_secret(self) -> str:
        """A new secret for this unsaved row; only this call ever returns it."""
        secret = API_KEY_PREFIX + secrets.token_urlsafe(32)
        self.prefix, self.key_hash = secret[:10], self.hash(secret)
        return secret

    def is_usable(self, now: datetime) -> bool:
        return (self.revoked_at is None or self.revoked_at > now) and (self.expires_at is None or self.expires_at > now)


auditlog.register(Invitation, exclude_fields=["updated_at"])
auditlog.register(ApiKey, exclude_fields=["updated_at", "last_used_at", "key_hash"])
