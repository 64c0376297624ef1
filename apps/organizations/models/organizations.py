"""Organizations, and the base of everything that belongs to one."""

from typing import Any, ClassVar, Self
from uuid import UUID

from auditlog.registry import auditlog
from django.core.validators import RegexValidator
from django.db import models

from everquant.db import BaseModel, SoftDeleteModel, SoftDeleteQuerySet

SLUG = RegexValidator(r"\A[a-z0-9]+(-[a-z0-9]+)*\Z", "Lower-case letters, digits and single hyphens.")


class Organization(BaseModel):
    """A tenant. `protected_labels` may be moved only by those with prompts:protect, or workflows:protect.

    `http_hosts` are those that nodes of workflows may call, in the form of `everquant.network.hosts`.
    """

    name = models.CharField(max_length=200)
    slug = models.CharField(max_length=63, unique=True, validators=[SLUG])
    is_active = models.BooleanField(default=True)
    protected_labels = models.JSONField(default=list, blank=True)
    http_hosts = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name

    def get_additional_data(self) -> dict[str, Any]:
        return {"organization_id": str(self.id)}


class TenantQuerySet(models.QuerySet[Any]):
    def for_organization(self, organization_id: UUID) -> Self:
        """Only the rows of one organization. Every read on behalf of a caller starts here."""
        return self.filter(organization_id=organization_id)


class TenantModel(BaseModel):
    """A row of one organization."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        abstract = True

    def get_additional_data(self) -> dict[str, Any]:
        """What the audit entry of a change says beyond the change (read by auditlog)."""
        return {"organization_id": str(self.organization_id)}


class SoftDeleteTenantQuerySet(TenantQuerySet, SoftDeleteQuerySet):  # type: ignore[override] # as_manager()
    pass


class SoftDeleteTenantModel(TenantModel, SoftDeleteModel):
    """A row of one organization whose deletion can be undone."""

    objects: ClassVar[Any] = SoftDeleteTenantQuerySet.as_manager()

    class Meta:
        abstract = True


auditlog.register(Organization)
