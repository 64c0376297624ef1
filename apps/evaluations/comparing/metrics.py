"""What an evaluation measured, and how each of it is compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from uuid import UUID

from apps.evaluations.evaluators.scales import scale_of
from apps.evaluations.models import Evaluation, EvaluationMetric, EvaluatorVersion
from apps.workflows.evaluating import Evaluator, evaluators

Direction = Literal["higher", "lower", "none"]
MetricType = Literal["boolean", "numeric", "categorical"]


@dataclass(frozen=True, slots=True)
class Metric:
    """`position` is that of an evaluator's metric, None of what every case is measured by: then `column` says what.

    A categorical one `has_values` if its labels are worth something. One that `compares_two` scores each candidate
    against the baseline, where an even score is 0.5. `limits` are the least and the greatest value, None where nobody
    knows them.
    """

    name: str
    type: MetricType
    direction: Direction
    unit: str | None = None
    position: int | None = None
    column: str = ""
    evaluator_version: EvaluatorVersion | None = None
    has_values: bool = True
    compares_two: bool = False
    limits: tuple[float, float] | None = None

    @property
    def evaluator_version_id(self) -> UUID | None:
        return self.evaluator_version.id if self.evaluator_version else None

    @property
    def is_number(self) -> bool:
        return self.type != "categorical" or self.has_values


FAILURE_RATE = Metric("failure_rate", "boolean", "lower", column="failed", limits=(0.0, 1.0))
MEASURED = (
    FAILURE_RATE,
    Metric("latency_ms", "numeric", "lower", "ms", column="latency_ms"),
    Metric("cost_usd", "numeric", "lower", "usd", column="cost_usd"),
    Metric("input_tokens", "numeric", "lower", "tokens", column="input_tokens"),
    Metric("output_tokens", "numeric", "lower", "tokens", column="output_tokens"),
)


def metrics_of(evaluation: Evaluation) -> dict[str, Metric]:
    """By name: the evaluators' in their order, then what every case is measured by, unless one has its name."""
    rows = evaluation.metrics.select_related("evaluator_version__evaluator", "evaluator_version__score_config")
    found = {row.name: _of(row) for row in rows.order_by("position")}
    return found | {one.name: one for one in MEASURED if one.name not in found}


def _of(row: EvaluationMetric) -> Metric:
    version: EvaluatorVersion = row.evaluator_version
    kind = evaluators().get(version.evaluator.kind)
    scores = version.score_config
    direction: Any = scores.direction if scores else kind.direction if kind else "none"
    type_: MetricType = kind.score_type_of(version.config) if kind else "numeric"
    has_values = type_ != "categorical" or _labels_have_values(version)
    return Metric(
        row.name,
        type_,
        direction,
        position=row.position,
        evaluator_version=version,
        has_values=has_values,
        compares_two=kind is not None and kind.compares_two,
        limits=_limits(version, kind),
    )


def _limits(version: EvaluatorVersion, kind: Evaluator | None) -> tuple[float, float] | None:
    """What measures a call, or has no code any more, has none."""
    if kind is None or kind.measures_call:
        return None
    scale = version.config.get("scale")
    return scale_of(scale).range if isinstance(scale, Mapping) else (0.0, 1.0)


def _labels_have_values(version: EvaluatorVersion) -> bool:
    """Whether somebody said what every label is worth: their order alone is no number."""
    categories = _categories(version)
    return bool(categories) and all(category.get("value") is not None for category in categories)


def _categories(version: EvaluatorVersion) -> Sequence[Mapping[str, Any]]:
    if version.score_config is not None:
        return cast("Sequence[Mapping[str, Any]]", version.score_config.categories)
    scale = version.config.get("scale")
    return scale.get("choices", []) if isinstance(scale, Mapping) else []
