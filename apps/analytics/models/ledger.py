"""The ledger: what executions have cost, by day (UTC), in sums that stay when the executions are purged.

A day is written once nothing of it runs any more. While its executions are stored they are the truth: a trigger of
their table marks a closed day of which a cost has changed, and a marked day is read from them and then written anew.
"""

from typing import Any, ClassVar

from django.db import models

from apps.executions.models import COST_DIGITS, COST_PLACES, Source
from apps.organizations.models import Organization, TenantQuerySet


class LedgerState(models.Model):
    """How far an organization's ledger is written: the days from `opened_on` until before `closed_until`."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, primary_key=True, related_name="+")
    opened_on = models.DateField()
    closed_until = models.DateField()

    class Meta:
        ordering = ["organization_id"]

    def __str__(self) -> str:
        return f"{self.organization_id} until {self.closed_until}"


class LedgerDay(models.Model):
    """The executions of one day that have these in common, `price` (the prices they were charged by) among them.

    Tokens are in disjoint buckets. `unpriced` executions have used tokens whose price is not known; of those without
    usage no provider has told any. Neither has a cost, and `cost_usd` is null when none of the others has.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    prompt_id = models.UUIDField(null=True)
    model_id = models.UUIDField(null=True)
    provider_model = models.CharField(max_length=200)
    user_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    source = models.CharField(max_length=16, choices=Source.choices)
    price = models.JSONField(null=True)
    executions = models.PositiveIntegerField()
    cached = models.PositiveIntegerField()
    estimated = models.PositiveIntegerField()
    unpriced = models.PositiveIntegerField()
    without_usage = models.PositiveIntegerField()
    input_tokens = models.PositiveBigIntegerField()
    cached_input_tokens = models.PositiveBigIntegerField()
    cache_write_tokens = models.PositiveBigIntegerField()
    cache_write_1h_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    reasoning_tokens = models.PositiveBigIntegerField()
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    saved_cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["organization_id", "day", "id"]
        indexes = [models.Index(fields=["organization", "day"], name="analytics_ledgerday_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.provider_model}"


class LedgerMark(models.Model):
    """A closed day of which a cost has changed; one of each transaction that changed any, so that none waits."""

    organization_id = models.UUIDField()
    day = models.DateField()
    transaction_id = models.BigIntegerField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id", "day", "transaction_id"], name="analytics_ledgermark_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.organization_id} {self.day}"


class LedgerName(models.Model):
    """What a prompt, model, user or API key was called last, for when it is there no more."""

    class Kind(models.TextChoices):
        PROMPT = "prompt"
        MODEL = "model"
        USER = "user"
        API_KEY = "api_key"

    pk = models.CompositePrimaryKey("organization_id", "kind", "object_id")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    object_id = models.UUIDField()
    name = models.CharField(max_length=254)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["organization_id", "kind", "object_id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=["prompt", "model", "user", "api_key"]),
                name="analytics_ledgername_kind_known",
            )
        ]

    def __str__(self) -> str:
        return self.name
