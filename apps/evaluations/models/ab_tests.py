"""What was seen of the variants of A/B tests, as sums: results cost the same after a thousand exposures and a billion.

Changes come through `ABPending`, which triggers of the database fill in the transaction of what happened; a collector
takes rows out and adds them up in one transaction of its own, so that each counts once.
"""

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.organizations.models import TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from apps.prompts.models import METRIC_LENGTH, UNIT_LENGTH, VARIANT_LENGTH, ABTest


class ABPending(models.Model):
    """Something that is not in the sums yet: `ref_id` is the execution's, the score's or the observation's.

    Of a score that was taken back it is the execution's, `name` and `number` are the score's.
    """

    class Kind(models.TextChoices):
        EXECUTION = "execution"
        SCORE = "score"
        SCORE_RETRACTED = "score_retracted"
        OBSERVATION = "observation"

    id = models.BigAutoField(primary_key=True)
    test_id = models.UUIDField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    ref_id = models.UUIDField()
    name = models.CharField(max_length=100, blank=True, db_default="")
    number = models.FloatField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["execution", "score", "score_retracted", "observation"]),
                name="evaluations_abpending_kind_known",
            )
        ]
        indexes = [models.Index(fields=["test_id", "id"], name="evaluations_abpending_test")]

    def __str__(self) -> str:
        return f"{self.kind} {self.ref_id}"


class ABObservation(TenantModel):
    """What a program that calls models itself tells: an exposure of a unit, or values that became known later.

    `values` are numbers by measure (see apps/evaluations/ab_tests/measures.py). `unit_id` is empty for a unit that is
    a single request, which `execution_id` names.
    """

    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="observations", db_index=False)
    unit_id = models.CharField(max_length=UNIT_LENGTH, blank=True)
    execution_id = models.UUIDField(null=True)
    variant = models.CharField(max_length=VARIANT_LENGTH)
    phase = models.PositiveIntegerField()
    is_exposure = models.BooleanField()
    values = OrderedJSONField(default=dict)
    created_by_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "A/B observation"
        constraints = [
            models.CheckConstraint(
                condition=~Q(unit_id="") | Q(execution_id__isnull=False), name="evaluations_abobservation_has_unit"
            )
        ]
        indexes = [models.Index(fields=["test", "-id"], name="evaluations_abobservation_new")]

    def __str__(self) -> str:
        return f"{self.unit_id}: {self.variant}"


class ABUnit(models.Model):
    """A unit's own sums, in the order of the test's measures. `unit_key` is the unit's id, or that of the execution
    that is a unit of its own (then prefixed, so that the two never meet).
    """

    pk = models.CompositePrimaryKey("test_id", "unit_key")
    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="units", db_index=False)
    unit_key = models.CharField(max_length=UNIT_LENGTH + 1)
    variant = models.CharField(max_length=VARIANT_LENGTH)
    phase = models.PositiveIntegerField()
    exposures = models.PositiveIntegerField(default=0)
    counts = ArrayField(models.PositiveIntegerField())
    sums = ArrayField(models.FloatField())
    first_exposed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["test_id", "unit_key"]
        verbose_name = "A/B unit"

    def __str__(self) -> str:
        return f"{self.unit_key}: {self.variant}"


class ABArm(models.Model):
    """How many units and exposures a variant had of those that a phase began; the histogram is of latency, in ms."""

    pk = models.CompositePrimaryKey("test_id", "phase", "variant")
    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="arms", db_index=False)
    phase = models.PositiveIntegerField()
    variant = models.CharField(max_length=VARIANT_LENGTH)
    units = models.BigIntegerField(default=0)
    exposures = models.BigIntegerField(default=0)
    squared_exposures = models.BigIntegerField(default=0)
    latency_histogram = models.BinaryField(default=bytes)

    class Meta:
        ordering = ["test_id", "phase", "variant"]
        verbose_name = "A/B arm"

    def __str__(self) -> str:
        return f"{self.variant} of phase {self.phase}"


class ABArmMeasure(models.Model):
    """Sums over the units of an arm that have values of a measure, of which unit i has `k` with the sum `s`."""

    pk = models.CompositePrimaryKey("test_id", "phase", "variant", "measure")
    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="arm_measures", db_index=False)
    phase = models.PositiveIntegerField()
    variant = models.CharField(max_length=VARIANT_LENGTH)
    measure = models.CharField(max_length=METRIC_LENGTH + 8)
    units = models.BigIntegerField(default=0)
    sum_k = models.FloatField(default=0)
    sum_kk = models.FloatField(default=0)
    sum_s = models.FloatField(default=0)
    sum_ss = models.FloatField(default=0)
    sum_sk = models.FloatField(default=0)
    sum_m = models.FloatField(default=0)
    """Of the units' own means, s / k."""
    sum_mm = models.FloatField(default=0)

    class Meta:
        ordering = ["test_id", "phase", "variant", "measure"]
        verbose_name = "A/B measure"

    def __str__(self) -> str:
        return f"{self.measure} of {self.variant}"


class ABPoint(models.Model):
    """What the results said at a moment: `metrics` is {metric: {variant: {n, value, difference, low, high}}}."""

    pk = models.CompositePrimaryKey("test_id", "taken_at")
    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="points", db_index=False)
    taken_at = models.DateTimeField()
    units = models.BigIntegerField()
    metrics = OrderedJSONField()

    class Meta:
        ordering = ["test_id", "taken_at"]
        verbose_name = "A/B point"

    def __str__(self) -> str:
        return f"{self.taken_at:%Y-%m-%d %H:%M}"


class ABIncident(TenantModel):
    """Why a test was paused by itself: a guardrail that is broken for certain, or shares that are not the weights."""

    class Kind(models.TextChoices):
        GUARDRAIL = "guardrail"
        SAMPLE_RATIO = "sample_ratio"

    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="incidents", db_index=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    variant = models.CharField(max_length=VARIANT_LENGTH, blank=True)
    message = models.CharField(max_length=500)
    details = OrderedJSONField(default=dict)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "A/B incident"
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["guardrail", "sample_ratio"]), name="evaluations_abincident_kind_known"
            )
        ]
        indexes = [models.Index(fields=["test", "-id"], name="evaluations_abincident_new")]

    def __str__(self) -> str:
        return self.message
