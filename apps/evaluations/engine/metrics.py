"""Metrics of an evaluation as its driver needs them: from an answer to the row of a score, whatever the evaluator does.

What an evaluator raises is an error with its code, never a low score.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog

from apps.evaluations.models import Evaluation, ScoreConfig
from apps.evaluations.scoring.checking import checked
from apps.prompts.rendering.values import UNSTORABLE
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score, evaluate, evaluators
from apps.workflows.nodes.base import NodeFailure
from apps.workflows.nodes.resolving import storable

logger = structlog.get_logger(__name__)

CRASHED = "INTERNAL"
_LABEL_LENGTH, _CODE_LENGTH, _MESSAGE_LENGTH = 200, 40, 500
_REASON_LENGTH = 20_000


@dataclass(frozen=True, slots=True)
class Metric:
    """`evaluator` is None when this version of the program does not know its kind."""

    position: int
    name: str
    evaluator: Evaluator | None
    config: dict[str, Any]
    score_config: ScoreConfig | None

    @property
    def is_slow(self) -> bool:
        """It waits: for models, or for the baseline's answer."""
        return self.evaluator is not None and (self.evaluator.calls_models or self.compares_two)

    @property
    def calls_models(self) -> bool:
        return self.evaluator is not None and self.evaluator.calls_models

    @property
    def compares_two(self) -> bool:
        return self.evaluator is not None and self.evaluator.compares_two

    def is_for(self, subject: int) -> bool:
        """The baseline is not compared with itself."""
        return not (self.compares_two and subject == 0)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    case_id: int
    metric: int
    value: float | None = None
    passed: bool | None = None
    label: str = ""
    reason: str = ""
    details: Any = None
    error_code: str = ""
    error_message: str = ""
    cost_usd: Decimal | None = None
    execution_ids: tuple[UUID, ...] = field(default=())


def load_metrics(evaluation: Evaluation) -> list[Metric]:
    """In their order."""
    rows = evaluation.metrics.select_related("evaluator_version__evaluator", "evaluator_version__score_config")
    known = evaluators()
    return [
        Metric(
            row.position,
            row.name,
            known.get(row.evaluator_version.evaluator.kind),
            row.evaluator_version.config,
            row.evaluator_version.score_config,
        )
        for row in rows.order_by("position")
    ]


def score(metric: Metric, case_id: int, context: Context) -> ScoreRow:
    """Whatever the evaluator does."""
    if metric.evaluator is None:
        error = EvaluationError("UNKNOWN_EVALUATOR", "There is no such kind of evaluator any more.")
        return _error(metric, case_id, error)
    try:
        return _row(metric, case_id, checked(evaluate(metric.evaluator, metric.config, context), metric.score_config))
    except EvaluationError as error:
        return _error(metric, case_id, error)
    except Exception:
        logger.exception("evaluator_failed", metric=metric.name, case_id=case_id)
        return _error(metric, case_id, EvaluationError(CRASHED, "The evaluator failed; it has been logged."))


def _row(metric: Metric, case_id: int, given: Score) -> ScoreRow:
    return ScoreRow(
        case_id,
        metric.position,
        value=float(given.score),
        passed=given.passed,
        label=_text(given.label or "", _LABEL_LENGTH),
        reason=_text(given.reason, _REASON_LENGTH),
        details=_details(given.details),
        cost_usd=given.cost_usd,
        execution_ids=given.execution_ids,
    )


def _error(metric: Metric, case_id: int, error: EvaluationError) -> ScoreRow:
    return ScoreRow(
        case_id,
        metric.position,
        error_code=_text(error.code, _CODE_LENGTH),
        error_message=_text(error.message, _MESSAGE_LENGTH),
        cost_usd=error.cost_usd,
        execution_ids=error.execution_ids,
    )


def _details(details: Any) -> Any:
    try:
        return storable(details)
    except NodeFailure:
        return None


def _text(text: str, longest: int) -> str:
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)[:longest]
