"""Cohen's kappa of a judge and the people who labelled the outputs that it judged."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, FilteredRelation, Func, JSONField, Q, UUIDField, Value

from apps.evaluations.evaluators.judge import Judge
from apps.evaluations.evaluators.scales import Scale
from apps.evaluations.models import (
    Evaluation,
    EvaluationCase,
    EvaluationMetric,
    EvaluationScore,
    EvaluationStatus,
    EvaluationSubject,
    Evaluator,
    JudgeAgreement,
    SubjectKind,
    Weighting,
)
from apps.evaluations.statistics.agreement import Weights, cohen_kappa
from apps.executions.models import Execution
from apps.models.models import LLMModel, ProviderKind
from apps.workflows.evaluating import evaluators
from everquant.api.errors import BadRequest, Conflict

MAX_LABELLED = 100_000
_WEIGHTS: dict[Weighting, Weights | None] = {
    Weighting.NONE: None,
    Weighting.LINEAR: "linear",
    Weighting.QUADRATIC: "quadratic",
}
# The column of a score that has the judgement, by how scores are compared.
_JUDGEMENT = {"boolean": "score__passed", "numeric": "score__value", "categorical": "score__label"}
_FIXED = "A recorded subject is expected: people's labels are of outputs that stay."
_FIXED_BASELINE = "The baseline is to stay what people compared with: a recorded one, or one of the offline model."


@dataclass(slots=True)
class Labelled:
    """Categories as people and as the judge gave them, item by item, and what one of them did not give."""

    by_people: list[str] = field(default_factory=list)
    by_judge: list[str] = field(default_factory=list)
    n_missing: int = 0
    n_unlabelled: int = 0


def measure_agreement(
    *,
    evaluator: Evaluator,
    evaluation: Evaluation,
    label: str = "label",
    subject: str | None = None,
    version: int | None = None,
    weighting: Weighting | None = None,
    threshold: float | None = None,
    created_by: Any = None,
) -> JudgeAgreement:
    """Of the version of the judge that the evaluation was scored by; the labels are in the items' metadata.

    The first repeat of an item counts. Raises BadRequest naming what is wrong, and Conflict for an evaluation that has
    not succeeded, or that another model judged.
    """
    kind, threshold = _judge(evaluator), _threshold(threshold)
    _check_evaluation(evaluation)
    metric = _metric(evaluation, evaluator, version)
    scale = kind.scale(metric.evaluator_version.config)
    weighting = _weighting(scale, weighting)
    judged = _judged(evaluation, subject, compares_two=kind.compares_two)
    provider_model = _provider_model(evaluator.organization_id, metric.evaluator_version.config)
    _check_model(evaluation, metric, provider_model)
    measured = _kappa(_read(evaluation, judged, metric, scale, label), scale, weighting)
    with transaction.atomic():
        return JudgeAgreement.objects.create(
            organization_id=evaluator.organization_id,
            evaluator_version=metric.evaluator_version,
            evaluation=evaluation,
            subject=judged.name,
            label=label,
            weighting=weighting,
            threshold=threshold,
            kind_version=kind.version,
            provider_model=provider_model,
            created_by=created_by,
            **measured,
        )


def _judge(evaluator: Evaluator) -> Judge:
    kind = evaluators().get(evaluator.kind)
    if isinstance(kind, Judge):
        return kind
    raise BadRequest("Only judges are measured.", details={"evaluator": f"{evaluator.kind} asks no model to judge."})


def _kappa(found: Labelled, scale: Scale, weighting: Weighting) -> dict[str, Any]:
    """The columns of an agreement that say how well they agree."""
    kappa = cohen_kappa(found.by_people, found.by_judge, scale.categories, _WEIGHTS[weighting])
    if kappa.kappa is None:
        raise BadRequest("Kappa is undefined.", details={"label": "People and judge gave one and the same label."})
    return {
        "n": kappa.n,
        "n_missing": found.n_missing,
        "n_unlabelled": found.n_unlabelled,
        "kappa": kappa.kappa,
        "ci_low": kappa.low,
        "ci_high": kappa.high,
        "categories": list(scale.categories),
        "confusion": kappa.table,
    }


def _threshold(wanted: float | None) -> float:
    """One may ask more of a judge than everybody's least."""
    least = float(settings.JUDGE_MIN_KAPPA)
    if wanted is not None and wanted < least:
        raise BadRequest("A lower threshold.", details={"threshold": f"{least:g} is the least here."})
    return least if wanted is None else wanted


def _check_evaluation(evaluation: Evaluation) -> None:
    if evaluation.status != EvaluationStatus.SUCCEEDED:
        raise Conflict("Only an evaluation that succeeded is measured.", details={"evaluation_id": evaluation.status})
    if evaluation.item_count > MAX_LABELLED:
        why = f"It has more than {MAX_LABELLED:,} items."
        raise BadRequest(why, details={"evaluation_id": why})


def _check_model(evaluation: Evaluation, metric: EvaluationMetric, provider_model: str) -> None:
    """What judged then, as far as its calls are still kept, is what judges now."""
    scores = EvaluationScore.objects.filter(evaluation=evaluation, metric=metric.position)
    calls = scores.annotate(call=Func("execution_ids", function="unnest", output_field=UUIDField())).values("call")
    executions = Execution.objects.for_organization(evaluation.organization_id).filter(id__in=calls)
    if executions.exclude(provider_model=provider_model).exists():
        why = "Another model was behind the judge's then: evaluate again."
        raise Conflict(why, details={"evaluation_id": why})


def _metric(evaluation: Evaluation, evaluator: Evaluator, version: int | None) -> EvaluationMetric:
    metrics = evaluation.metrics.filter(evaluator_version__evaluator=evaluator).select_related("evaluator_version")
    found = [one for one in metrics if version is None or one.evaluator_version.version_number == version]
    if not found:
        raise BadRequest("Not scored by this judge.", details={"evaluation_id": "It was not scored by this judge."})
    if len({one.evaluator_version_id for one in found}) > 1:
        raise BadRequest("Several versions.", details={"version": "Scored by several versions of the judge: name one."})
    return found[0]


def _weighting(scale: Scale, wanted: Weighting | None) -> Weighting:
    if scale.score_type != "numeric":
        return wanted or Weighting.NONE
    if not scale.categories:
        why = "The judge may give any number: a scale with a step is needed to compare it with labels."
        raise BadRequest(why, details={"evaluation_id": why})
    if wanted not in {None, Weighting.QUADRATIC}:
        raise BadRequest("Numbers are far or near.", details={"weighting": "Numbers are compared as quadratic."})
    return Weighting.QUADRATIC


def _judged(evaluation: Evaluation, wanted: str | None, *, compares_two: bool) -> EvaluationSubject:
    """The subject whose output people have labelled."""
    subjects = list(evaluation.subjects.order_by("position"))
    recorded = [
        one for one in subjects if one.kind == SubjectKind.RECORDED and not (compares_two and one.position == 0)
    ]
    found = [one for one in recorded if wanted in {None, one.name}]
    if len(found) != 1:
        raise BadRequest("Name the subject.", details={"subject": _FIXED})
    if compares_two and not _is_fixed(evaluation.organization_id, subjects[0]):
        raise BadRequest(_FIXED_BASELINE, details={"evaluation_id": _FIXED_BASELINE})
    return found[0]


def _is_fixed(organization_id: UUID, subject: EvaluationSubject) -> bool:
    models = LLMModel.objects.for_organization(organization_id).filter(id=subject.model_id)
    return subject.kind == SubjectKind.RECORDED or models.filter(provider__kind=ProviderKind.ECHO).exists()


def _read(
    evaluation: Evaluation, subject: EvaluationSubject, metric: EvaluationMetric, scale: Scale, label: str
) -> Labelled:
    found = Labelled()
    for position, said, judgement in _rows(evaluation, subject, metric, _JUDGEMENT[scale.score_type], label):
        if said is None:
            found.n_unlabelled += 1
            continue
        by_people = scale.category_of(said)
        if by_people is None:
            offered = ", ".join(scale.categories)
            raise BadRequest(
                "A label is not on the judge's scale.",
                details={"label": f"That of the item at {position} is none of {offered}."[:500]},
            )
        by_judge = None if judgement is None else scale.category_of(judgement)
        if by_judge is None:
            found.n_missing += 1
        else:
            found.by_people.append(by_people)
            found.by_judge.append(by_judge)
    if not found.by_people:
        raise BadRequest("Nothing to compare.", details={"label": "No item has this label and a judgement."})
    return found


def _rows(
    evaluation: Evaluation, subject: EvaluationSubject, metric: EvaluationMetric, judgement: str, label: str
) -> Iterator[tuple[int, Any, Any]]:
    """The item's position, its label and the judgement: None for one that there is not."""
    cases = EvaluationCase.objects.filter(evaluation=evaluation, subject=subject.position, repeat=0).annotate(
        score=FilteredRelation("scores", condition=Q(scores__metric=metric.position, scores__error_code="")),
        said=Func("item__metadata", Value(label), function="jsonb_extract_path", output_field=JSONField()),
        judgement=F(judgement),
    )
    return cases.order_by("id").values_list("item__position", "said", "judgement").iterator()


def _provider_model(organization_id: UUID, config: dict[str, Any]) -> str:
    model = LLMModel.objects.for_organization(organization_id).filter(id=config["model_id"]).first()
    return "" if model is None else model.provider_model_name
