"""The variants of a test as they are asked for, and as rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apps.models.models import LLMModel
from apps.prompts.models import ABTest, ABVariant, PromptVersion
from everquant.api.errors import BadRequest, Details

Json = dict[str, Any]
WEIGHT_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantWish:
    """`version` is a number of the test's prompt; without a model and parameters the version's own are used."""

    name: str
    weight: float
    version: int
    is_control: bool = False
    model_id: UUID | None = None
    parameters: Json = field(default_factory=dict)


def wishes_of(test: ABTest) -> list[VariantWish]:
    """What would make the variants that a test has, in their order."""
    return [
        VariantWish(
            name=variant.name,
            weight=variant.weight,
            version=variant.version.version_number,
            is_control=variant.is_control,
            model_id=variant.model_id,
            parameters=variant.parameters,
        )
        for variant in variants_of(test)
    ]


def variants_of(test: ABTest) -> list[ABVariant]:
    """With their versions, in their order; one query."""
    return list(ABVariant.objects.filter(test=test).select_related("version").order_by("position"))


def make_variants(test: ABTest, wishes: Sequence[VariantWish]) -> list[ABVariant]:
    """Unsaved rows. Raises BadRequest naming each version and model that is not there, and what is said twice."""
    versions = _versions(test, wishes)
    models = _models(test, wishes)
    problems = _problems(wishes, versions, models)
    if problems:
        raise BadRequest("The variants are not valid.", details=problems)
    return [
        ABVariant(
            organization_id=test.organization_id,
            test=test,
            name=wish.name,
            position=position,
            is_control=wish.is_control,
            weight=wish.weight,
            version=versions[wish.version],
            model_id=wish.model_id,
            parameters=wish.parameters,
        )
        for position, wish in enumerate(wishes)
    ]


def weight_problem(weights: Sequence[float]) -> str:
    """Why these cannot be the shares of all variants; empty when they can."""
    total = sum(weights)
    return "" if abs(total - 1) <= WEIGHT_TOLERANCE else f"The weights are {total:g} together, and must be 1."


def _versions(test: ABTest, wishes: Sequence[VariantWish]) -> dict[int, PromptVersion]:
    numbers = {wish.version for wish in wishes}
    found = PromptVersion.objects.filter(prompt_id=test.prompt_id, version_number__in=numbers) if numbers else ()
    return {version.version_number: version for version in found}


def _models(test: ABTest, wishes: Sequence[VariantWish]) -> set[UUID]:
    ids = {wish.model_id for wish in wishes if wish.model_id is not None}
    if not ids:
        return set()
    models = LLMModel.objects.for_organization(test.organization_id).alive()
    return set(models.filter(id__in=ids).values_list("id", flat=True))


def _problems(wishes: Sequence[VariantWish], versions: Mapping[int, PromptVersion], models: set[UUID]) -> Details:
    problems = {}
    names = Counter(wish.name for wish in wishes)
    controls = sum(wish.is_control for wish in wishes)
    for number, wish in enumerate(wishes):
        if wish.version not in versions:
            problems[f"variants.{number}.version"] = f"The prompt has no version {wish.version}."
        if wish.model_id is not None and wish.model_id not in models:
            problems[f"variants.{number}.model_id"] = "No such object."
        if names[wish.name] > 1:
            problems[f"variants.{number}.name"] = "Another variant has this name."
        if wish.is_control and controls > 1:
            problems[f"variants.{number}.is_control"] = "There is one control."
    return problems
