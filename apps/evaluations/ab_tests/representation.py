"""A/B tests as they are answered: plain values made once."""

from math import ceil
from typing import Any

from django.db.models import Prefetch

from apps.prompts.models import ABPhase, ABTest, ABVariant, PromptVersion

Json = dict[str, Any]


def with_parts(tests: Any) -> Any:
    """With all that `represent` reads: three queries in all."""
    joined = tests.select_related("prompt", "replaced_version", "promoted_version").defer("final_results")
    variants = ABVariant.objects.select_related("version").order_by("position")
    return joined.prefetch_related(
        Prefetch("variants", variants), Prefetch("phases", ABPhase.objects.order_by("number"))
    )


def represent(test: ABTest) -> Json:
    """Of a row of `with_parts`."""
    return {
        "id": test.id,
        "organization_id": test.organization_id,
        "prompt_id": test.prompt_id,
        "prompt_slug": test.prompt.slug,
        "name": test.name,
        "hypothesis": test.hypothesis,
        "status": test.status,
        "mode": test.mode,
        "label": test.label,
        "exposed_share": test.exposed_share,
        "segments": test.segments,
        "variants": [_variant(test, variant) for variant in test.variants.all()],
        "metrics": test.metrics,
        "primary_metric": test.primary_metric,
        "min_effect": test.min_effect,
        "alpha": test.alpha,
        "power": test.power,
        "guardrails": test.guardrails,
        "planned_units": test.planned_units,
        "phase": test.phase,
        "phases": [_phase(phase) for phase in test.phases.all()],
        **_history(test),
        "created_by": test.created_by_id,
        "created_at": test.created_at,
        "updated_at": test.updated_at,
    }


def _history(test: ABTest) -> Json:
    return {
        "started_at": test.started_at,
        "paused_at": test.paused_at,
        "pause_reason": test.pause_reason,
        "resumed_at": test.resumed_at,
        "resume_reason": test.resume_reason,
        "stopped_at": test.stopped_at,
        "stop_reason": test.stop_reason,
        "concluded_at": test.concluded_at,
        "conclusion_reason": test.conclusion_reason,
        "winner": test.winner,
        "replaced_version": _number(test.replaced_version),
        "promoted_version": _number(test.promoted_version),
    }


def _number(version: PromptVersion | None) -> int | None:
    return version.version_number if version is not None else None


def _variant(test: ABTest, variant: ABVariant) -> Json:
    return {
        "name": variant.name,
        "is_control": variant.is_control,
        "weight": variant.weight,
        "version": variant.version.version_number,
        "version_id": variant.version_id,
        "model_id": variant.model_id,
        "parameters": variant.parameters,
        "planned_units": _planned_units(test, variant.name),
    }


def _planned_units(test: ABTest, variant: str) -> int | None:
    """By the weights of the start, which the plan was made for."""
    begun = next(iter(test.phases.all()), None)
    if test.planned_units is None or begun is None:
        return None
    return ceil(round(test.planned_units * begun.weights[variant], 6))


def _phase(phase: ABPhase) -> Json:
    return {
        "number": phase.number,
        "weights": phase.weights,
        "reason": phase.reason,
        "started_at": phase.started_at,
        "ended_at": phase.ended_at,
        "created_by": phase.created_by_id,
    }
