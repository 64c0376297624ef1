"""Batches: many executions of one prompt, asked for at once; and what has come of streamed executions."""

from decimal import Decimal
from typing import Any, ClassVar, Self

from auditlog.registry import auditlog
from django.db import models
from django.db.models import DecimalField, IntegerField, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.executions.models.executions import COST_DIGITS, COST_PLACES, Execution
from apps.organizations.models import TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField

MAX_ROWS = 10_000
COUNTED = ("queued", "running", "succeeded", "failed", "cancelled")


class BatchQuerySet(TenantQuerySet):
    def with_counts(self) -> Self:
        """With how many executions are in which state, and what they have cost so far."""
        counts = BatchCount.objects.filter(batch_id=OuterRef("id")).order_by().values("batch_id")

        def total(column: str, field: Any, nothing: Any) -> Coalesce:
            return Coalesce(Subquery(counts.annotate(total=Sum(column)).values("total")), nothing, output_field=field)

        money: Any = DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES)
        changes = {f"{name}_change": total(name, IntegerField(), 0) for name in COUNTED}
        return self.annotate(**changes, cost_usd=total("cost_usd", money, Decimal(0)))


class Batch(TenantModel):
    """Executions with a `batch_id`, stored in one transaction; `row_count` never changes.

    One that retries another has `retry_of_id`. `finished_at` is when its last execution had ended. Version and model
    are null where an A/B test gave its rows several.
    """

    name = models.CharField(max_length=200, blank=True)
    prompt_id = models.UUIDField()
    version_number = models.PositiveIntegerField(null=True)
    model_id = models.UUIDField(null=True)
    row_count = models.PositiveIntegerField()
    retry_of_id = models.UUIDField(null=True)
    created_by_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar[Any] = BatchQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "batches"
        constraints = [
            models.CheckConstraint(condition=Q(row_count__gte=1), name="executions_batch_has_rows"),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="executions_batch_organization"),
            models.Index(fields=["id"], name="executions_batch_open", condition=Q(finished_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.name or str(self.id)

    @property
    def counts(self) -> dict[str, int]:
        """Of `with_counts()`: how many executions are in which state. They are counted as changes from all queued."""
        changes = {name: getattr(self, f"{name}_change") for name in COUNTED}
        return {**changes, "queued": self.row_count + changes["queued"]}

    @property
    def remaining(self) -> int:
        counts = self.counts
        return counts["queued"] + counts["running"]

    def estimated_end(self) -> Any:
        """At the speed so far; None before anything has ended and after everything has."""
        remaining = self.remaining
        ended = self.row_count - remaining
        if self.finished_at or not remaining or not ended:
            return None
        now = timezone.now()
        return now + (now - self.created_at) * remaining / ended

    def summary(self) -> dict[str, Any]:
        """As it is answered; of `with_counts()`."""
        return {
            "id": self.id,
            "name": self.name,
            "prompt_id": self.prompt_id,
            "version_number": self.version_number,
            "model_id": self.model_id,
            "row_count": self.row_count,
            "counts": self.counts,
            "cost_usd": f"{self.cost_usd:f}",  # type: ignore[attr-defined] # of with_counts()
            "retry_of_id": self.retry_of_id,
            "created_by": self.created_by_id,
            "api_key_id": self.api_key_id,
            "created_at": self.created_at,
            "cancel_requested_at": self.cancel_requested_at,
            "estimated_end_at": self.estimated_end(),
            "finished_at": self.finished_at,
        }


class BatchCount(models.Model):
    """How often executions of a batch have come into a state, less how often they have left it; and their cost.

    Only the trigger `executions_count_batch()` writes it. Each connection of the database counts in a row of its own
    (`shard`), so that executions which end at the same time do not wait for each other. The sum over them is right.
    """

    pk = models.CompositePrimaryKey("batch_id", "shard")
    batch_id = models.UUIDField()
    shard = models.PositiveSmallIntegerField()
    queued = models.IntegerField(default=0)
    running = models.IntegerField(default=0)
    succeeded = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    cancelled = models.IntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, default=Decimal(0))

    class Meta:
        ordering = ["batch_id", "shard"]

    def __str__(self) -> str:
        return f"{self.batch_id} {self.shard}"


class ExecutionEvent(models.Model):
    """A piece of the answer of a streamed background execution, kept for a day. Numbers count up from 2."""

    pk = models.CompositePrimaryKey("execution_id", "number")
    execution = models.ForeignKey(
        Execution, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="events"
    )
    number = models.PositiveIntegerField()
    text = models.TextField(blank=True)
    tool_calls = OrderedJSONField(default=list)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["execution_id", "number"]

    def __str__(self) -> str:
        return f"{self.execution_id} event {self.number}"


auditlog.register(Batch, exclude_fields=["updated_at"])
