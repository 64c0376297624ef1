"""What a prompt serves: a version as it is, or the variants of its live A/B test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Subquery

from apps.prompts.models import AB_TEST_LIVE, ABTest, ABTestStatus, ABVariant, Prompt, PromptVersion
from apps.prompts.rendering import CompiledPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A version ready to render, with the model and the parameters that it is served with."""

    version: PromptVersion
    compiled: CompiledPrompt
    model_id: UUID | None
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm(Served):
    """A variant. Its own model and parameters go before those of its version."""

    name: str
    is_control: bool
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTest:
    """A running or paused test as requests see it. `arms` are in the order of their positions."""

    id: UUID
    salt: str
    phase: int
    exposed_share: float
    segments: Mapping[str, Any]
    arms: tuple[Arm, ...]
    is_paused: bool
    mode: str

    @property
    def control(self) -> Arm:
        return next(arm for arm in self.arms if arm.is_control)

    def arm(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The variant of a unit, and the phase that the unit belongs to. What is not exposed is not recorded as such."""

    test_id: UUID
    phase: int
    arm: Arm
    is_exposed: bool = True

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.test_id, "variant": self.arm.name, "phase": self.phase}


def serve(version: PromptVersion) -> Served:
    """A version without a test."""
    return Served(
        version=version, compiled=version.compiled(), model_id=version.model_id, parameters=version.parameters
    )


def with_live_test(prompts: Any) -> Any:
    """A queryset of prompts that says which of them have a live test, in the same query."""
    live = ABTest.objects.alive().live().filter(prompt=OuterRef("pk")).order_by().values("id")[:1]
    return prompts.annotate(live_test_id=Subquery(live))


def load_live(prompt: Prompt) -> LiveTest | None:
    """One query; none for a prompt of `with_live_test` that has no live test."""
    if getattr(prompt, "live_test_id", prompt.id) is None:
        return None
    live = ABVariant.objects.filter(test__prompt=prompt, test__status__in=AB_TEST_LIVE, test__deleted_at__isnull=True)
    variants = list(live.select_related("test", "version").order_by("position", "id"))
    if not any(variant.is_control for variant in variants):
        return None
    test = variants[0].test
    return LiveTest(
        id=test.id,
        salt=test.salt,
        phase=test.phase,
        exposed_share=test.exposed_share,
        segments=test.segments,
        arms=tuple(_arm(variant) for variant in variants),
        is_paused=test.status == ABTestStatus.PAUSED,
        mode=test.mode,
    )


def _arm(variant: ABVariant) -> Arm:
    version = variant.version
    return Arm(
        name=variant.name,
        is_control=variant.is_control,
        weight=variant.weight,
        version=version,
        compiled=version.compiled(),
        model_id=variant.model_id or version.model_id,
        parameters={**version.parameters, **variant.parameters},
    )
