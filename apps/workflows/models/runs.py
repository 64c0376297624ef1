"""Runs of workflows, what each node did in them, and what waits for a person.

A run is written by the one worker that holds its lease: every statement names the `fence` that it took the run with,
so that a worker which lost the lease (it hung, the network was cut) changes nothing any more.
"""

from decimal import Decimal
from typing import Any, ClassVar, Self

from auditlog.registry import auditlog
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.executions.models import COST_DIGITS, COST_PLACES
from apps.organizations.models import TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from apps.workflows.models.workflows import Workflow, WorkflowVersion

PATH_LENGTH = 500


class RunStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


TERMINAL = (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TIMED_OUT)
LIVE = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING)
_IS_TERMINAL = Q(status__in=[status.value for status in TERMINAL])
_IS_FAILURE = Q(status__in=[RunStatus.FAILED.value, RunStatus.TIMED_OUT.value])


class RunSource(models.TextChoices):
    """Who asked for it."""

    API = "api"
    SCHEDULE = "schedule"
    TRIGGER = "trigger"
    RETRY = "retry"
    FORK = "fork"
    EVALUATION = "evaluation"


class StepStatus(models.TextChoices):
    """`interrupted` is an attempt whose worker ended; the node was tried again elsewhere."""

    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


class WorkflowRunQuerySet(TenantQuerySet):
    def live(self) -> Self:
        return self.filter(status__in=LIVE)

    def abandoned(self) -> Self:
        """Those whose worker must be gone: still running after their lease."""
        return self.filter(status=RunStatus.RUNNING, lease_expires_at__lt=timezone.now())


class WorkflowRun(TenantModel):
    """One run of one version. Its row is changed only by who holds its lease, and by those who cancel or wake it.

    `active_ms` is how long workers have been at it, without queue and waiting; the limit on time counts it.
    `wake_at` is when a waiting run goes on by itself (a delay, an approval's end), null for never.
    `origin` is the run whose finished nodes it took over: all but `origin_node` and what follows it.
    """

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="runs", db_index=False)
    version = models.ForeignKey(WorkflowVersion, on_delete=models.RESTRICT, related_name="+", db_index=False)
    version_number = models.PositiveIntegerField()
    status = models.CharField(max_length=16, choices=RunStatus.choices, default=RunStatus.QUEUED)
    source = models.CharField(max_length=16, choices=RunSource.choices, default=RunSource.API)
    inputs = OrderedJSONField(default=dict)
    outputs = OrderedJSONField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    error_path = models.CharField(max_length=PATH_LENGTH, blank=True)
    metadata = models.JSONField(default=dict)
    created_by_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    schedule_id = models.UUIDField(null=True)
    trigger_id = models.UUIDField(null=True)
    origin = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    origin_node = models.CharField(max_length=64, blank=True)

    fence = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    wake_at = models.DateTimeField(null=True)
    last_event = models.PositiveIntegerField(default=0)
    node_count = models.PositiveIntegerField(default=0)
    active_ms = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, default=Decimal(0))
    has_checkpoints = models.BooleanField(default=False)

    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    objects: ClassVar[Any] = WorkflowRunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=RunStatus.values), name="workflows_run_status_known"),
            models.CheckConstraint(condition=Q(source__in=RunSource.values), name="workflows_run_source_known"),
            models.CheckConstraint(
                condition=Q(_IS_TERMINAL, finished_at__isnull=False) | Q(~_IS_TERMINAL, finished_at__isnull=True),
                name="workflows_run_end_has_time",
            ),
            models.CheckConstraint(
                condition=Q(_IS_FAILURE & ~Q(error_code="")) | Q(~_IS_FAILURE & Q(error_code="")),
                name="workflows_run_failure_has_code",
            ),
            models.CheckConstraint(
                condition=~Q(status=RunStatus.RUNNING) | Q(started_at__isnull=False, lease_expires_at__isnull=False),
                name="workflows_run_running_has_lease",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="workflows_run_by_organization"),
            models.Index(fields=["workflow", "-id"], name="workflows_run_by_workflow"),
            models.Index(
                fields=["organization", "queued_at", "id"],
                name="workflows_run_queue",
                condition=Q(status=RunStatus.QUEUED),
            ),
            models.Index(
                fields=["lease_expires_at"], name="workflows_run_leases", condition=Q(status=RunStatus.RUNNING)
            ),
            models.Index(fields=["wake_at"], name="workflows_run_wakes", condition=Q(status=RunStatus.WAITING)),
            models.Index(fields=["finished_at"], name="workflows_run_checkpoints", condition=Q(has_checkpoints=True)),
            models.Index(
                fields=["schedule_id"],
                name="workflows_run_of_schedule",
                condition=Q(schedule_id__isnull=False, status__in=[status.value for status in LIVE]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.status}"

    @property
    def is_finished(self) -> bool:
        return self.status in TERMINAL


class WorkflowStep(models.Model):
    """One attempt at one node. `path` tells nodes in bodies apart: `summaries[3].write` is in the map's fourth item.

    `input` is what its configuration was resolved to. `is_reused` was taken over from another run and cost nothing.
    """

    id: Any = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(WorkflowRun, on_delete=models.CASCADE, related_name="steps", db_index=False)
    path = models.CharField(max_length=PATH_LENGTH)
    node_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=16)
    attempt = models.PositiveSmallIntegerField(default=1)
    status = models.CharField(max_length=16, choices=StepStatus.choices)
    handle = models.CharField(max_length=64, blank=True)
    input = OrderedJSONField(null=True)
    output = OrderedJSONField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    execution_id = models.UUIDField(null=True)
    input_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    is_reused = models.BooleanField(default=False, db_default=False)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["run", "path", "attempt"], name="workflows_step_unique"),
            models.CheckConstraint(condition=Q(status__in=StepStatus.values), name="workflows_step_status_known"),
            models.CheckConstraint(condition=Q(attempt__gte=1), name="workflows_step_attempt_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.path} {self.status}"


class RunEvent(models.Model):
    """What readers of a run's stream are told. Numbers count up from 1 without a gap, in the order of the commits."""

    pk = models.CompositePrimaryKey("run_id", "number")
    run = models.ForeignKey(WorkflowRun, on_delete=models.CASCADE, related_name="events", db_index=False)
    number = models.PositiveIntegerField()
    type = models.CharField(max_length=32)
    data = OrderedJSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["run_id", "number"]

    def __str__(self) -> str:
        return f"{self.run_id} {self.number} {self.type}"


class ApprovalStatus(models.TextChoices):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Approval(TenantModel):
    """A decision that a run waits for. `assignees` are `user:<e-mail>` and `role:<role>`; empty means any editor.

    `form` is a JSON Schema of the answer's `data`. An answer is given once.
    """

    run = models.ForeignKey(WorkflowRun, on_delete=models.CASCADE, related_name="approvals", db_index=False)
    path = models.CharField(max_length=PATH_LENGTH)
    title = models.CharField(max_length=200, blank=True)
    message = models.TextField(blank=True)
    assignees: Any = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    form = OrderedJSONField(default=dict)
    status = models.CharField(max_length=16, choices=ApprovalStatus.choices, default=ApprovalStatus.PENDING)
    data = OrderedJSONField(null=True)
    comment = models.CharField(max_length=2000, blank=True)
    expires_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["run", "path"], name="workflows_approval_unique"),
            models.CheckConstraint(
                condition=Q(status__in=ApprovalStatus.values), name="workflows_approval_status_known"
            ),
            models.CheckConstraint(
                condition=Q(status=ApprovalStatus.PENDING, decided_at__isnull=True)
                | Q(~Q(status=ApprovalStatus.PENDING), decided_at__isnull=False),
                name="workflows_approval_decision_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["organization", "-id"], name="workflows_approval_newest"),
            models.Index(
                fields=["expires_at"], name="workflows_approval_expiry", condition=Q(status=ApprovalStatus.PENDING)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title or self.path} {self.status}"


auditlog.register(Approval, exclude_fields=["updated_at"])
