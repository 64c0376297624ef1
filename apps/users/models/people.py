from typing import Any, ClassVar

from auditlog.registry import auditlog
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower

from apps.organizations.models import TenantModel, TenantQuerySet
from apps.users.permissions import ROLE_PERMISSIONS, Role
from everquant.db import BaseModel


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A user with this e-mail address (stored in lower case) and password; None means none can sign in with."""
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """An operator: may use the admin for every organization."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin, BaseModel):
    """A person. What they may do is said by their membership in each organization."""

    email = models.EmailField(max_length=254, unique=True)
    name = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False, help_text="May sign in to the operators' admin.")

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = []

    class Meta:
        ordering = ["email", "id"]
        constraints = [models.CheckConstraint(condition=models.Q(email=Lower("email")), name="users_user_email_lower")]

    def __str__(self) -> str:
        return self.email


class MembershipQuerySet(TenantQuerySet):
    def in_force(self) -> "MembershipQuerySet":
        """Those that give access: membership, user and organization are all active."""
        return self.filter(is_active=True, user__is_active=True, organization__is_active=True)


class Membership(TenantModel):
    """One user's role in one organization."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices)
    is_active = models.BooleanField(default=True)

    objects: ClassVar[Any] = MembershipQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="users_membership_unique"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="users_membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"

    @property
    def permissions(self) -> frozenset[str]:
        return ROLE_PERMISSIONS[self.role]


auditlog.register(
    User,
    exclude_fields=["last_login", "updated_at"],
    mask_fields=["password"],
)
auditlog.register(Membership, exclude_fields=["updated_at"])
