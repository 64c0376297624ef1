"""What organizations want to be told of, and what they were told."""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from auditlog.registry import auditlog
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from apps.organizations.models import DeliveryStatus, TenantModel, TenantQuerySet
from apps.users.permissions import Role

LEAST_WINDOW_MINUTES, MOST_WINDOW_MINUTES = 5, 30 * 1440
MOST_COOLDOWN_MINUTES = 7 * 1440
MOST_COUNT = 1_000_000
MOST_EMAILS = 20
EMAIL_LENGTH = 254
SCORE_NAME_LENGTH = 100
REASON_LENGTH = 500
MESSAGE_LENGTH = 1000
ERROR_LENGTH = 200


class AlertMetric(models.TextChoices):
    """A share, milliseconds, USD, or the score's own unit."""

    ERROR_RATE = "error_rate"
    LATENCY_P50 = "latency_p50_ms"
    LATENCY_P95 = "latency_p95_ms"
    LATENCY_P99 = "latency_p99_ms"
    COST = "cost_usd"
    SPEND_RATE = "spend_rate_usd_per_hour"
    SCORE_MEAN = "score_mean"


class AlertDirection(models.TextChoices):
    ABOVE = "above"
    BELOW = "below"


class AlertBaseline(models.TextChoices):
    """What the window is compared with: nothing, the window right before it, or the same one a day or a week ago."""

    NONE = "none"
    PREVIOUS = "previous"
    DAY_BEFORE = "day_before"
    WEEK_BEFORE = "week_before"


class AlertState(models.TextChoices):
    OK = "ok"
    FIRING = "firing"


def default_roles() -> list[str]:
    return [Role.ADMIN.value]


class AlertQuerySet(TenantQuerySet):
    def due(self, now: datetime) -> Self:
        """Of organizations that are active those that nobody has evaluated in the last half minute.

        Windows of more than a day, which change slowly and may have much to read, wait for almost five.
        """
        rested = Q(evaluated_at__isnull=True) | Q(evaluated_at__lte=now - timedelta(seconds=270))
        rested |= Q(evaluated_at__lte=now - timedelta(seconds=30), window_minutes__lte=1440)
        return self.filter(rested, is_active=True, organization__is_active=True)


class Alert(TenantModel):
    """It fires when the metric of the last `window_minutes` is beyond the threshold.

    Without a baseline the threshold is in the metric's unit, with one it is the change as a share of the baseline.
    Fewer than `min_count` executions (scores, of a mean of scores) tell nothing. `filters` has lists of values by
    dimension. `firing_since` is set while an event is open; `known_at` is when the metric was last known.
    """

    name = models.CharField(max_length=200)
    is_active = models.BooleanField(default=True)
    metric = models.CharField(max_length=32, choices=AlertMetric.choices)
    score_name = models.CharField(max_length=SCORE_NAME_LENGTH, blank=True)
    filters = models.JSONField(default=dict, blank=True)
    direction = models.CharField(max_length=8, choices=AlertDirection.choices, default=AlertDirection.ABOVE)
    threshold = models.FloatField()
    baseline = models.CharField(max_length=16, choices=AlertBaseline.choices, default=AlertBaseline.NONE)
    window_minutes = models.PositiveIntegerField()
    min_count = models.PositiveIntegerField()
    fires_on_no_data = models.BooleanField(default=False)
    cooldown_minutes = models.PositiveIntegerField(default=30)
    roles: Any = ArrayField(models.CharField(max_length=16, choices=Role.choices), default=default_roles, blank=True)
    emails: Any = ArrayField(models.CharField(max_length=EMAIL_LENGTH), default=list, blank=True, size=MOST_EMAILS)
    muted_until = models.DateTimeField(null=True, blank=True)
    mute_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    firing_since = models.DateTimeField(null=True, blank=True, editable=False)
    evaluated_at = models.DateTimeField(null=True, blank=True, editable=False)
    known_at = models.DateTimeField(null=True, blank=True, editable=False)
    tested_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[Any] = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(metric__in=AlertMetric.values), name="analytics_alert_metric_known"),
            models.CheckConstraint(
                condition=Q(direction__in=AlertDirection.values), name="analytics_alert_direction_known"
            ),
            models.CheckConstraint(
                condition=Q(baseline__in=AlertBaseline.values), name="analytics_alert_baseline_known"
            ),
            models.CheckConstraint(
                condition=Q(window_minutes__range=(LEAST_WINDOW_MINUTES, MOST_WINDOW_MINUTES)),
                name="analytics_alert_window",
            ),
            models.CheckConstraint(
                condition=Q(metric=AlertMetric.SCORE_MEAN) & ~Q(score_name="")
                | ~Q(metric=AlertMetric.SCORE_MEAN) & Q(score_name=""),
                name="analytics_alert_score_named",
            ),
        ]
        indexes = [
            models.Index(fields=["evaluated_at"], condition=Q(is_active=True), name="analytics_alert_due"),
            models.Index(fields=["organization", "name", "id"], name="analytics_alert_list"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> AlertState:
        return AlertState.OK if self.firing_since is None else AlertState.FIRING

    @property
    def window(self) -> timedelta:
        return timedelta(minutes=self.window_minutes)

    def is_muted(self, now: datetime) -> bool:
        return self.muted_until is not None and self.muted_until > now


_OWED = Q(resolved_at__isnull=True, fired_told_at__isnull=True) | Q(
    resolved_at__isnull=False, fired_told_at__isnull=False, resolved_told_at__isnull=True
)


class AlertEventQuerySet(TenantQuerySet):
    def open(self) -> Self:
        return self.filter(resolved_at__isnull=True)

    def owed(self) -> Self:
        """Open ones that nobody was told of, and those whose end nobody was told of though the beginning was."""
        return self.filter(_OWED)


class AlertEvent(TenantModel):
    """One breach, from when the alert fired until it was resolved. `condition` is what the alert asked for then.

    `value` and `baseline_value` are in the metric's unit, null where unknown; `count` is of executions or scores.
    """

    class Reason(models.TextChoices):
        THRESHOLD = "threshold"
        CHANGE = "change"
        NO_DATA = "no_data"

    class Resolution(models.TextChoices):
        RECOVERED = "recovered"
        NO_DATA = "no_data"
        CHANGED = "changed"
        DELETED = "deleted"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    reason = models.CharField(max_length=16, choices=Reason.choices)
    condition = models.JSONField()
    message = models.CharField(max_length=MESSAGE_LENGTH)
    threshold = models.FloatField()
    value = models.FloatField(null=True)
    count = models.PositiveBigIntegerField()
    baseline_value = models.FloatField(null=True)
    baseline_count = models.PositiveBigIntegerField(null=True)
    fired_at = models.DateTimeField()
    fired_told_at = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    resolved_told_at = models.DateTimeField(null=True)
    resolution = models.CharField(max_length=16, choices=Resolution.choices, blank=True)
    resolved_value = models.FloatField(null=True)

    objects: ClassVar[Any] = AlertEventQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["alert"], condition=Q(resolved_at__isnull=True), name="analytics_alertevent_one_open"
            ),
            models.CheckConstraint(
                condition=Q(resolved_at__isnull=True, resolution="")
                | Q(resolved_at__gte=F("fired_at")) & ~Q(resolution=""),
                name="analytics_alertevent_resolved",
            ),
        ]
        indexes = [
            models.Index(fields=["alert", "-id"], name="analytics_alertevent_list"),
            models.Index(fields=["alert"], condition=_OWED, name="analytics_alertevent_owed"),
            models.Index(fields=["resolved_at"], name="analytics_alertevent_age"),
        ]

    def __str__(self) -> str:
        return self.message

    @property
    def mails(self) -> dict[str, Any]:
        """How many letters there are of each status, and the last error of one that was not sent."""
        letters = list(self.letters.all())
        counts = {status.value: sum(letter.status == status for letter in letters) for status in DeliveryStatus}
        errors = [letter.last_error for letter in letters if letter.last_error]
        return {**counts, "last_error": errors[-1] if errors else ""}


class AlertLetter(TenantModel):
    """A mail that tells one address that an event has fired or is resolved. `last_error` is empty once it is sent."""

    class About(models.TextChoices):
        FIRED = "fired"
        RESOLVED = "resolved"

    event = models.ForeignKey(AlertEvent, on_delete=models.CASCADE, related_name="letters")
    about = models.CharField(max_length=8, choices=About.choices)
    email = models.CharField(max_length=EMAIL_LENGTH)
    status = models.CharField(max_length=16, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=ERROR_LENGTH, blank=True)

    class Meta:
        ordering = ["updated_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["event", "about", "email"], name="analytics_alertletter_unique"),
            models.CheckConstraint(
                condition=Q(status__in=DeliveryStatus.values), name="analytics_alertletter_status_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.about} to {self.email}"


auditlog.register(Alert, exclude_fields=["updated_at", "firing_since", "evaluated_at", "known_at", "tested_at"])
