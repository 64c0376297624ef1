"""How well a judge agrees with people, measured on a set that people have labelled."""

from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models import F, Q

from apps.evaluations.models.evaluations import Evaluation
from apps.evaluations.models.evaluators import NAME_LENGTH, EvaluatorVersion
from apps.organizations.models import TenantModel

LABEL_KEY_LENGTH = 100


class Weighting(models.TextChoices):
    """What a disagreement counts: all the same, or more the further apart the two are in the order of categories."""

    NONE = "none"
    LINEAR = "linear"
    QUADRATIC = "quadratic"


class JudgeAgreement(TenantModel):
    """Cohen's kappa between a judge and the labels of a set, once for each item, with its 95 % interval.

    `n` items have both, `n_missing` a label and no judgement, `n_unlabelled` no label. `confusion` has a row for each
    of `categories` as people gave it, and in that the number of items for each as the judge gave it. `threshold` is
    what the interval's lower end is to reach. `kind_version` and `provider_model` are what judged then.
    """

    evaluator_version = models.ForeignKey(
        EvaluatorVersion, on_delete=models.CASCADE, related_name="agreements", db_index=False
    )
    evaluation = models.ForeignKey(Evaluation, on_delete=models.SET_NULL, null=True, related_name="+")
    subject = models.CharField(max_length=NAME_LENGTH)
    label = models.CharField(max_length=LABEL_KEY_LENGTH)
    weighting = models.CharField(max_length=16, choices=Weighting.choices, default=Weighting.NONE)
    threshold = models.FloatField()
    n = models.PositiveIntegerField()
    n_missing = models.PositiveIntegerField()
    n_unlabelled = models.PositiveIntegerField()
    kappa = models.FloatField()
    ci_low = models.FloatField()
    ci_high = models.FloatField()
    categories = models.JSONField()
    confusion = models.JSONField()
    kind_version = models.PositiveIntegerField()
    provider_model = models.CharField(max_length=200)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["evaluator_version", "-created_at", "-id"], name="evaluations_agreement_newest")
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(weighting__in=Weighting.values), name="evaluations_agreement_weighting_known"
            ),
            models.CheckConstraint(
                condition=Q(ci_low__lte=F("kappa"), ci_high__gte=F("kappa")), name="evaluations_agreement_interval"
            ),
            models.CheckConstraint(
                condition=Q(threshold__gte=-1, threshold__lte=1, ci_low__gte=-1, ci_high__lte=1),
                name="evaluations_agreement_range",
            ),
            models.CheckConstraint(condition=Q(n__gte=1), name="evaluations_agreement_n"),
        ]

    def __str__(self) -> str:
        return f"kappa {self.kappa:.2f} ({self.ci_low:.2f} to {self.ci_high:.2f}) of {self.n}"

    @property
    def reaches_threshold(self) -> bool:
        return self.ci_low >= self.threshold


auditlog.register(JudgeAgreement, exclude_fields=["updated_at"])
