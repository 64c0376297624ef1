"""Prompts and workflows as what policies are for: the same questions of both."""

from typing import Any
from uuid import UUID

from apps.evaluations.models import EvaluationSubject, PromotionPolicy, PromotionPolicyMetric, SubjectKind
from apps.models.models import LLMModel
from apps.prompts.models import PromptVersion
from everquant.api.errors import BadRequest


def right_to_change(policy: PromotionPolicy) -> str:
    """What its approvers need."""
    return f"{policy.target_kind}s:update"


def right_to_protect(policy: PromotionPolicy) -> str:
    """What those need who make policies."""
    return f"{policy.target_kind}s:protect"


def current_version(policy: PromotionPolicy) -> Any:
    """The version that the label points at now, or None."""
    label = policy.target.label_set.select_related("version").filter(name=policy.label).first()
    return label.version if label is not None else None


def version_of(policy: PromotionPolicy, number: int) -> Any:
    """Raises BadRequest naming `version`."""
    version = policy.target.versions.filter(version_number=number).first()
    if version is None:
        raise BadRequest(f"The {policy.target_kind} has no version {number}.", details={"version": "No such version."})
    return version


def metrics_of(policy: PromotionPolicy) -> list[tuple[str, UUID]]:
    """Name and version of each evaluator, in their order."""
    rows = PromotionPolicyMetric.objects.filter(policy=policy).order_by("position")
    return list(rows.values_list("name", "evaluator_version_id"))


def answers_as(subject: EvaluationSubject, version: Any) -> bool:
    """Whether the subject is the version as it answers where the label is asked for: nothing overrides what it says."""
    if subject.kind == SubjectKind.WORKFLOW:
        return bool(subject.workflow_version_id == version.id)
    if subject.kind != SubjectKind.PROMPT or subject.prompt_version_id != version.id or subject.parameters:
        return False
    return subject.model_id is None or subject.model_id == _model_of(version)


def _model_of(version: PromptVersion) -> Any:
    """The id of the model that answers for a version; the organization's default where it names none."""
    if version.model_id is not None:
        return version.model_id
    defaults = LLMModel.objects.for_organization(version.organization_id).usable().filter(is_default=True)
    return defaults.values_list("id", flat=True).first()
