from typing import Any
from uuid import UUID

from auditlog.models import AbstractLogEntry, LogEntryManager
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from everquant.context import current
from everquant.db import uuid7

MASK = "********"


def mask(_value: str) -> str:
    """auditlog's mask of a secret: nothing of it (auditlog's own leaves half)."""
    return MASK


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def for_organization(self, organization_id: UUID) -> "AuditEntryQuerySet":
        return self.filter(organization_id=organization_id)


class AuditEntryManager(LogEntryManager.from_queryset(AuditEntryQuerySet)):  # type: ignore[misc]
    """auditlog's manager (it writes the entries) with tenant-scoped reads."""


class AuditEntry(AbstractLogEntry):
    """A change: who, by which key, from where, in which request, of what. Written in the change's transaction.

    `organization_id` is no foreign key: the history outlives what it tells of.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    # As auditlog has it, but lists of ids are written too.
    changes = models.JSONField(null=True, verbose_name="change message", encoder=DjangoJSONEncoder)

    objects = AuditEntryManager()

    class Meta(AbstractLogEntry.Meta):
        ordering = ["-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["organization_id", "-id"], name="users_audit_organization")]

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding:
            self.take_context()
        super().save(*args, **kwargs)

    def take_context(self) -> None:
        """Who does it, by which key, from where, in which request."""
        context = current()
        principal = context.principal if context else None
        own = (self.additional_data or {}).get("organization_id")
        self.organization_id = UUID(own) if own else principal.organization_id if principal else None
        if context is not None:
            self.cid, self.remote_addr = context.request_id, context.client_ip
        if principal is not None:
            self.actor_id, self.actor_email = principal.user_id, principal.email
            self.api_key_id = principal.api_key_id
