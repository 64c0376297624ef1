"""Which subjects are compared, and by which metrics."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from apps.evaluations.comparing.metrics import Metric, metrics_of
from apps.evaluations.models import Evaluation, EvaluationSubject
from everquant.api.errors import BadRequest, Conflict

SubjectName = int | str
"""A position, also as digits, or a name."""


@dataclass(frozen=True, slots=True)
class Contest:
    """`baseline` is of `against`, which is the evaluation itself unless another was named; None where there is none.

    `not_compared` says of metrics why they are not.
    """

    evaluation: Evaluation
    candidates: Sequence[EvaluationSubject]
    against: Evaluation
    baseline: EvaluationSubject | None
    metrics: dict[str, Metric]
    not_compared: dict[str, str]

    @property
    def is_across(self) -> bool:
        return self.against.id != self.evaluation.id


def choose(
    *,
    evaluation: Evaluation,
    candidate: SubjectName | None = None,
    baseline: SubjectName | None = None,
    against: Evaluation | None = None,
) -> Contest:
    """By default, the baseline is the first subject, and the candidates are all others; the first one has no baseline.

    Raises BadRequest naming `candidate` or `baseline`, and Conflict for an evaluation that has not ended.
    """
    other = evaluation if against is None else against
    for field, one in (("evaluation", evaluation), ("against", other)):
        if not one.is_finished or not one.has_cases:
            raise Conflict("Only evaluations that have ended are compared.", details={field: f"It is {one.status}."})
    subjects = list(evaluation.subjects.order_by("position"))
    first = subjects if other is evaluation else list(other.subjects.order_by("position"))
    found: EvaluationSubject | None = _named(first, 0 if baseline is None else baseline, "baseline")
    candidates = _candidates(subjects, candidate, found if other.id == evaluation.id and len(subjects) > 1 else None)
    if other.id == evaluation.id and candidates == [found]:
        if baseline is not None:
            raise BadRequest("A subject is not compared with itself.", details={"candidate": "It is the baseline."})
        found = None
    metrics, not_compared = _metrics(evaluation, other, found)
    return Contest(evaluation, candidates, other, found, metrics, not_compared)


def _candidates(
    subjects: Sequence[EvaluationSubject], candidate: SubjectName | None, baseline: EvaluationSubject | None
) -> list[EvaluationSubject]:
    if candidate is None:
        return [one for one in subjects if baseline is None or one.position != baseline.position]
    return [_named(subjects, candidate, "candidate")]


def _named(subjects: Sequence[EvaluationSubject], wanted: SubjectName, field: str) -> EvaluationSubject:
    by_name = {one.name: one for one in subjects}
    if isinstance(wanted, str) and wanted in by_name:
        return by_name[wanted]
    for one in subjects:
        if str(one.position) == str(wanted):
            return one
    raise BadRequest(f"{field}: No such subject.", details={field: "No such subject."})


def _metrics(
    evaluation: Evaluation, against: Evaluation, baseline: EvaluationSubject | None
) -> tuple[dict[str, Metric], dict[str, str]]:
    metrics = metrics_of(evaluation)
    others = metrics if against.id == evaluation.id else metrics_of(against)
    not_compared: dict[str, str] = {}
    for name, metric in metrics.items():
        other = others.get(name)
        if metric.compares_two:
            if against.id != evaluation.id or (baseline is not None and baseline.position != 0):
                not_compared[name] = "Its scores are against the evaluation's own first subject."
        elif other is None:
            not_compared[name] = "The other evaluation has no such metric."
        elif other.evaluator_version_id != metric.evaluator_version_id:
            not_compared[name] = "The other evaluation's is by another evaluator, or another version of it."
    return metrics, not_compared


def metrics_of_other(contest: Contest) -> list[Metric]:
    """Those that are compared, with their positions in the other evaluation."""
    compared = [metric for name, metric in contest.metrics.items() if name not in contest.not_compared]
    if not contest.is_across:
        return compared
    others = metrics_of(contest.against)
    return [replace(metric, position=others[metric.name].position) for metric in compared]
