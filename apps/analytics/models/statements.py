"""Statements of closed months. A trigger keeps them from being changed: what turns out otherwise is a new revision."""

from typing import Any, ClassVar, Self

from django.db import models

from apps.executions.models import COST_DIGITS, COST_PLACES
from apps.organizations.models import TenantModel, TenantQuerySet


class StatementQuerySet(TenantQuerySet):
    def of_month(self, month: Any) -> Self:
        """All revisions, the newest first."""
        return self.filter(month=month).order_by("-revision")

    def current(self) -> Self:
        """The newest revision of each month."""
        same = Statement.objects.filter(
            organization_id=models.OuterRef("organization_id"), month=models.OuterRef("month")
        )
        return self.filter(revision=models.Subquery(same.order_by("-revision").values("revision")[:1]))


class Statement(TenantModel):
    """What an organization has used in one month (UTC). `sha256` is of the content as canonical JSON.

    `total_usd` is exact; `difference_usd` is what it is more than that of the revision before.
    """

    month = models.DateField(help_text="Its first day.")
    revision = models.PositiveIntegerField()
    content = models.JSONField()
    sha256 = models.CharField(max_length=64)
    total_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES)
    difference_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)

    objects: ClassVar[Any] = StatementQuerySet.as_manager()

    class Meta:
        ordering = ["-month", "-revision"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "month", "revision"], name="analytics_statement_revision_unique"
            ),
            models.CheckConstraint(condition=models.Q(revision__gte=1), name="analytics_statement_revision_positive"),
            models.CheckConstraint(condition=models.Q(month__day=1), name="analytics_statement_month_first_day"),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} revision {self.revision}"
