"""What a label of a prompt or workflow demands before it moves, and who has approved a version for it."""

from typing import Any, ClassVar, Self, cast

from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.evaluations.models.datasets import SPLIT_LENGTH, DatasetVersion
from apps.evaluations.models.evaluations import MAX_REPEATS
from apps.evaluations.models.evaluators import NAME_LENGTH, EvaluatorVersion
from apps.evaluations.models.gates import GateResult
from apps.organizations.models import SoftDeleteTenantModel, SoftDeleteTenantQuerySet, TenantModel, TenantQuerySet
from apps.prompts.fields import OrderedJSONField
from apps.prompts.models import LABEL, LABEL_LENGTH, Prompt
from apps.workflows.models import Workflow

MAX_APPROVALS = 20
_ONE_TARGET = Q(prompt__isnull=True) ^ Q(workflow__isnull=True)


class PromotionPolicyQuerySet(SoftDeleteTenantQuerySet):  # type: ignore[override] # the stubs mistake as_manager of two bases
    def in_force(self) -> Self:
        return self.alive().filter(is_active=True)

    def of(self, owner: Prompt | Workflow) -> Self:
        return self.filter(**{str(owner._meta.model_name): owner.pk})

    def with_target(self) -> Self:
        return self.select_related("prompt", "workflow", "dataset_version__dataset").prefetch_related(
            "metrics__evaluator_version__evaluator"
        )


class PromotionPolicy(SoftDeleteTenantModel):
    """`label` of the prompt or workflow moves only to versions that passed `rules` and were approved by so many others.

    The evaluation has all items of the dataset's version (those of `split`, unless it is empty), each `repeats` times.
    `compares` says that the version is compared with the one that the label points at. What was found and approved
    holds for one `revision`, which every change of what is demanded ends.
    """

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, null=True, related_name="+", db_index=False)
    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, null=True, related_name="+", db_index=False)
    label = models.CharField(max_length=LABEL_LENGTH, validators=[LABEL])
    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.RESTRICT, related_name="+")
    split = models.CharField(max_length=SPLIT_LENGTH, blank=True)
    repeats = models.PositiveSmallIntegerField(default=1)
    compares = models.BooleanField(default=True)
    rules = OrderedJSONField()
    min_approvals = models.PositiveSmallIntegerField(default=0)
    is_active = models.BooleanField(default=True)
    revision = models.PositiveIntegerField(default=1, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )

    objects: ClassVar[Any] = PromotionPolicyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "promotion policies"
        constraints = [
            models.CheckConstraint(condition=_ONE_TARGET, name="evaluations_promotionpolicy_target"),
            models.UniqueConstraint(
                fields=["prompt", "label"],
                condition=Q(deleted_at__isnull=True),
                name="evaluations_promotionpolicy_prompt_unique",
            ),
            models.UniqueConstraint(
                fields=["workflow", "label"],
                condition=Q(deleted_at__isnull=True),
                name="evaluations_promotionpolicy_workflow_unique",
            ),
            models.CheckConstraint(
                condition=Q(min_approvals__lte=MAX_APPROVALS), name="evaluations_promotionpolicy_approvals"
            ),
            models.CheckConstraint(
                condition=Q(repeats__gte=1, repeats__lte=MAX_REPEATS), name="evaluations_promotionpolicy_repeats"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} of {self.target}"

    @property
    def target(self) -> Prompt | Workflow:
        return cast("Prompt | Workflow", self.prompt or self.workflow)

    @property
    def target_kind(self) -> str:
        return "prompt" if self.prompt_id else "workflow"


class PromotionPolicyMetric(models.Model):
    """An evaluator's version under the name that the rules know it by."""

    pk = models.CompositePrimaryKey("policy_id", "position")
    policy = models.ForeignKey(PromotionPolicy, on_delete=models.CASCADE, related_name="metrics", db_index=False)
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=NAME_LENGTH)
    evaluator_version = models.ForeignKey(EvaluatorVersion, on_delete=models.RESTRICT, related_name="+")

    class Meta:
        ordering = ["policy_id", "position"]
        constraints = [models.UniqueConstraint(fields=["policy", "name"], name="evaluations_policymetric_name_unique")]

    def __str__(self) -> str:
        return self.name


class PromotionGate(TenantModel):
    """A verdict of a policy's rules on a version, under one revision of the policy; the newest one counts.

    `version_id` is that of the prompt or workflow, `baseline_version_id` the one that the label pointed at, null where
    the rules looked at the candidate alone.
    """

    policy = models.ForeignKey(PromotionPolicy, on_delete=models.CASCADE, related_name="gates", db_index=False)
    revision = models.PositiveIntegerField()
    version_id = models.UUIDField()
    version_number = models.PositiveIntegerField()
    baseline_version_id = models.UUIDField(null=True)
    result = models.OneToOneField(GateResult, on_delete=models.CASCADE, related_name="+")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["policy", "revision", "version_id", "-id"], name="evaluations_promotion_gates")]

    def __str__(self) -> str:
        return f"version {self.version_number}"


class Decision(models.TextChoices):
    APPROVE = "approve"
    REJECT = "reject"


class PromotionApprovalQuerySet(TenantQuerySet):
    def standing(self) -> Self:
        return self.filter(withdrawn_at__isnull=True)


class PromotionApproval(TenantModel):
    """What one person says of a version for a policy's label. `version_id` is that of the prompt or workflow."""

    policy = models.ForeignKey(PromotionPolicy, on_delete=models.CASCADE, related_name="approvals", db_index=False)
    revision = models.PositiveIntegerField()
    version_id = models.UUIDField()
    version_number = models.PositiveIntegerField()
    decision = models.CharField(max_length=8, choices=Decision.choices)
    comment = models.TextField(blank=True, max_length=2000)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    withdrawn_at = models.DateTimeField(null=True)

    objects: ClassVar[Any] = PromotionApprovalQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(decision__in=Decision.values), name="evaluations_promotionapproval_decision_known"
            ),
            models.UniqueConstraint(
                fields=["policy", "version_id", "revision", "user"],
                condition=Q(withdrawn_at__isnull=True),
                name="evaluations_promotionapproval_one_each",
            ),
        ]
        indexes = [models.Index(fields=["policy", "-id"], name="evaluations_approval_newest")]

    def __str__(self) -> str:
        return f"{self.decision} version {self.version_number}"


auditlog.register(PromotionPolicy, exclude_fields=["updated_at"])
auditlog.register(PromotionGate, exclude_fields=["updated_at"])
auditlog.register(PromotionApproval, exclude_fields=["updated_at"])
