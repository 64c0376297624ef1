"""What a gate said of an evaluation, kept as it was said."""

from typing import Any, ClassVar

from auditlog.registry import auditlog
from django.db import models
from django.db.models import Q

from apps.evaluations.models.evaluations import Evaluation
from apps.organizations.models import TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField


class Verdict(models.TextChoices):
    PASS = "pass"  # noqa: S105 (no password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class GateResult(TenantModel):
    """`candidate` is a position among the evaluation's subjects, `baseline` one among those of `against`, or of the
    evaluation itself where that is null; null where the rules look at the candidate alone.

    `rules_hash` is the SHA-256 of `rules` as they were applied. `evaluation_finished_at` and `against_finished_at` are
    the states that were looked at: see `is_current`.
    """

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="gates", db_index=False)
    candidate = models.PositiveSmallIntegerField()
    against = models.ForeignKey(Evaluation, on_delete=models.SET_NULL, null=True, related_name="+")
    baseline = models.PositiveSmallIntegerField(null=True)
    rules = OrderedJSONField()
    rules_hash = models.BinaryField(max_length=32)
    verdict = models.CharField(max_length=16, choices=Verdict.choices)
    report = OrderedJSONField()
    evaluation_finished_at = models.DateTimeField()
    against_finished_at = models.DateTimeField(null=True)
    created_by_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(verdict__in=Verdict.values), name="evaluations_gateresult_verdict_known")
        ]
        indexes = [models.Index(fields=["evaluation", "-id"], name="evaluations_gate_newest")]

    def __str__(self) -> str:
        return f"{self.verdict} of {self.evaluation_id}"

    @property
    def is_current(self) -> bool:
        """Whether what was looked at is still so."""
        was_against = self.against.finished_at if self.against else None
        return (self.evaluation.finished_at, was_against) == (self.evaluation_finished_at, self.against_finished_at)


auditlog.register(GateResult, include_fields=["evaluation", "candidate", "baseline", "against", "verdict"])
