"""What score configs allow: of evaluators' scores, and of those that people and programs give to executions."""

import math
from dataclasses import replace

from apps.evaluations.annotation.values import value_problem
from apps.evaluations.models import ScoreConfig, ScoreType
from apps.executions.score_checks import NewScore
from apps.workflows.evaluating import EvaluationError, Score
from everquant.api.errors import BadRequest


def checked(score: Score, config: ScoreConfig | None) -> Score:
    """The score, which a category's own value replaces if it has one. Raises EvaluationError for what is not allowed.

    Without a config any finite number is.
    """
    if not math.isfinite(score.score):
        raise EvaluationError("INVALID_SCORE", "The evaluator gave no finite number.")
    if config is None:
        return score
    if config.type == ScoreType.CATEGORICAL:
        return _categorized(score, config)
    if config.type == ScoreType.BOOLEAN and score.passed is None:
        raise EvaluationError("NO_VERDICT", f"{config.name} is true or false; the evaluator gave neither.")
    if config.type == ScoreType.NUMERIC and (problem := value_problem(config, score.score)):
        raise EvaluationError("OUT_OF_RANGE", f"{config.name}, {score.score:g}: {problem}")
    return score


def _categorized(score: Score, config: ScoreConfig) -> Score:
    category = next((one for one in config.categories if one["label"] == score.label), None)
    if category is None:
        raise EvaluationError("UNKNOWN_CATEGORY", f"{score.label!r} is no category of {config.name}."[:500])
    value = category.get("value")
    return score if value is None else replace(score, score=float(value))


def check_score_of_execution(score: NewScore) -> None:
    """A score with the name of a score config fits it. Raises BadRequest naming `type` or `value`."""
    configs = ScoreConfig.objects.for_organization(score.organization_id).alive()
    config = configs.filter(name=score.name).first()
    if config is None:
        return
    if score.type != config.type:
        why = f"Scores of this name are {config.type}."
        raise BadRequest(why, details={"type": why})
    if problem := value_problem(config, score.value):
        raise BadRequest("The value does not fit the score config.", details={"value": problem})
