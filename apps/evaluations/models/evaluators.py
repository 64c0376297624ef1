"""Evaluators as organizations keep them: a kind with a configuration, in immutable versions; and score configs."""

from typing import Any

from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models import F, Q

from apps.organizations.models import SoftDeleteTenantModel, TenantModel
from apps.prompts.fields import OrderedJSONField
from apps.prompts.models import SLUG, SLUG_LENGTH

NAME_LENGTH = 100


class ScoreType(models.TextChoices):
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"
    TEXT = "text"


class Direction(models.TextChoices):
    """Which numbers are better. NONE is for what is only measured."""

    HIGHER = "higher"
    LOWER = "lower"
    NONE = "none"


class ScoreConfig(SoftDeleteTenantModel):
    """What values a score of this name may have, whoever gives it: people, programs, evaluators.

    `categories` are `{"label", "value"}`, the value a number or null; the ends of the range are in it, null for none.
    """

    name = models.CharField(max_length=NAME_LENGTH)
    description = models.TextField(blank=True, max_length=5000)
    type = models.CharField(max_length=16, choices=ScoreType.choices)
    minimum = models.FloatField(null=True, blank=True)
    maximum = models.FloatField(null=True, blank=True)
    categories = models.JSONField(default=list, blank=True)
    direction = models.CharField(max_length=8, choices=Direction.choices, default=Direction.HIGHER)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"],
                condition=Q(deleted_at__isnull=True),
                name="evaluations_scoreconfig_name_unique",
            ),
            models.CheckConstraint(condition=Q(type__in=ScoreType.values), name="evaluations_scoreconfig_type_known"),
            models.CheckConstraint(
                condition=Q(minimum__isnull=True) | Q(maximum__isnull=True) | Q(minimum__lt=F("maximum")),
                name="evaluations_scoreconfig_range",
            ),
            models.CheckConstraint(
                condition=Q(type=ScoreType.NUMERIC) | Q(minimum__isnull=True, maximum__isnull=True),
                name="evaluations_scoreconfig_range_of_numbers",
            ),
            models.CheckConstraint(
                condition=Q(Q(type=ScoreType.CATEGORICAL) & ~Q(categories=[]))
                | Q(~Q(type=ScoreType.CATEGORICAL) & Q(categories=[])),
                name="evaluations_scoreconfig_categories",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Evaluator(SoftDeleteTenantModel):
    """A named evaluator of one kind (see `apps.workflows.evaluating`); its configuration is in its versions."""

    slug = models.CharField(max_length=SLUG_LENGTH, validators=[SLUG])
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, max_length=5000)
    kind = models.CharField(max_length=64)
    current_version = models.ForeignKey(
        "EvaluatorVersion", on_delete=models.RESTRICT, related_name="+", db_index=False, null=True, editable=False
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "slug"],
                condition=Q(deleted_at__isnull=True),
                name="evaluations_evaluator_slug_unique",
            )
        ]

    def __str__(self) -> str:
        return self.slug


class EvaluatorVersion(TenantModel):
    """One immutable configuration. `kind_version` is the version that the code of the kind had.

    A model that the configuration names is pinned in it by its id.
    """

    evaluator = models.ForeignKey(Evaluator, on_delete=models.CASCADE, related_name="versions", db_index=False)
    version_number = models.PositiveIntegerField()
    kind_version = models.PositiveIntegerField()
    config = OrderedJSONField(default=dict)
    score_config = models.ForeignKey(ScoreConfig, on_delete=models.RESTRICT, null=True, related_name="+")
    message = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["-version_number", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["evaluator", "version_number"], name="evaluations_evaluatorversion_number_unique"
            ),
            models.CheckConstraint(
                condition=Q(version_number__gte=1), name="evaluations_evaluatorversion_number_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.version_number}"


_kept: dict[str, Any] = {"exclude_fields": ["updated_at"]}
auditlog.register(ScoreConfig, **_kept)
auditlog.register(Evaluator, **_kept)
auditlog.register(EvaluatorVersion, **_kept)
