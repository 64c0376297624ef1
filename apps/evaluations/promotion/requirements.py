"""What a policy still demands of a version before its label may move there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.evaluations.comparing.rules import COMPARING_TYPES
from apps.evaluations.models import (
    Decision,
    EvaluationStatus,
    EvaluationSubject,
    PromotionApproval,
    PromotionGate,
    PromotionPolicy,
    Verdict,
)
from apps.evaluations.promotion.targets import answers_as, right_to_change
from apps.users.models import Membership
from apps.users.permissions import ROLE_PERMISSIONS


@dataclass(frozen=True, slots=True)
class Missing:
    """`code` is for programs, `message` for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Requirements:
    """Of one version. `gate` is its newest one under the policy's revision, `approvals` are those that stand.

    `counted` are the people whose approvals count.
    """

    missing: list[Missing]
    gate: PromotionGate | None
    approvals: list[PromotionApproval]
    counted: set[UUID]


def applicable_rules(policy: PromotionPolicy, *, has_baseline: bool) -> list[dict[str, Any]]:
    """All of them, or, where nothing is there to compare with, those of the candidate alone."""
    return [rule for rule in policy.rules if has_baseline or rule["type"] not in COMPARING_TYPES]


def requirements(policy: PromotionPolicy, *, version: Any, current: Any, mover_id: UUID | None) -> Requirements:
    """What holds if `mover_id` moved the label now. `current` is the version that it points at, None for none."""
    gate = _newest_gate(policy, version)
    missing = _missing_of_gate(policy, gate, version, current)
    standing = list(
        policy.approvals.standing().filter(revision=policy.revision, version_id=version.id).select_related("user")
    )
    members = entitled(policy, [one.user_id for one in standing])
    rejecting = [one for one in standing if one.decision == Decision.REJECT and one.user_id in members]
    approving = {one.user_id for one in standing if one.decision == Decision.APPROVE}
    counted = (approving & members) - {version.created_by_id, mover_id}
    if rejecting:
        names = ", ".join(one.user.email for one in rejecting)
        missing.append(Missing("REJECTED", f"Version {version.version_number} was rejected by {names}."))
    if len(counted) < policy.min_approvals:
        said = f"{len(counted)} of {policy.min_approvals} approvals by others than its author and who moves the label."
        missing.append(Missing("APPROVALS_MISSING", said))
    return Requirements(missing, gate, standing, counted)


def _newest_gate(policy: PromotionPolicy, version: Any) -> PromotionGate | None:
    gates = PromotionGate.objects.filter(policy=policy, revision=policy.revision, version_id=version.id)
    newest: PromotionGate | None = gates.select_related("result__evaluation").order_by("-id").first()
    return newest


def _missing_of_gate(policy: PromotionPolicy, gate: PromotionGate | None, version: Any, current: Any) -> list[Missing]:
    if policy.compares and current is None and not applicable_rules(policy, has_baseline=False):
        return [Missing("NOTHING_TO_COMPARE", "The label points nowhere yet, and every rule of the policy compares.")]
    if gate is None:
        return [Missing("GATE_MISSING", f"Version {version.version_number} was not put through the policy's gate.")]
    if gate.result.verdict != Verdict.PASS:
        return [Missing(f"GATE_{gate.result.verdict.upper()}", f"The gate's verdict is {gate.result.verdict}.")]
    if gate.baseline_version_id != (current.id if policy.compares and current is not None else None):
        return [Missing("BASELINE_MOVED", "The gate compared with another version than the label points at now.")]
    if _is_stale(gate, version):
        return [Missing("GATE_STALE", "What the gate looked at has changed since: evaluate and gate it again.")]
    return []


def _is_stale(gate: PromotionGate, version: Any) -> bool:
    """Whether the evaluation has gone on or is gone, or the version would be answered by another model now."""
    evaluation = gate.result.evaluation
    if evaluation.deleted_at is not None or evaluation.status != EvaluationStatus.SUCCEEDED:
        return True
    if evaluation.finished_at != gate.result.evaluation_finished_at:
        return True
    subject = EvaluationSubject.objects.get(evaluation=evaluation, position=gate.result.candidate)
    return not answers_as(subject, version)


def entitled(policy: PromotionPolicy, user_ids: Sequence[UUID]) -> set[UUID]:
    """Those who are members with the right now, whatever they were when they decided."""
    if not user_ids:
        return set()
    right = right_to_change(policy)
    roles = [role for role, permissions in ROLE_PERMISSIONS.items() if right in permissions]
    members = Membership.objects.for_organization(policy.organization_id).in_force()
    return set(members.filter(role__in=roles, user_id__in=user_ids).values_list("user_id", flat=True))
