"""Where an organization wants to be told of events, what was sent there, and each attempt to send it."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from auditlog.registry import auditlog
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.organizations.models.organizations import (
    SoftDeleteTenantModel,
    SoftDeleteTenantQuerySet,
    TenantModel,
    TenantQuerySet,
)
from everquant.db import BaseModel
from everquant.encryption import decrypt, encrypt

SECRET_OVERLAP = timedelta(hours=24)
REASON_LENGTH = 200
ERROR_LENGTH = 300


class EventType(models.TextChoices):
    """Every event that can be told of."""

    EXECUTION_COMPLETED = "execution.completed"
    EXECUTION_FAILED = "execution.failed"
    EXECUTION_CANCELLED = "execution.cancelled"
    BATCH_COMPLETED = "batch.completed"
    BUDGET_ALERT = "budget.alert"
    WORKFLOW_RUN_COMPLETED = "workflow_run.completed"
    WORKFLOW_RUN_FAILED = "workflow_run.failed"
    WORKFLOW_RUN_CANCELLED = "workflow_run.cancelled"
    APPROVAL_REQUESTED = "approval.requested"
    EVALUATION_COMPLETED = "evaluation.completed"
    EVALUATION_FAILED = "evaluation.failed"
    EVALUATION_CANCELLED = "evaluation.cancelled"
    AB_TEST_PAUSED = "ab_test.paused"
    ALERT_FIRED = "alert.fired"
    ALERT_RESOLVED = "alert.resolved"
    WEBHOOK_TEST = "webhook.test"


class SigningSecrets(models.Model):
    """A secret that signs, and for a while the one before it. Both are stored encrypted."""

    encrypted_secret = models.BinaryField(editable=False)
    previous_encrypted_secret = models.BinaryField(null=True, editable=False)
    previous_secret_expires_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    def set_secret(self, secret: str) -> None:
        """Of this object only, until it is saved."""
        self.encrypted_secret = encrypt(secret)

    def replace_secret(self, secret: str, now: datetime) -> None:
        """The old secret signs beside the new one for a day; one that was older still ends at once."""
        self.previous_encrypted_secret = self.encrypted_secret
        self.previous_secret_expires_at = now + SECRET_OVERLAP
        self.set_secret(secret)

    def reveal_secrets(self, now: datetime) -> list[str]:
        """Those that sign now, the newest first; raises DecryptionError."""
        sealed = [self.encrypted_secret]
        if self.previous_encrypted_secret is not None and self.previous_secret_expires_at > now:  # type: ignore[operator]  # by constraint
            sealed.append(self.previous_encrypted_secret)
        return [decrypt(secret).decode() for secret in sealed]


class WebhookEndpointQuerySet(SoftDeleteTenantQuerySet):  # type: ignore[override]  # as_manager()
    def usable(self) -> "WebhookEndpointQuerySet":
        return self.filter(deleted_at__isnull=True, is_active=True)


class WebhookEndpoint(SigningSecrets, SoftDeleteTenantModel):
    """A URL that is sent the events it asks for, signed with its secret.

    `failing_since` is the first failure after the last success. `disabled_reason` says why deliveries ended by
    themselves; it is empty where a person switched the endpoint off.
    """

    name = models.CharField(max_length=100)
    url = models.CharField(max_length=500)
    event_types = ArrayField(models.CharField(max_length=64, choices=EventType.choices))
    is_active = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=REASON_LENGTH, blank=True, editable=False)
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[Any] = WebhookEndpointQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(event_types__len__gt=0), name="organizations_webhookendpoint_has_event_types"
            ),
            models.CheckConstraint(
                condition=Q(previous_encrypted_secret__isnull=True) | Q(previous_secret_expires_at__isnull=False),
                name="organizations_webhookendpoint_old_secret_ends",
            ),
        ]
        indexes = [
            models.Index(
                fields=["organization"],
                condition=Q(is_active=True, deleted_at__isnull=True),
                name="organizations_webhook_usable",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def disable(self, reason: str) -> None:
        """Nothing is sent any more until a person activates it again."""
        if self.is_active:
            self.is_active, self.disabled_reason = False, reason[:REASON_LENGTH]
            self.save_fields("is_active", "disabled_reason")


class DeliveryStatus(models.TextChoices):
    """`pending` becomes one of the others; delivering again makes it pending once more."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class WebhookDeliveryQuerySet(TenantQuerySet):
    def pending(self) -> "WebhookDeliveryQuerySet":
        return self.filter(status=DeliveryStatus.PENDING)

    def unclaimed(self, now: datetime) -> "WebhookDeliveryQuerySet":
        """Those that nobody is sending, or whose sender has not been heard of for too long."""
        return self.filter(Q(claim_id__isnull=True) | Q(claim_expires_at__lte=now))


class WebhookDelivery(TenantModel):
    """One event on its way to one endpoint. `event_id` stays the same whatever happens to it.

    Whoever sends it holds the claim, by `claim_id`, until `claim_expires_at`. `attempts` are all that were made,
    `attempts_before` those before it was last asked to be delivered again. `job_id` is the job that is to send it.
    """

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event_id = models.CharField(max_length=64)
    event_type = models.CharField(max_length=64, choices=EventType.choices)
    payload = models.JSONField()
    status = models.CharField(max_length=16, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    attempts_before = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True, default=timezone.now)
    claim_id = models.UUIDField(null=True, blank=True)
    claim_expires_at = models.DateTimeField(null=True, blank=True)
    job_id = models.BigIntegerField(null=True, blank=True)
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=ERROR_LENGTH, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "event_id"], name="organizations_webhookdelivery_event_unique"),
            models.CheckConstraint(
                condition=Q(status__in=DeliveryStatus.values), name="organizations_webhookdelivery_status_known"
            ),
            models.CheckConstraint(
                condition=Q(status=DeliveryStatus.PENDING, next_attempt_at__isnull=False)
                | (~Q(status=DeliveryStatus.PENDING) & Q(next_attempt_at__isnull=True, claim_id__isnull=True)),
                name="organizations_webhookdelivery_pending_is_due",
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(status="pending"), name="organizations_delivery_due"),
            models.Index(
                fields=["organization"], condition=Q(claim_id__isnull=False), name="organizations_delivery_taken"
            ),
            models.Index(fields=["endpoint", "-id"], name="organizations_delivery_list"),
            models.Index(fields=["created_at"], name="organizations_delivery_age"),
        ]

    def __str__(self) -> str:
        return self.event_id


class WebhookAttempt(BaseModel):
    """What came of one attempt: the HTTP status and the beginning of the answer, or why there was none."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="attempt_rows")
    number = models.PositiveIntegerField()
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    latency_ms = models.PositiveIntegerField()
    response_excerpt = models.TextField(blank=True)
    error = models.CharField(max_length=ERROR_LENGTH, blank=True)

    class Meta:
        ordering = ["delivery", "number"]
        constraints = [
            models.UniqueConstraint(fields=["delivery", "number"], name="organizations_webhookattempt_number_unique")
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id} #{self.number}"


auditlog.register(
    WebhookEndpoint,
    exclude_fields=["updated_at", "failing_since"],
    mask_fields=["encrypted_secret", "previous_encrypted_secret"],
)
