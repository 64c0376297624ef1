import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, ClassVar

from auditlog.registry import auditlog
from django.contrib.postgres.fields import ArrayField
from django.core import signing
from django.db import models
from django.utils import timezone

from apps.organizations.models import Organization, TenantModel, TenantQuerySet
from apps.users.models.people import User
from apps.users.permissions import Role
from everquant.api.errors import Conflict
from everquant.db import BaseModel

_KEPT_FOR = timedelta(days=30)

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

    @classmethod
    def purge(cls) -> int:
        """Delete the sign-ins that expired more than a day ago; how many."""
        return cls.objects.filter(expires_at__lt=timezone.now() - timedelta(days=1)).delete()[0]


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

    @classmethod
    def purge(cls) -> int:
        """Delete the invitations that nobody accepted, 30 days after their end; how many."""
        ended_before = timezone.now() - _KEPT_FOR
        return cls.objects.filter(accepted_at__isnull=True, expires_at__lt=ended_before).delete()[0]

    @property
    def is_open(self) -> bool:
        return self.accepted_at is None and self.revoked_at is None and self.expires_at > timezone.now()

    def revoke(self) -> None:
        """Its token is good no more; raises Conflict once it has been accepted."""
        if self.accepted_at is not None:
            raise Conflict("The invitation has been accepted; remove the member instead.")
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            self.save_fields("revoked_at")

    @property
    def token(self) -> str:
        return signing.dumps(str(self.id), salt=_INVITATION_SALT)

    @staticmethod
    def id_in_token(token: str) -> str:
        """The invitation's id; raises django.core.signing.BadSignature."""
        return str(signing.loads(token, salt=_INVITATION_SALT, max_age=INVITATION_LIFETIME))


class ApiKeyQuerySet(TenantQuerySet):
    def unrevoked(self) -> "ApiKeyQuerySet":
        """Those that nobody has ended: good or expired."""
        return self.filter(models.Q(revoked_at__isnull=True) | models.Q(revoked_at__gt=timezone.now()))


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

    objects: ClassVar[Any] = ApiKeyQuerySet.as_manager()

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

    def revoke(self, at: datetime) -> None:
        """No longer usable from `at` on; an earlier end stays."""
        if self.revoked_at is None or self.revoked_at > at:
            self.revoked_at = at
            self.save_fields("revoked_at")

    def is_usable(self, now: datetime) -> bool:
        return (self.revoked_at is None or self.revoked_at > now) and (self.expires_at is None or self.expires_at > now)


auditlog.register(Invitation, exclude_fields=["updated_at"])
auditlog.register(ApiKey, exclude_fields=["updated_at", "last_used_at", "key_hash"])
