"""What starts runs by itself: schedules by the clock, triggers when another system calls."""

from typing import Any, ClassVar, Self

from auditlog.registry import auditlog
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.organizations.models import SigningSecrets, TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from apps.prompts.models import LABEL, LABEL_LENGTH
from apps.workflows.models.workflows import Workflow

CRON_LENGTH = 200
TIMEZONE_LENGTH = 64
ERROR_LENGTH = 500
MAX_QUEUED = 100


class Overlap(models.TextChoices):
    """What becomes of a time at which the schedule's run before has not ended."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_PREVIOUS = "cancel_previous"


class Missed(models.TextChoices):
    """What becomes of times that passed while no worker was there."""

    SKIP = "skip"
    RUN_ONCE = "run_once"
    RUN_ALL = "run_all"


class StarterQuerySet(TenantQuerySet):
    def of_living(self) -> Self:
        """Those whose workflow has not been deleted."""
        return self.filter(workflow__deleted_at__isnull=True)


class Starter(TenantModel):
    """What schedules and triggers have in common.

    `label` names the version that runs; empty is `production`, and without that the current one. Runs are charged to
    `created_by`. `last_error` says why the newest start failed, and is empty once one has succeeded.
    """

    workflow: Any = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    label = models.CharField(max_length=LABEL_LENGTH, blank=True, validators=[LABEL])
    is_active = models.BooleanField(default=True)
    last_run_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_run_id = models.UUIDField(null=True, blank=True, editable=False)
    last_error = models.CharField(max_length=ERROR_LENGTH, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", editable=False
    )

    objects: ClassVar[Any] = StarterQuerySet.as_manager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class WorkflowScheduleQuerySet(StarterQuerySet):
    def due(self, now: Any) -> Self:
        """Those whose time has come, and those with times that wait for the run before to end."""
        is_due = Q(next_run_at__lte=now) | ~Q(queued_times=[])
        return self.of_living().filter(is_due, is_active=True)


class WorkflowSchedule(Starter):
    """A cron expression in a time zone. `next_run_at` is null while it is switched off.

    `queued_times` are those that the overlap `queue` keeps until the run before has ended. `last_skipped_at` is the
    newest time that did not become a run, by overlap or because it was missed.
    """

    cron = models.CharField(max_length=CRON_LENGTH)
    timezone = models.CharField(max_length=TIMEZONE_LENGTH, default="UTC")
    inputs = OrderedJSONField(default=dict, blank=True)
    overlap = models.CharField(max_length=16, choices=Overlap.choices, default=Overlap.SKIP)
    missed = models.CharField(max_length=16, choices=Missed.choices, default=Missed.RUN_ONCE)
    next_run_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_skipped_at = models.DateTimeField(null=True, blank=True, editable=False)
    queued_times: Any = ArrayField(models.DateTimeField(), default=list, blank=True, editable=False)

    objects: ClassVar[Any] = WorkflowScheduleQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(overlap__in=Overlap.values), name="workflows_schedule_overlap_known"),
            models.CheckConstraint(condition=Q(missed__in=Missed.values), name="workflows_schedule_missed_known"),
            models.CheckConstraint(
                condition=~Q(missed=Missed.RUN_ALL) | Q(overlap=Overlap.QUEUE),
                name="workflows_schedule_all_one_by_one",
            ),
            models.CheckConstraint(
                condition=Q(is_active=True, next_run_at__isnull=False) | Q(is_active=False, next_run_at__isnull=True),
                name="workflows_schedule_active_has_time",
            ),
        ]
        indexes = [
            models.Index(fields=["next_run_at"], name="workflows_schedule_due", condition=Q(is_active=True)),
            models.Index(
                fields=["id"],
                name="workflows_schedule_queued",
                condition=Q(is_active=True) & ~Q(queued_times=[]),
            ),
        ]


class WorkflowTrigger(SigningSecrets, Starter):
    """A URL that starts a run when it is called with a signature of the secret (Standard Webhooks).

    `inputs` are values over the root `payload`, which is the call's body; null takes the body itself as inputs.
    """

    inputs = OrderedJSONField(null=True, blank=True)

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(previous_encrypted_secret__isnull=True) | Q(previous_secret_expires_at__isnull=False),
                name="workflows_trigger_old_secret_ends",
            )
        ]


auditlog.register(
    WorkflowSchedule,
    exclude_fields=["updated_at", "next_run_at", "last_run_at", "last_run_id", "last_skipped_at", "queued_times"],
)
auditlog.register(
    WorkflowTrigger,
    exclude_fields=["updated_at", "last_run_at", "last_run_id"],
    mask_fields=["encrypted_secret", "previous_encrypted_secret"],
)
