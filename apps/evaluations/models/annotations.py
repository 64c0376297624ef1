"""What people say of outputs: queues of tasks, what each task is judged by, and each person's annotation of it."""

from datetime import timedelta
from typing import Any, ClassVar, Self
from uuid import UUID

from auditlog.registry import auditlog
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.evaluations.models.evaluators import ScoreConfig
from apps.organizations.models import SoftDeleteTenantModel, TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from everquant.db import uuid7

LEASE = timedelta(minutes=30)
MAX_CRITERIA, MAX_ASSIGNEES, MAX_PER_TASK = 20, 100, 5
SOURCE_KEY_LENGTH = 80


class AnnotationQueue(SoftDeleteTenantModel):
    """Tasks for people. `assignees` are ids of users; when it is empty, everybody who may score annotates."""

    name = models.CharField(max_length=200)
    instructions = models.TextField(blank=True, max_length=20_000)
    annotations_per_task = models.PositiveSmallIntegerField(default=1)
    assignees: Any = ArrayField(models.UUIDField(), default=list, blank=True, size=MAX_ASSIGNEES)
    is_active = models.BooleanField(default=True)
    score_configs: Any = models.ManyToManyField(ScoreConfig, through="AnnotationCriterion", related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"],
                condition=Q(deleted_at__isnull=True),
                name="evaluations_annotationqueue_name_unique",
            ),
            models.CheckConstraint(
                condition=Q(annotations_per_task__gte=1, annotations_per_task__lte=MAX_PER_TASK),
                name="evaluations_annotationqueue_per_task",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AnnotationCriterionManager(models.Manager["AnnotationCriterion"]):
    """Each is read with its score config, which it is nothing without."""

    def get_queryset(self) -> models.QuerySet["AnnotationCriterion"]:
        return super().get_queryset().select_related("score_config")


class AnnotationCriterion(models.Model):
    """A score config that a queue asks for, in the queue's order."""

    id: Any = models.BigAutoField(primary_key=True)
    queue = models.ForeignKey(AnnotationQueue, on_delete=models.CASCADE, related_name="criteria", db_index=False)
    score_config = models.ForeignKey(ScoreConfig, on_delete=models.RESTRICT, related_name="+")
    position = models.PositiveSmallIntegerField()

    objects = AnnotationCriterionManager()

    class Meta:
        ordering = ["queue_id", "position"]
        verbose_name_plural = "annotation criteria"
        constraints = [
            models.UniqueConstraint(fields=["queue", "score_config"], name="evaluations_criterion_config_unique"),
        ]

    def __str__(self) -> str:
        return str(self.score_config)

    def get_additional_data(self) -> dict[str, Any]:
        """As that of tenant-scoped models (read by auditlog)."""
        return {"organization_id": str(self.queue.organization_id)}


class AnnotationTask(models.Model):
    """One output to judge, as it was when it was put into the queue.

    `source_key` names where it is from, so that nothing is twice in a queue: `execution:<id>`, `case:<id>`, or
    `item:<SHA-256 of the content>`. `taken_count` counts open and submitted annotations, `submitted_count` these alone;
    whoever changes one holds the row's lock.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    queue = models.ForeignKey(AnnotationQueue, on_delete=models.CASCADE, related_name="tasks", db_index=False)
    position = models.BigIntegerField()
    source_key = models.CharField(max_length=SOURCE_KEY_LENGTH)
    execution_id = models.UUIDField(null=True)
    evaluation_id = models.UUIDField(null=True)
    item_id = models.UUIDField(null=True)
    input = OrderedJSONField(null=True)
    output = OrderedJSONField(null=True)
    expected = OrderedJSONField(null=True)
    has_expected = models.BooleanField(default=False)
    context = OrderedJSONField(default=dict)
    taken_count = models.PositiveSmallIntegerField(default=0)
    submitted_count = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[Any] = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            models.UniqueConstraint(fields=["queue", "source_key"], name="evaluations_annotationtask_source_unique"),
            models.CheckConstraint(
                condition=Q(taken_count__gte=F("submitted_count")), name="evaluations_annotationtask_counts"
            ),
            models.CheckConstraint(
                condition=Q(has_expected=True) | Q(expected__isnull=True), name="evaluations_annotationtask_expected"
            ),
        ]
        indexes = [
            models.Index(fields=["queue", "taken_count", "position", "id"], name="evaluations_task_next"),
            models.Index(fields=["queue", "position", "id"], name="evaluations_task_order"),
        ]

    def __str__(self) -> str:
        return self.source_key


class AnnotationStatus(models.TextChoices):
    """OPEN has a place at its task until `claimed_until`; EXPIRED and SKIPPED have none and may take one again."""

    OPEN = "open"
    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    EXPIRED = "expired"


TAKING = (AnnotationStatus.OPEN, AnnotationStatus.SUBMITTED)


class AnnotationQuerySet(TenantQuerySet):
    def submitted(self) -> Self:
        return self.filter(status=AnnotationStatus.SUBMITTED)

    def of_person(self, user_id: UUID) -> Self:
        return self.filter(annotator_id=user_id)


class Annotation(TenantModel):
    """What one person says of a task. `values` are by the id of the score config, as text.

    `score_ids` are the scores that its execution has of it. `duration_ms` is from the claim to the first submission.
    """

    queue = models.ForeignKey(AnnotationQueue, on_delete=models.CASCADE, related_name="annotations", db_index=False)
    task = models.ForeignKey(AnnotationTask, on_delete=models.CASCADE, related_name="annotations", db_index=False)
    annotator_id = models.UUIDField()
    status = models.CharField(max_length=16, choices=AnnotationStatus.choices, default=AnnotationStatus.OPEN)
    claimed_until = models.DateTimeField(null=True)
    values = models.JSONField(default=dict)
    comment = models.TextField(blank=True, max_length=5000)
    score_ids: Any = ArrayField(models.UUIDField(), default=list)
    started_at = models.DateTimeField()
    submitted_at = models.DateTimeField(null=True)
    duration_ms = models.PositiveBigIntegerField(null=True)

    objects: ClassVar[Any] = AnnotationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["task", "annotator_id"], name="evaluations_annotation_once"),
            models.UniqueConstraint(
                fields=["queue", "annotator_id"],
                condition=Q(status=AnnotationStatus.OPEN),
                name="evaluations_annotation_one_open",
            ),
            models.CheckConstraint(
                condition=Q(status__in=AnnotationStatus.values), name="evaluations_annotation_status_known"
            ),
            models.CheckConstraint(
                condition=Q(status=AnnotationStatus.OPEN, claimed_until__isnull=False)
                | Q(~Q(status=AnnotationStatus.OPEN), claimed_until__isnull=True),
                name="evaluations_annotation_lease",
            ),
            models.CheckConstraint(
                condition=~Q(status=AnnotationStatus.SUBMITTED) | Q(submitted_at__isnull=False),
                name="evaluations_annotation_submission_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["queue", "-id"], name="evaluations_annotation_newest"),
            models.Index(
                fields=["queue", "claimed_until"],
                name="evaluations_annotation_leases",
                condition=Q(status=AnnotationStatus.OPEN),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} {self.status}"


auditlog.register(AnnotationQueue, exclude_fields=["updated_at"])
auditlog.register(AnnotationCriterion)
auditlog.register(Annotation, include_fields=["task", "annotator_id", "status", "values", "comment"])
