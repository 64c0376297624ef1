"""Evaluations: subjects by items by repeats are cases, and each case is scored by each metric.

An evaluation is worked at by the one driver that holds its lease: what it writes names the `fence` that it took the
evaluation with, so that a driver which lost the lease changes nothing any more.
"""

from decimal import Decimal
from typing import Any, ClassVar, Self
from uuid import UUID

from auditlog.registry import auditlog
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.evaluations.models.datasets import SPLIT_LENGTH, DatasetItem, DatasetVersion
from apps.evaluations.models.evaluators import NAME_LENGTH, EvaluatorVersion
from apps.executions.models import COST_DIGITS, COST_PLACES
from apps.organizations.models import TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField

MAX_SUBJECTS, MAX_METRICS, MAX_REPEATS = 10, 30, 100
MAX_CASES = 1_000_000


class EvaluationStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reopening(models.TextChoices):
    """What the next driver has to do before it goes on: open what was cancelled, and with ERRORS what erred too."""

    CANCELLED = "cancelled"
    ERRORS = "errors"


TERMINAL_EVALUATION = (EvaluationStatus.SUCCEEDED, EvaluationStatus.FAILED, EvaluationStatus.CANCELLED)
_IS_TERMINAL = Q(status__in=[status.value for status in TERMINAL_EVALUATION])
_IS_FAILURE = Q(status=EvaluationStatus.FAILED.value)


class SubjectKind(models.TextChoices):
    """What answers: a version of a prompt, messages with a model, a version of a workflow, or what was recorded."""

    PROMPT = "prompt"
    INLINE = "inline"
    WORKFLOW = "workflow"
    RECORDED = "recorded"


class CaseStatus(models.TextChoices):
    """PENDING → RUNNING (its call was asked for) → ANSWERED (its output is here) → SUCCEEDED (every metric has spoken).

    FAILED is a case without an answer: the subject erred. An evaluator that errs does not fail the case; that is with
    its score.
    """

    PENDING = "pending"
    RUNNING = "running"
    ANSWERED = "answered"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class EvaluationQuerySet(TenantQuerySet):
    def for_organization(self, organization_id: UUID) -> Self:
        """Without those that are being deleted: they are nobody's any more."""
        return super().for_organization(organization_id).filter(deleted_at__isnull=True)

    def live(self) -> Self:
        return self.exclude(_IS_TERMINAL)

    def abandoned(self) -> Self:
        """Those whose driver must be gone: still running after their lease."""
        return self.filter(status=EvaluationStatus.RUNNING, lease_expires_at__lt=timezone.now())


class Evaluation(TenantModel):
    """One evaluation of subjects on the items of one version of a dataset.

    `split` and `item_limit` narrow the items: the first so many of this split. It SUCCEEDED when every case has come
    to an end, however many have failed; FAILED names why it could not go on (`BUDGET_EXCEEDED`, …), and what it has
    come to stays and can be resumed. `budget_usd` is the most that its subjects and evaluators may cost together.
    The counts are of cases, `score_*` of single scores; `cost_usd` is the subjects', `evaluator_cost_usd` the judges'.
    `finished_at` changes whenever its results do. One with `deleted_at` is being deleted by a job.
    """

    name = models.CharField(max_length=200, blank=True)
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.RESTRICT, related_name="evaluations")
    split = models.CharField(max_length=SPLIT_LENGTH, blank=True)
    item_limit = models.PositiveIntegerField(null=True)
    repeats = models.PositiveSmallIntegerField(default=1)
    max_concurrency = models.PositiveSmallIntegerField(default=16)
    budget_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    metadata = models.JSONField(default=dict)
    created_by_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)

    status = models.CharField(max_length=16, choices=EvaluationStatus.choices, default=EvaluationStatus.QUEUED)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    item_count = models.PositiveIntegerField(default=0)
    case_count = models.PositiveIntegerField(default=0)
    has_cases = models.BooleanField(default=False)
    succeeded_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    score_count = models.PositiveIntegerField(default=0)
    score_error_count = models.PositiveIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, default=Decimal(0))
    evaluator_cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, default=Decimal(0))

    reopening = models.CharField(max_length=16, blank=True, choices=Reopening.choices)
    round = models.PositiveSmallIntegerField(default=0)
    fence = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[Any] = EvaluationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=EvaluationStatus.values), name="evaluations_evaluation_status_known"
            ),
            models.CheckConstraint(
                condition=Q(_IS_TERMINAL, finished_at__isnull=False) | Q(~_IS_TERMINAL, finished_at__isnull=True),
                name="evaluations_evaluation_end_has_time",
            ),
            models.CheckConstraint(
                condition=Q(_IS_FAILURE & ~Q(error_code="")) | Q(~_IS_FAILURE & Q(error_code="")),
                name="evaluations_evaluation_failure_has_code",
            ),
            models.CheckConstraint(
                condition=~Q(status=EvaluationStatus.RUNNING)
                | Q(started_at__isnull=False, lease_expires_at__isnull=False),
                name="evaluations_evaluation_running_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(repeats__gte=1, repeats__lte=MAX_REPEATS), name="evaluations_evaluation_repeats"
            ),
            models.CheckConstraint(condition=Q(max_concurrency__gte=1), name="evaluations_evaluation_concurrency"),
            models.CheckConstraint(
                condition=Q(budget_usd__isnull=True) | Q(budget_usd__gt=0), name="evaluations_evaluation_budget"
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="evaluations_newest"),
            models.Index(
                fields=["queued_at", "id"],
                name="evaluations_queue",
                condition=Q(status=EvaluationStatus.QUEUED),
            ),
            models.Index(
                fields=["lease_expires_at"],
                name="evaluations_leases",
                condition=Q(status=EvaluationStatus.RUNNING),
            ),
        ]

    def __str__(self) -> str:
        return self.name or str(self.id)

    @property
    def is_finished(self) -> bool:
        return self.status in TERMINAL_EVALUATION


class EvaluationSubject(models.Model):
    """What answers, pinned when the evaluation was made. The one at position 0 is the baseline unless another is named.

    INLINE has `messages`, with `{{variables}}` of the item's input, and `response_schema`. An empty `parameters` adds
    nothing to those of the version and the model.
    """

    pk = models.CompositePrimaryKey("evaluation_id", "position")
    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="subjects", db_index=False)
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=NAME_LENGTH)
    kind = models.CharField(max_length=16, choices=SubjectKind.choices)
    prompt_id = models.UUIDField(null=True)
    prompt_version_id = models.UUIDField(null=True)
    workflow_id = models.UUIDField(null=True)
    workflow_version_id = models.UUIDField(null=True)
    version_number = models.PositiveIntegerField(null=True)
    model_id = models.UUIDField(null=True)
    parameters = OrderedJSONField(default=dict)
    messages = OrderedJSONField(null=True)
    response_schema = OrderedJSONField(null=True)

    class Meta:
        ordering = ["evaluation_id", "position"]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=SubjectKind.values), name="evaluations_subject_kind_known"),
            models.UniqueConstraint(fields=["evaluation", "name"], name="evaluations_subject_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class EvaluationMetric(models.Model):
    """An evaluator's version in an evaluation, under the name that its scores have there."""

    pk = models.CompositePrimaryKey("evaluation_id", "position")
    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="metrics", db_index=False)
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=NAME_LENGTH)
    evaluator_version = models.ForeignKey(EvaluatorVersion, on_delete=models.RESTRICT, related_name="+")

    class Meta:
        ordering = ["evaluation_id", "position"]
        constraints = [models.UniqueConstraint(fields=["evaluation", "name"], name="evaluations_metric_name_unique")]

    def __str__(self) -> str:
        return self.name


class EvaluationCase(models.Model):
    """One item given to one subject once. `subject` is its position, `repeat` counts from 0.

    `reserved_usd` is the most that its call may cost, while it runs within a budget. `latency_ms` and `cost_usd` of
    what was recorded are those of the execution that it was recorded from, if there is one. `prepaid` is what
    scores that are not there yet have cost so far: USD by round and metric (`0/2`), in the evaluation's cost already.
    """

    id: Any = models.BigAutoField(primary_key=True)
    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="cases", db_index=False)
    subject = models.PositiveSmallIntegerField()
    item = models.ForeignKey(DatasetItem, on_delete=models.RESTRICT, related_name="+", db_index=False)
    repeat = models.PositiveSmallIntegerField(default=0)
    status = models.CharField(max_length=16, choices=CaseStatus.choices, default=CaseStatus.PENDING)
    execution_id = models.UUIDField(null=True)
    workflow_run_id = models.UUIDField(null=True)
    output = OrderedJSONField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    input_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    reserved_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    prepaid = models.JSONField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["evaluation", "item", "subject", "repeat"], name="evaluations_case_unique"),
            models.CheckConstraint(condition=Q(status__in=CaseStatus.values), name="evaluations_case_status_known"),
            models.CheckConstraint(
                condition=Q(Q(status=CaseStatus.FAILED) & ~Q(error_code=""))
                | Q(~Q(status=CaseStatus.FAILED) & Q(error_code="")),
                name="evaluations_case_failure_has_code",
            ),
        ]
        indexes = [
            models.Index(fields=["evaluation", "subject", "id"], name="evaluations_case_order"),
            models.Index(
                fields=["evaluation", "id"],
                name="evaluations_case_pending",
                condition=Q(status=CaseStatus.PENDING),
            ),
            models.Index(
                fields=["evaluation", "id"],
                name="evaluations_case_open",
                condition=Q(status__in=[CaseStatus.RUNNING, CaseStatus.ANSWERED]),
            ),
            models.Index(
                fields=["evaluation", "id"], name="evaluations_case_failed", condition=Q(status=CaseStatus.FAILED)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.evaluation_id} {self.subject} {self.item_id} {self.repeat}"


class EvaluationScore(models.Model):
    """What a metric says of a case: `value` (1 or 0 for yes or no), or an error with its code; never both.

    `details` are the evaluator's own (the votes of a judge). `execution_ids` are the model calls that it made.
    """

    pk = models.CompositePrimaryKey("case_id", "metric")
    case = models.ForeignKey(EvaluationCase, on_delete=models.CASCADE, related_name="scores", db_index=False)
    metric = models.PositiveSmallIntegerField()
    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="scores", db_index=False)
    value = models.FloatField(null=True)
    passed = models.BooleanField(null=True)
    label = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)
    details = OrderedJSONField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    execution_ids: Any = ArrayField(models.UUIDField(), default=list)

    class Meta:
        ordering = ["case_id", "metric"]
        constraints = [
            models.CheckConstraint(
                condition=Q(error_code="", value__isnull=False)
                | Q(~Q(error_code=""), value__isnull=True, passed__isnull=True, label=""),
                name="evaluations_score_or_error",
            ),
        ]
        indexes = [
            models.Index(fields=["evaluation", "metric", "case"], name="evaluations_score_by_metric"),
            models.Index(fields=["evaluation", "case"], name="evaluations_score_errors", condition=~Q(error_code="")),
        ]

    def __str__(self) -> str:
        return f"{self.case_id} {self.metric}"


auditlog.register(
    Evaluation,
    include_fields=["name", "status", "budget_usd", "cancel_requested_at", "deleted_at"],
)
