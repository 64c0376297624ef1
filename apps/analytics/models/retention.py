"""How long an organization keeps what was said, and what was executed."""

from datetime import date
from typing import Any

from auditlog.registry import auditlog
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, ProtectedError, Q

from apps.organizations.models import Organization, TenantModel

MOST_DAYS = 3650
# What is queued may wait for a week, and has to have ended before its day can go.
LEAST_EXECUTION_DAYS = 8
REASON_LENGTH = 500
# Moved by purges alone.
PURGED_BEFORE = ("payloads_purged_before", "payloads_gone_before", "purged_before")


def keep_while_held(collector: Any, field: Any, policies: Any, using: str) -> None:
    """Raises ProtectedError under a legal hold: who deletes an organization deletes its executions."""
    if held := {policy for policy in policies if policy.legal_hold}:
        raise ProtectedError("The organization is under a legal hold.", held)
    models.CASCADE(collector, field, policies, using)


class RetentionPolicy(TenantModel):
    """Days (UTC) that payloads and executions are kept whole after the day on which they were made; null is for ever.

    Executions made before `purged_before`, and payloads and attempts of those made before `payloads_purged_before`,
    are deleted, or are being deleted: nothing can be computed from them anew. Of those made before
    `payloads_gone_before` no payload is left, so that no purge looks there again.
    """

    organization = models.OneToOneField(Organization, on_delete=keep_while_held, related_name="+")
    payload_days = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(MOST_DAYS)]
    )
    execution_days = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(LEAST_EXECUTION_DAYS), MaxValueValidator(MOST_DAYS)]
    )
    legal_hold = models.BooleanField(default=False, help_text="Nothing at all is deleted meanwhile.")
    legal_hold_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    payloads_purged_before = models.DateField(null=True, editable=False)
    purged_before = models.DateField(null=True, editable=False)
    payloads_gone_before = models.DateField(null=True, editable=False)

    class Meta:
        verbose_name_plural = "retention policies"
        ordering = ["organization_id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(payload_days__isnull=True) | Q(payload_days__range=(1, MOST_DAYS)),
                name="analytics_retentionpolicy_payload_days",
            ),
            models.CheckConstraint(
                condition=Q(execution_days__isnull=True) | Q(execution_days__range=(LEAST_EXECUTION_DAYS, MOST_DAYS)),
                name="analytics_retentionpolicy_execution_days",
            ),
            models.CheckConstraint(
                condition=Q(payload_days__isnull=True)
                | Q(execution_days__isnull=True)
                | Q(execution_days__gte=F("payload_days")),
                name="analytics_retentionpolicy_payloads_go_first",
            ),
        ]

    def __str__(self) -> str:
        return f"Retention of {self.organization_id}"

    def is_purged(self, day: date) -> bool:
        """Whether executions of this day may be missing."""
        return self.purged_before is not None and day < self.purged_before


auditlog.register(RetentionPolicy, exclude_fields=["updated_at", *PURGED_BEFORE])
