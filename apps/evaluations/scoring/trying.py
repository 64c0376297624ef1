"""One output, scored at once and stored nowhere; what models say for it is recorded and paid for as ever."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog

from apps.evaluations.models import ScoreConfig
from apps.evaluations.scoring.checking import checked
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score, evaluate

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """A score, or the error that there is instead of one."""

    score: Score | None = None
    error: EvaluationError | None = None

    @property
    def cost_usd(self) -> Decimal | None:
        return getattr(self.score or self.error, "cost_usd", None)

    @property
    def execution_ids(self) -> tuple[UUID, ...]:
        return getattr(self.score or self.error, "execution_ids", ())


def score_of(
    evaluator: Evaluator, config: Mapping[str, Any], context: Context, score_config: ScoreConfig | None
) -> Score:
    """The score as its config has it. Raises EvaluationError, also in place of what a faulty evaluator raises."""
    try:
        return checked(evaluate(evaluator, config, context), score_config)
    except EvaluationError:
        raise
    except Exception as error:
        logger.exception("evaluator_crashed", kind=evaluator.kind)
        raise EvaluationError("INTERNAL", f"{type(error).__name__}: {error}"[:300]) from error


def try_out(
    evaluator: Evaluator, config: Mapping[str, Any], context: Context, score_config: ScoreConfig | None = None
) -> Trial:
    try:
        return Trial(score=score_of(evaluator, config, context, score_config))
    except EvaluationError as error:
        return Trial(error=error)
