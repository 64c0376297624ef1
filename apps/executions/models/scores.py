"""What is thought of the result of an execution."""

from typing import Any, ClassVar, Self
from uuid import UUID

from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.executions.models.executions import Execution
from apps.organizations.models import TenantModel, TenantQuerySet


class ScoreQuerySet(TenantQuerySet):
    def of(self, execution_id: UUID) -> Self:
        return self.filter(execution_id=execution_id)


class Score(TenantModel):
    """What somebody or something thinks of a result: a number or a boolean (0 or 1) in `number`, words in `text`."""

    class Type(models.TextChoices):
        NUMERIC = "numeric"
        BOOLEAN = "boolean"
        CATEGORICAL = "categorical"
        TEXT = "text"

    class Source(models.TextChoices):
        """Who judged: a person, a program with an API key, or an evaluator."""

        HUMAN = "human"
        API = "api"
        EVALUATOR = "evaluator"

    execution = models.ForeignKey(
        Execution, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="scores"
    )
    name = models.CharField(max_length=100)
    type = models.CharField(max_length=16, choices=Type.choices)
    number = models.FloatField(null=True)
    text = models.TextField(blank=True)
    comment = models.TextField(blank=True)
    source = models.CharField(max_length=16, choices=Source.choices)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    objects: ClassVar[Any] = ScoreQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(type__in=["numeric", "boolean", "categorical", "text"]), name="executions_score_type_known"
            ),
            models.CheckConstraint(
                condition=Q(source__in=["human", "api", "evaluator"]), name="executions_score_source_known"
            ),
            models.CheckConstraint(
                condition=Q(type="numeric", number__isnull=False, text="")
                | Q(type="boolean", number__in=[0.0, 1.0], text="")
                | Q(~Q(text=""), type__in=["categorical", "text"], number__isnull=True),
                name="executions_score_value_fits_type",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "execution", "-id"], name="executions_score_execution"),
            models.Index(fields=["organization", "name", "-id"], name="executions_score_name"),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"

    @property
    def value(self) -> float | bool | str:
        if self.type == Score.Type.BOOLEAN:
            return bool(self.number)
        return self.text if self.number is None else self.number


auditlog.register(Score, exclude_fields=["updated_at"])
