"""What may be spent: budgets, what each has spent and reserved in a period, and the calls that it is reserved for.

Only `executions_settle_budgets()`, a trigger of the executions' table, ends a reservation and adds to what is spent:
whatever ends an execution, or corrects its cost, does it in the same statement.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Self

from auditlog.registry import auditlog
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from apps.executions.models.executions import COST_DIGITS, COST_PLACES
from apps.organizations.models import TenantModel, TenantQuerySet

LIMIT_DIGITS, LIMIT_PLACES = 15, 6
MOST_ALERTS = 10
SMALLEST_SHARE = 0.01


class BudgetScope(models.TextChoices):
    """Whose executions count: everybody's, or those of one user, API key or prompt."""

    ORGANIZATION = "organization"
    USER = "user"
    API_KEY = "api_key"
    PROMPT = "prompt"


class BudgetPeriod(models.TextChoices):
    """Calendar days and months in UTC."""

    DAY = "day"
    MONTH = "month"


def default_alerts() -> list[float]:
    return [0.8, 1.0]


class BudgetQuerySet(TenantQuerySet):
    def with_current_spend(self) -> Self:
        """Annotates `current_spent_usd` and `current_reserved_usd`: of the period that is running, null for none."""
        today = timezone.now().astimezone(UTC).date()
        running = Q(budget__period=BudgetPeriod.DAY, period_start=today)
        running |= Q(budget__period=BudgetPeriod.MONTH, period_start=today.replace(day=1))
        spends = BudgetSpend.objects.filter(running, budget=OuterRef("pk"))
        return self.annotate(
            current_spent_usd=Subquery(spends.values("spent_usd")),
            current_reserved_usd=Subquery(spends.values("reserved_usd")),
        )


class Budget(TenantModel):
    """A limit in USD on what executions that are made in one period may cost. A hard one refuses calls beyond it.

    `alert_at` are shares of the limit; spending that reaches one is told of once in a period.
    """

    name = models.CharField(max_length=200)
    scope = models.CharField(max_length=16, choices=BudgetScope.choices)
    scope_id = models.UUIDField(null=True, blank=True)
    period = models.CharField(max_length=8, choices=BudgetPeriod.choices)
    limit_usd = models.DecimalField(max_digits=LIMIT_DIGITS, decimal_places=LIMIT_PLACES)
    is_hard = models.BooleanField(default=True)
    alert_at: Any = ArrayField(
        models.FloatField(validators=[MinValueValidator(SMALLEST_SHARE), MaxValueValidator(1)]),
        default=default_alerts,
        blank=True,
        size=MOST_ALERTS,
    )
    is_active = models.BooleanField(default=True)

    objects: ClassVar[Any] = BudgetQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(limit_usd__gt=0), name="executions_budget_limit_positive"),
            models.CheckConstraint(condition=Q(scope__in=BudgetScope.values), name="executions_budget_scope_known"),
            models.CheckConstraint(condition=Q(period__in=BudgetPeriod.values), name="executions_budget_period_known"),
            models.CheckConstraint(
                condition=Q(scope="organization", scope_id__isnull=True)
                | Q(~Q(scope="organization"), scope_id__isnull=False),
                name="executions_budget_scope_has_id",
            ),
            models.UniqueConstraint(
                fields=["organization", "scope", "scope_id", "period", "is_hard"],
                name="executions_budget_unique",
                violation_error_message="There is such a budget already.",
            ),
            models.UniqueConstraint(
                fields=["organization", "period", "is_hard"],
                condition=Q(scope_id__isnull=True),
                name="executions_budget_organization_unique",
                violation_error_message="There is such a budget already.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def period_start(self, moment: datetime | None = None) -> date:
        """The first day of the period that holds the moment (now)."""
        day = (moment or timezone.now()).astimezone(UTC).date()
        return day if self.period == BudgetPeriod.DAY else day.replace(day=1)

    def period_end(self, moment: datetime | None = None) -> date:
        """The first day of the period after that."""
        start = self.period_start(moment)
        if self.period == BudgetPeriod.DAY:
            return start + timedelta(days=1)
        return (start + timedelta(days=31)).replace(day=1)


class BudgetSpend(models.Model):
    """What the executions made in one period of a budget have cost, and what is reserved for those not finished yet.

    No foreign key in the database: a call must not fail because its budget is being deleted.
    """

    pk = models.CompositePrimaryKey("budget_id", "period_start")
    budget = models.ForeignKey(
        Budget, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="spends"
    )
    period_start = models.DateField()
    spent_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, default=Decimal(0))
    reserved_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, default=Decimal(0))

    class Meta:
        ordering = ["budget_id", "-period_start"]
        constraints = [
            models.CheckConstraint(condition=Q(spent_usd__gte=0), name="executions_budgetspend_spent"),
            models.CheckConstraint(condition=Q(reserved_usd__gte=0), name="executions_budgetspend_reserved"),
        ]

    def __str__(self) -> str:
        return f"{self.budget_id} {self.period_start}"


class Reservation(models.Model):
    """The most that an unfinished execution may cost, held in one budget until it ends."""

    pk = models.CompositePrimaryKey("execution_id", "budget_id")
    execution_id = models.UUIDField()
    budget = models.ForeignKey(
        Budget, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="reservations"
    )
    period_start = models.DateField()
    amount_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES)

    class Meta:
        ordering = ["execution_id", "budget_id"]
        constraints = [
            models.CheckConstraint(condition=Q(amount_usd__gte=0), name="executions_reservation_amount"),
        ]

    def __str__(self) -> str:
        return f"{self.execution_id} in {self.budget_id}"


class BudgetAlert(models.Model):
    """A share of a budget that was reached in a period. It is made with the spending that reached it, and told of
    afterwards: `announced_at` is when."""

    pk = models.CompositePrimaryKey("budget_id", "period_start", "share")
    budget = models.ForeignKey(
        Budget, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="alerts"
    )
    period_start = models.DateField()
    share = models.FloatField()
    spent_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES)
    limit_usd = models.DecimalField(max_digits=LIMIT_DIGITS, decimal_places=LIMIT_PLACES)
    reached_at = models.DateTimeField()
    announced_at = models.DateTimeField(null=True)

    objects: ClassVar[Any] = models.Manager()

    class Meta:
        ordering = ["budget_id", "-period_start", "share"]
        indexes = [
            models.Index(
                fields=["reached_at"], name="executions_alerts_to_announce", condition=Q(announced_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.share:.0%} of {self.budget_id}"


auditlog.register(Budget, exclude_fields=["updated_at"])
