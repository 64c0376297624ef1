"""An evaluation as rows, for tests that do not make it by the API."""

from typing import Any

from django.utils import timezone

from apps.evaluations.models import (
    CaseStatus,
    Dataset,
    DatasetItem,
    DatasetVersion,
    Evaluation,
    EvaluationCase,
    EvaluationMetric,
    EvaluationScore,
    EvaluationStatus,
    EvaluationSubject,
    Evaluator,
    EvaluatorVersion,
)

CASE_ID = 7_000_000_000_000
"""Of the first case; it occurs in nothing else."""


def make_ended_evaluation(person: Any, slug: str = "evaluated") -> Evaluation:
    """Two recorded subjects on one item, one metric, all of which passed; dataset and evaluator have this slug."""
    mine = {"organization": person.organization}
    dataset = Dataset.objects.create(**mine, slug=slug, name=slug)
    version = DatasetVersion.objects.create(**mine, dataset=dataset, version_number=1, item_count=1)
    dataset.current_version = version
    dataset.save()
    item = DatasetItem.objects.create(
        **mine, dataset=dataset, position=0, since=1, content_hash=b"h", input="a", output="b", has_output=True
    )
    evaluator = Evaluator.objects.create(**mine, slug=slug, name=slug, kind="json_valid")
    evaluator.current_version = EvaluatorVersion.objects.create(
        **mine, evaluator=evaluator, version_number=1, kind_version=1
    )
    evaluator.save()
    counts = {"item_count": 1, "case_count": 2, "succeeded_count": 2, "score_count": 2, "has_cases": True}
    evaluation = Evaluation.objects.create(
        **mine, dataset_version=version, status=EvaluationStatus.SUCCEEDED, finished_at=timezone.now(), **counts
    )
    EvaluationMetric.objects.create(
        evaluation=evaluation, position=0, name="valid", evaluator_version=evaluator.current_version
    )
    for position, name in enumerate(("old", "new")):
        EvaluationSubject.objects.create(evaluation=evaluation, position=position, name=name, kind="recorded")
        case = EvaluationCase.objects.create(
            id=CASE_ID + position,
            evaluation=evaluation,
            subject=position,
            item=item,
            status=CaseStatus.SUCCEEDED,
            output="b",
        )
        EvaluationScore.objects.create(evaluation=evaluation, case=case, metric=0, value=1.0, passed=True)
    return evaluation
