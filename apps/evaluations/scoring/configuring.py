"""Whether a configuration is one of its kind, in its organization."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from apps.evaluations.models import ScoreConfig
from apps.models.models import LLMModel
from apps.workflows.evaluating import Evaluator, config_problems, evaluators
from everquant.api.errors import BadRequest

MODEL_ID = "model_id"


def evaluator_of(kind: str) -> Evaluator:
    """Raises BadRequest naming `kind`."""
    found = evaluators().get(kind)
    if found is None:
        raise BadRequest("There is no such kind.", details={"kind": f"One of {', '.join(sorted(evaluators()))}."})
    return found


def check_configuration(
    *, organization_id: UUID, kind: str, config: Mapping[str, Any], score_config: ScoreConfig | None = None
) -> Evaluator:
    """Raises BadRequest naming `kind`, `config.<path>` or `score_config_id`."""
    evaluator = evaluator_of(kind)
    problems = config_problems(evaluator, config) or _model_problems(evaluator, config, organization_id)
    if problems:
        details = {f"config.{where.replace('/', '.')}".removesuffix("."): why for why, where in reversed(problems)}
        raise BadRequest("The configuration is not valid.", details=details)
    score_type = evaluator.score_type_of(config)
    if score_config is not None and score_config.type != score_type:
        why = f"Scores of this evaluator are {score_type}, those of the config {score_config.type}."
        raise BadRequest(why, details={"score_config_id": why})
    return evaluator


def _model_problems(evaluator: Evaluator, config: Mapping[str, Any], organization_id: UUID) -> list[tuple[str, str]]:
    """As `Evaluator.check`; whether the model can do what it is for is told by its answer."""
    if not evaluator.calls_models:
        return []
    usable = LLMModel.objects.for_organization(organization_id).usable()
    if usable.filter(id=config[MODEL_ID]).exists():
        return []
    return [("There is no such model, or it is not active.", MODEL_ID)]
