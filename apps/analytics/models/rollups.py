"""Executions and scores as sums by time, so that what is asked costs by the hours asked for and not by the rows stored.

Changes come through the pending tables, which triggers fill in the transaction of what happened, with what is to be
added (`sign` 1) or taken away (-1); see apps.analytics.rollups. Of each organization there are several cubes, which
have some of the dimensions and add up over the others; a dimension that is null has no value, or the cube lacks it.
Times are those of the execution, also of its scores.
"""

from django.db import models

from apps.executions.models import COST_DIGITS, COST_PLACES
from apps.organizations.models import Organization


class Dimensions(models.Model):
    prompt_id = models.UUIDField(null=True)
    prompt_version_id = models.UUIDField(null=True)
    model_id = models.UUIDField(null=True)
    source = models.CharField(max_length=16, null=True)  # noqa: DJ001 (as of all dimensions)
    status = models.CharField(max_length=16, null=True)  # noqa: DJ001
    created_by_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    ab_test_id = models.UUIDField(null=True)
    ab_variant = models.CharField(max_length=64, null=True)  # noqa: DJ001
    workflow_id = models.UUIDField(null=True)

    class Meta:
        abstract = True


class Pending(Dimensions):
    """A row whose `sign` is -1 comes after the one of the same execution that it takes back."""

    pk = models.CompositePrimaryKey("organization_id", "id")
    organization_id = models.UUIDField()
    id = models.BigIntegerField()
    sign = models.SmallIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        abstract = True


class PendingExecution(Pending):
    is_cached = models.BooleanField()
    input_tokens = models.IntegerField(null=True)
    cached_input_tokens = models.IntegerField(null=True)
    cache_write_tokens = models.IntegerField(null=True)
    output_tokens = models.IntegerField(null=True)
    reasoning_tokens = models.IntegerField(null=True)
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    saved_cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    latency_ms = models.IntegerField(null=True)
    first_token_ms = models.IntegerField(null=True)

    class Meta:
        ordering = ["organization_id", "id"]

    def __str__(self) -> str:
        return f"{self.sign:+} {self.created_at}"


class PendingScore(Pending):
    name = models.CharField(max_length=100)
    number = models.FloatField()

    class Meta:
        ordering = ["organization_id", "id"]

    def __str__(self) -> str:
        return f"{self.sign:+} {self.name}"


class Rollup(Dimensions):
    """One cell of a cube; `grain` is its length in minutes, `key` a digest of its dimensions."""

    pk = models.CompositePrimaryKey("organization_id", "cube", "grain", "starts_at", "key")
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    cube = models.PositiveSmallIntegerField()
    grain = models.PositiveSmallIntegerField()
    starts_at = models.DateTimeField()
    key = models.UUIDField()

    class Meta:
        abstract = True


class ExecutionRollup(Rollup):
    """Finished executions. `unpriced` have used tokens at no known price; histograms as `Histogram.to_bytes`."""

    requests = models.BigIntegerField()
    cached = models.BigIntegerField()
    unpriced = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    cached_input_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    cost_usd = models.DecimalField(max_digits=36, decimal_places=COST_PLACES)
    saved_cost_usd = models.DecimalField(max_digits=36, decimal_places=COST_PLACES)
    latency_sum_ms = models.BigIntegerField()
    first_token_sum_ms = models.BigIntegerField()
    latency = models.BinaryField()
    first_token = models.BinaryField()

    class Meta:
        ordering = ["organization_id", "cube", "grain", "starts_at", "key"]

    def __str__(self) -> str:
        return f"{self.starts_at} {self.requests} executions"


class ScoreRollup(Rollup):
    """Numeric and boolean scores of one name."""

    name = models.CharField(max_length=100)
    count = models.BigIntegerField()
    total = models.FloatField()
    squares = models.FloatField()

    class Meta:
        ordering = ["organization_id", "cube", "grain", "starts_at", "key"]

    def __str__(self) -> str:
        return f"{self.starts_at} {self.count} of {self.name}"
