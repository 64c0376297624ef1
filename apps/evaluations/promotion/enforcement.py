"""No label moves past its policy: what the registries of `apps.prompts.promotion` call, whoever moves it and how."""

from typing import Any

from apps.evaluations.models import PromotionPolicy
from apps.evaluations.promotion.requirements import requirements
from apps.prompts.models import Prompt
from apps.prompts.promotion import LabelMove, PromotionRefused, register_departure_check, register_promotion_check
from apps.workflows.models import Workflow


def check_move(move: LabelMove) -> None:
    """Raises PromotionRefused naming what is missing by its code.

    The policy is locked, active or not: one that is being changed is waited for. One that is being made waits for the
    owner, which the mover has locked.
    """
    policies = PromotionPolicy.objects.alive().of(move.owner).filter(label=move.label)
    policy = policies.select_for_update(no_key=True).first()
    if policy is None or not policy.is_active:
        return
    if move.to_version is None:
        raise PromotionRefused(
            "The label has a promotion policy: switch that off to remove it.",
            details={"POLICY_IN_FORCE": f"Policy {policy.id}."},
        )
    setattr(policy, policy.target_kind, move.owner)
    found = requirements(policy, version=move.to_version, current=move.from_version, mover_id=move.user_id)
    if found.missing:
        raise PromotionRefused(
            " ".join(["The label has a promotion policy.", *(one.message for one in found.missing)]),
            details={one.code: one.message for one in found.missing},
        )


def check_departure(owner: Any) -> None:
    """Raises PromotionRefused for a prompt or workflow of which a label has a policy in force."""
    if not isinstance(owner, Prompt | Workflow):
        return
    labels = PromotionPolicy.objects.in_force().of(owner).values_list("label", flat=True)
    if found := sorted(labels):
        raise PromotionRefused(
            f"It has promotion policies for {', '.join(found)}: switch them off to delete it or change its slug.",
            details={"POLICY_IN_FORCE": ", ".join(found)},
        )


def register() -> None:
    register_promotion_check(check_move)
    register_departure_check(check_departure)
