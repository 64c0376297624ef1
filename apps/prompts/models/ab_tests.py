"""A/B tests of a prompt: variants that share its traffic, by which weights since when, and which unit has which."""

import secrets
from datetime import datetime
from typing import Any, ClassVar, Self

from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.models.models import LLMModel
from apps.organizations.models import SoftDeleteTenantModel, SoftDeleteTenantQuerySet, TenantModel
from apps.prompts.fields import OrderedJSONField
from apps.prompts.models.prompts import LABEL, LABEL_LENGTH, PRODUCTION, Prompt, PromptVersion
from everquant.api.errors import Conflict

VARIANT_LENGTH = 64
UNIT_LENGTH = 200
REASON_LENGTH = 500
METRIC_LENGTH = 64
MAX_VARIANTS = 10


def new_salt() -> str:
    return secrets.token_hex(16)


class ABTestStatus(models.TextChoices):
    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


AB_TEST_TRANSITIONS: dict[str, tuple[ABTestStatus, ...]] = {
    ABTestStatus.DRAFT: (ABTestStatus.RUNNING,),
    ABTestStatus.RUNNING: (ABTestStatus.PAUSED, ABTestStatus.STOPPED),
    ABTestStatus.PAUSED: (ABTestStatus.RUNNING, ABTestStatus.STOPPED),
    ABTestStatus.STOPPED: (ABTestStatus.PROMOTED, ABTestStatus.ROLLED_BACK),
    ABTestStatus.PROMOTED: (ABTestStatus.ROLLED_BACK,),
}
AB_TEST_LIVE = (ABTestStatus.RUNNING, ABTestStatus.PAUSED)


class ABTestQuerySet(SoftDeleteTenantQuerySet):  # type: ignore[override] # the stubs mistake as_manager of two bases
    def live(self) -> Self:
        """Those that decide what their prompt's traffic gets: running, and paused."""
        return self.filter(status__in=AB_TEST_LIVE)

    def running(self) -> Self:
        return self.filter(status=ABTestStatus.RUNNING)


class ABTest(SoftDeleteTenantModel):
    """Several variants of a prompt, compared on real traffic.

    A unit is what is assigned: whoever `unit_id` names, or a single request without one. `exposed_share` of the units
    that `segments` let in take part; the rest, and everybody while it is paused, gets the control.
    `metrics` and `guardrails` are lists of objects, see apps/evaluations/ab_tests/measures.py. `min_effect` is in the
    primary metric's own unit, `planned_units` over all variants. `paused_at` and `resumed_at` are of the last time,
    each with its reason. `label` is what promotion moves, `replaced_version` the version that it named before,
    `promoted_version` the one since. `final_results` are those of the moment of the stop. In `bandit` mode weights
    follow what was seen.
    """

    class Mode(models.TextChoices):
        FIXED = "fixed"
        BANDIT = "bandit"

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="ab_tests", db_index=False)
    name = models.CharField(max_length=200)
    hypothesis = models.TextField(blank=True, max_length=5000)
    status = models.CharField(max_length=16, choices=ABTestStatus.choices, default=ABTestStatus.DRAFT)
    mode = models.CharField(max_length=8, choices=Mode.choices, default=Mode.FIXED)
    label = models.CharField(max_length=LABEL_LENGTH, validators=[LABEL], default=PRODUCTION)
    salt = models.CharField(max_length=32, default=new_salt, editable=False)
    exposed_share = models.FloatField(default=1.0)
    segments = OrderedJSONField(default=dict)
    metrics = OrderedJSONField(default=list)
    primary_metric = models.CharField(max_length=METRIC_LENGTH)
    min_effect = models.FloatField()
    alpha = models.FloatField(default=0.05)
    power = models.FloatField(default=0.8)
    guardrails = OrderedJSONField(default=list)
    planned_units = models.PositiveBigIntegerField(null=True)
    phase = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    pause_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    resumed_at = models.DateTimeField(null=True)
    resume_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    stopped_at = models.DateTimeField(null=True)
    stop_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    concluded_at = models.DateTimeField(null=True)
    conclusion_reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    winner = models.CharField(max_length=VARIANT_LENGTH, blank=True)
    replaced_version = models.ForeignKey(
        PromptVersion, on_delete=models.RESTRICT, null=True, related_name="+", db_index=False
    )
    promoted_version = models.ForeignKey(
        PromptVersion, on_delete=models.RESTRICT, null=True, related_name="+", db_index=False
    )
    final_results = OrderedJSONField(null=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    objects: ClassVar[Any] = ABTestQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "A/B test"
        constraints = [
            models.CheckConstraint(condition=Q(status__in=ABTestStatus.values), name="prompts_abtest_status_known"),
            models.CheckConstraint(condition=Q(mode__in=["fixed", "bandit"]), name="prompts_abtest_mode_known"),
            models.UniqueConstraint(
                fields=["prompt"], condition=Q(status__in=["running", "paused"]), name="prompts_abtest_one_live"
            ),
            models.CheckConstraint(
                condition=Q(exposed_share__gte=0, exposed_share__lte=1), name="prompts_abtest_share_range"
            ),
            models.CheckConstraint(condition=Q(alpha__gt=0, alpha__lt=0.5), name="prompts_abtest_alpha_range"),
            models.CheckConstraint(condition=Q(power__gte=0.5, power__lt=1), name="prompts_abtest_power_range"),
            models.CheckConstraint(condition=Q(min_effect__gt=0), name="prompts_abtest_effect_positive"),
            models.CheckConstraint(
                condition=Q(status="draft", started_at__isnull=True, phase=0)
                | Q(~Q(status="draft"), started_at__isnull=False, phase__gte=1),
                name="prompts_abtest_started_has_phase",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["draft", "running", "paused"], stopped_at__isnull=True)
                | Q(status__in=["stopped", "promoted", "rolled_back"], stopped_at__isnull=False),
                name="prompts_abtest_stopped_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(status="promoted") | Q(promoted_version__isnull=False, concluded_at__isnull=False),
                name="prompts_abtest_promoted_has_version",
            ),
        ]
        indexes = [models.Index(fields=["organization", "-id"], name="prompts_abtest_newest")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_live(self) -> bool:
        """Whether it decides what its prompt's traffic gets."""
        return self.status in AB_TEST_LIVE

    def start(self, *, planned_units: int | None) -> None:
        """Raises Conflict, as all that follow, for what cannot become of it in its state."""
        self.check_becoming(ABTestStatus.RUNNING, "started", source=ABTestStatus.DRAFT)
        self._become(ABTestStatus.RUNNING, started_at=timezone.now(), phase=1, planned_units=planned_units)

    def pause(self, *, reason: str, at: datetime | None = None) -> None:
        self.check_becoming(ABTestStatus.PAUSED, "paused")
        self._become(ABTestStatus.PAUSED, paused_at=at or timezone.now(), pause_reason=reason)

    def resume(self, *, reason: str) -> None:
        self.check_becoming(ABTestStatus.RUNNING, "resumed", source=ABTestStatus.PAUSED)
        self._become(ABTestStatus.RUNNING, resumed_at=timezone.now(), resume_reason=reason)

    def stop(self, *, reason: str) -> None:
        self.check_becoming(ABTestStatus.STOPPED, "stopped")
        self._become(ABTestStatus.STOPPED, stopped_at=timezone.now(), stop_reason=reason)

    def promote(
        self, *, winner: str, replaced_version: PromptVersion | None, promoted_version: PromptVersion, reason: str
    ) -> None:
        self.check_becoming(ABTestStatus.PROMOTED, "promoted")
        self._become(
            ABTestStatus.PROMOTED,
            winner=winner,
            replaced_version=replaced_version,
            promoted_version=promoted_version,
            concluded_at=timezone.now(),
            conclusion_reason=reason,
        )

    def roll_back(self, *, reason: str) -> None:
        """Also of one that was only stopped: it concludes with everything as it was."""
        self.check_becoming(ABTestStatus.ROLLED_BACK, "rolled back")
        self._become(ABTestStatus.ROLLED_BACK, concluded_at=timezone.now(), conclusion_reason=reason)

    def check_becoming(self, status: ABTestStatus, said: str, *, source: ABTestStatus | None = None) -> None:
        """Raises Conflict saying that it cannot be `said` in its state. With a source, from that one only."""
        sources = [source] if source else [one for one, targets in AB_TEST_TRANSITIONS.items() if status in targets]
        if self.status in sources:
            return
        hint = ": stop it first" if self.is_live and ABTestStatus.STOPPED in sources else ""
        state = self.get_status_display().lower()
        raise Conflict(f"A test that is {state} cannot be {said}{hint}.", details={"status": self.status})

    def _become(self, status: ABTestStatus, **changes: Any) -> None:
        for name, value in {"status": status, **changes}.items():
            setattr(self, name, value)
        self.save_fields("status", *changes)


class ABVariant(TenantModel):
    """A version with a model and parameters in place of its own (null and empty: the version's). Fixed at the start.

    `weight` is the share of new units in the current phase.
    """

    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="variants", db_index=False)
    name = models.CharField(max_length=VARIANT_LENGTH, validators=[LABEL])
    position = models.PositiveSmallIntegerField()
    is_control = models.BooleanField(default=False)
    weight = models.FloatField()
    version = models.ForeignKey(PromptVersion, on_delete=models.RESTRICT, related_name="+")
    model = models.ForeignKey(LLMModel, on_delete=models.PROTECT, null=True, related_name="+")
    parameters = OrderedJSONField(default=dict)

    class Meta:
        ordering = ["position", "id"]
        verbose_name = "A/B variant"
        constraints = [
            models.UniqueConstraint(fields=["test", "name"], name="prompts_abvariant_name_unique"),
            models.UniqueConstraint(fields=["test", "position"], name="prompts_abvariant_position_unique"),
            models.UniqueConstraint(
                fields=["test"], condition=Q(is_control=True), name="prompts_abvariant_one_control"
            ),
            models.CheckConstraint(condition=Q(weight__gte=0, weight__lte=1), name="prompts_abvariant_weight_range"),
        ]

    def __str__(self) -> str:
        return self.name


class ABPhase(TenantModel):
    """A while in which the weights (variant → share) were these. Units belong to the phase that they were first in."""

    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="phases", db_index=False)
    number = models.PositiveIntegerField()
    weights = OrderedJSONField()
    reason = models.CharField(max_length=REASON_LENGTH, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["number", "id"]
        verbose_name = "A/B phase"
        constraints = [
            models.UniqueConstraint(fields=["test", "number"], name="prompts_abphase_number_unique"),
            models.UniqueConstraint(
                fields=["test"], condition=Q(ended_at__isnull=True), name="prompts_abphase_one_open"
            ),
        ]

    def __str__(self) -> str:
        return f"phase {self.number}"


class ABAssignment(models.Model):
    """The first assignment of a unit that has an id, which stays whatever the weights become."""

    pk = models.CompositePrimaryKey("test_id", "unit_id")
    test = models.ForeignKey(ABTest, on_delete=models.CASCADE, related_name="assignments", db_index=False)
    unit_id = models.CharField(max_length=UNIT_LENGTH)
    variant = models.CharField(max_length=VARIANT_LENGTH)
    phase = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["test_id", "unit_id"]
        verbose_name = "A/B assignment"

    def __str__(self) -> str:
        return f"{self.unit_id}: {self.variant}"


auditlog.register(ABTest, exclude_fields=["updated_at", "final_results"])
auditlog.register(ABVariant, exclude_fields=["updated_at"])
auditlog.register(ABPhase, exclude_fields=["updated_at"])
