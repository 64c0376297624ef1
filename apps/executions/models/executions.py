"""Executions, what was said in them, and each try at a provider.

No foreign keys lead out of here: the history outlives what it tells of, and an insert checks nothing elsewhere.
"""

from typing import Any, Self

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from apps.executions.keys import id_bound
from apps.organizations.models import TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from everquant.db import uuid7

UNIT_ID_LENGTH = 200
COST_DIGITS, COST_PLACES = 24, 12
INTERRUPTED = "INTERRUPTED"


class Status(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Source(models.TextChoices):
    """Who asked."""

    API = "api"
    BATCH = "batch"
    WORKFLOW = "workflow"
    EVALUATION = "evaluation"
    JUDGE = "judge"
    GATEWAY = "gateway"


TERMINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
TRANSITIONS: dict[str, tuple[Status, ...]] = {
    Status.QUEUED: (Status.RUNNING, Status.FAILED, Status.CANCELLED),
    Status.RUNNING: (*TERMINAL, Status.QUEUED),
}
_IS_TERMINAL = Q(status__in=[status.value for status in TERMINAL])
_NUMBERS = (
    "version_number", "batch_row", "ab_phase", "input_tokens", "cached_input_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "output_tokens", "reasoning_tokens", "queue_ms", "latency_ms", "first_token_ms",
    "attempt_count",
)  # fmt: skip
_NUMBERS_OF_ATTEMPT = ("number", "status", "latency_ms", "first_token_ms", "input_tokens", "output_tokens")


def _not_negative(names: tuple[str, ...]) -> Q:
    """One check for all numbers: those that the columns bring with them would be parsed for every statement."""
    return Q(**{f"{name}__gte": 0 for name in names})


class ExecutionQuerySet(TenantQuerySet):
    def whole(self) -> Self:
        """With the payload and the attempts: two queries in all."""
        return self.select_related("payload").prefetch_related("attempts")

    def interrupted(self) -> Self:
        """Those whose process must be gone: still running after their lease."""
        return self.filter(status=Status.RUNNING, lease_expires_at__lt=timezone.now())

    def created_from(self, moment: Any) -> Self:
        """Those made at this time or later; by key, so that older partitions are not read."""
        return self.filter(id__gte=id_bound(moment))

    def created_before(self, moment: Any) -> Self:
        return self.filter(id__lt=id_bound(moment))


class Execution(models.Model):
    """One call of a model on behalf of an organization. `model_id` is the model that answered (or was tried last).

    The table is partitioned by month on its key. `lease_expires_at` is when the call has ended for certain, if its
    process lives. `price` is the row that `cost_usd` was computed with; both are null when no price is known.
    `is_background` says that a worker makes the call; `batch_row` is the place in a batch or an evaluation, and what a
    workflow's node calls has its run's id. `saved_cost_usd` is what an answer from the response cache would have cost.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization_id = models.UUIDField()
    source = models.CharField(max_length=16, choices=Source.choices, default=Source.API)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    is_streamed = models.BooleanField(default=False)
    is_background = models.BooleanField(default=False, db_default=False)
    batch_id = models.UUIDField(null=True)
    batch_row = models.PositiveIntegerField(null=True)
    retry_of_id = models.UUIDField(null=True)
    workflow_id = models.UUIDField(null=True)
    workflow_run_id = models.UUIDField(null=True)
    prompt_id = models.UUIDField(null=True)
    prompt_version_id = models.UUIDField(null=True)
    version_number = models.PositiveIntegerField(null=True)
    model_id = models.UUIDField(null=True)
    provider_model = models.CharField(max_length=200, blank=True)
    unit_id = models.CharField(max_length=UNIT_ID_LENGTH, blank=True)
    ab_test_id = models.UUIDField(null=True)
    ab_variant = models.CharField(max_length=64, blank=True)
    ab_phase = models.PositiveIntegerField(null=True)
    created_by_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    metadata = models.JSONField(default=dict)

    finish_reason = models.CharField(max_length=32, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    input_tokens = models.PositiveIntegerField(null=True)
    cached_input_tokens = models.PositiveIntegerField(null=True)
    cache_write_tokens = models.PositiveIntegerField(null=True)
    cache_write_1h_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)
    reasoning_tokens = models.PositiveIntegerField(null=True)
    cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    price = models.JSONField(null=True)
    is_usage_estimated = models.BooleanField(default=False, db_default=False)
    is_cached = models.BooleanField(default=False, db_default=False)
    saved_cost_usd = models.DecimalField(max_digits=COST_DIGITS, decimal_places=COST_PLACES, null=True)
    queue_ms = models.PositiveIntegerField(default=0)
    latency_ms = models.PositiveIntegerField(null=True)
    first_token_ms = models.PositiveIntegerField(null=True)
    attempt_count = models.PositiveSmallIntegerField(default=0)

    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    objects = ExecutionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="executions_execution_status_known"),
            models.CheckConstraint(condition=Q(source__in=Source.values), name="executions_execution_source_known"),
            models.CheckConstraint(
                condition=Q(_IS_TERMINAL, finished_at__isnull=False) | Q(~_IS_TERMINAL, finished_at__isnull=True),
                name="executions_execution_end_has_time",
            ),
            models.CheckConstraint(
                condition=Q(~Q(error_code=""), status=Status.FAILED) | Q(~Q(status=Status.FAILED), error_code=""),
                name="executions_execution_failure_has_code",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.RUNNING) | Q(started_at__isnull=False, lease_expires_at__isnull=False),
                name="executions_execution_running_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(cost_usd__isnull=True) | Q(cost_usd__gte=0, price__isnull=False),
                name="executions_execution_cost_has_price",
            ),
            models.CheckConstraint(condition=_not_negative(_NUMBERS), name="executions_execution_not_negative"),
        ]
        indexes = [
            models.Index(fields=["organization_id", "-id"], name="executions_by_organization"),
            models.Index(fields=["organization_id", "prompt_id", "-id"], name="executions_by_prompt"),
            models.Index(fields=["organization_id", "model_id", "-id"], name="executions_by_model"),
            models.Index(fields=["organization_id", "prompt_version_id", "-id"], name="executions_by_version"),
            models.Index(
                fields=["organization_id", "created_by_id", "-id"],
                name="executions_by_user",
                condition=Q(created_by_id__isnull=False),
            ),
            models.Index(
                fields=["organization_id", "api_key_id", "-id"],
                name="executions_by_api_key",
                condition=Q(api_key_id__isnull=False),
            ),
            models.Index(
                fields=["organization_id", "-id"],
                name="executions_unsuccessful",
                condition=Q(status__in=[Status.FAILED, Status.CANCELLED]),
            ),
            models.Index(fields=["lease_expires_at"], name="executions_leases", condition=Q(status=Status.RUNNING)),
            models.Index(
                fields=["organization_id", "unit_id", "-id"], name="executions_by_unit", condition=~Q(unit_id="")
            ),
            models.Index(
                fields=["batch_id", "batch_row"], name="executions_by_batch", condition=Q(batch_id__isnull=False)
            ),
            models.Index(
                fields=["organization_id", "workflow_run_id"],
                name="executions_by_workflow_run",
                condition=Q(workflow_run_id__isnull=False),
            ),
            models.Index(
                fields=["organization_id", "ab_test_id", "-id"],
                name="executions_by_ab_test",
                condition=Q(ab_test_id__isnull=False),
            ),
            models.Index(
                F("organization_id"),
                F("batch_row").asc(nulls_first=True),
                F("id"),
                name="executions_queue",
                condition=Q(status=Status.QUEUED),
            ),
            GinIndex(fields=["metadata"], name="executions_by_metadata", condition=~Q(metadata={})),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.status}"

    @property
    def is_finished(self) -> bool:
        return self.status in TERMINAL

    @property
    def kept_payload(self) -> "ExecutionPayload":
        """The payload, or an empty one that says `is_purged`."""
        try:
            return self.payload
        except ExecutionPayload.DoesNotExist:
            empty = ExecutionPayload(execution_id=self.id, messages=[])
            empty.is_purged = True
            return empty

    def start(self, *, lease_expires_at: Any) -> bool:
        return self._move_to(Status.RUNNING, started_at=timezone.now(), lease_expires_at=lease_expires_at)

    def fail(self, *, code: str, message: str) -> bool:
        return self._move_to(Status.FAILED, error_code=code, error_message=message, finished_at=timezone.now())

    def cancel(self) -> bool:
        return self._move_to(Status.CANCELLED, finished_at=timezone.now())

    def hand_back(self, *, attempt_count: int) -> bool:
        """Of a worker that ends to the next one, before anything has come; not what was to be cancelled."""
        return self._move_to(
            Status.QUEUED,
            Q(cancel_requested_at__isnull=True),
            started_at=None,
            lease_expires_at=None,
            attempt_count=attempt_count,
        )

    def _move_to(self, status: Status, *conditions: Q, **changes: Any) -> bool:
        """Whether the stored row was in a state from which this one is reached; else nothing is written."""
        sources = [source for source, targets in TRANSITIONS.items() if status in targets]
        row = Execution.objects.filter(*conditions, id=self.id, status__in=sources)
        changed = row.update(status=status, **changes)
        if changed:
            for name, value in {"status": status, **changes}.items():
                setattr(self, name, value)
        return bool(changed)


class ExecutionPayload(models.Model):
    """What was sent and what came back: everything large, beside the row that lists and counts read.

    `cache_ttl_s` is how old an answer from the response cache may be; null keeps out of the cache. `is_purged` is of
    this object alone: it stands in for a row that retention has deleted.
    """

    is_purged = False

    execution = models.OneToOneField(
        Execution, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="payload"
    )
    variables = OrderedJSONField(default=dict)
    messages = OrderedJSONField()
    parameters = OrderedJSONField(default=dict)
    tools = OrderedJSONField(null=True)
    response_schema = OrderedJSONField(null=True)
    cache_ttl_s = models.PositiveIntegerField(null=True)
    output = models.TextField(null=True)  # noqa: DJ001 (null says: nothing came)
    tool_calls = OrderedJSONField(default=list)

    class Meta:
        ordering = ["-execution_id"]

    def __str__(self) -> str:
        return str(self.execution_id)


class ExecutionAttempt(models.Model):
    """One request to one provider. `status` is the provider's HTTP status, null when there was no answer."""

    pk = models.CompositePrimaryKey("execution_id", "number")
    execution = models.ForeignKey(
        Execution, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="attempts"
    )
    number = models.PositiveSmallIntegerField()
    model_id = models.UUIDField()
    provider_id = models.UUIDField()
    provider_model = models.CharField(max_length=200)
    status = models.PositiveSmallIntegerField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    provider_request_id = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField()
    latency_ms = models.PositiveIntegerField()
    first_token_ms = models.PositiveIntegerField(null=True)
    input_tokens = models.PositiveIntegerField(null=True)
    output_tokens = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["execution_id", "number"]
        constraints = [
            models.CheckConstraint(
                condition=_not_negative(_NUMBERS_OF_ATTEMPT), name="executions_executionattempt_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.execution_id} try {self.number}"
