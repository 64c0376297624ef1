"""Evaluators, their kinds and versions, score configs and scores as they are answered: plain values made once."""

import inspect
from typing import Any

from apps.evaluations.models import Evaluator, EvaluatorVersion, ScoreConfig
from apps.evaluations.scoring.trying import Trial
from apps.workflows import evaluating

Json = dict[str, Any]


def represent_kind(kind: evaluating.Evaluator) -> Json:
    return {
        "kind": kind.kind,
        "version": kind.version,
        "description": inspect.getdoc(type(kind)) or "",
        "config_schema": kind.config_schema,
        "score_type": kind.score_type,
        "direction": kind.direction,
        "needs_expected": kind.needs_expected,
        "calls_models": kind.calls_models,
        "compares_two": kind.compares_two,
        "measures_call": kind.measures_call,
    }


def summarize_evaluator(evaluator: Evaluator) -> Json:
    """What a list shows: everything but the configuration."""
    kind = evaluating.evaluators()[evaluator.kind]
    version: Any = evaluator.current_version
    score_config = version.score_config
    return {
        "id": evaluator.id,
        "organization_id": evaluator.organization_id,
        "slug": evaluator.slug,
        "name": evaluator.name,
        "description": evaluator.description,
        "kind": evaluator.kind,
        "version": version.version_number,
        "score_type": kind.score_type_of(version.config),
        "direction": kind.direction if score_config is None else score_config.direction,
        "score_config_id": version.score_config_id,
        "created_by": evaluator.created_by_id,
        "created_at": evaluator.created_at,
        "updated_at": evaluator.updated_at,
    }


def represent_evaluator(evaluator: Evaluator) -> Json:
    version: Any = evaluator.current_version
    return {**summarize_evaluator(evaluator), "config": version.config}


def represent_version(version: EvaluatorVersion) -> Json:
    return {
        "id": version.id,
        "evaluator_id": version.evaluator_id,
        "version_number": version.version_number,
        "kind_version": version.kind_version,
        "config": version.config,
        "score_config_id": version.score_config_id,
        "message": version.message,
        "created_by": version.created_by_id,
        "created_at": version.created_at,
    }


def represent_score_config(config: ScoreConfig) -> Json:
    return {
        "id": config.id,
        "organization_id": config.organization_id,
        "name": config.name,
        "description": config.description,
        "type": config.type,
        "minimum": config.minimum,
        "maximum": config.maximum,
        "categories": config.categories,
        "direction": config.direction,
        "created_by": config.created_by_id,
        "created_at": config.created_at,
        "updated_at": config.updated_at,
    }


def represent_trial(trial: Trial) -> Json:
    score, error = trial.score, trial.error
    return {
        "score": score and {
            "score": score.score,
            "passed": score.passed,
            "label": score.label,
            "reason": score.reason,
            "details": score.details,
        },
        "error": error and {"code": error.code, "message": error.message},
        "cost_usd": None if trial.cost_usd is None else f"{trial.cost_usd:f}",
        "execution_ids": list(trial.execution_ids),
    }  # fmt: skip
