"""Sets that people have labelled, with what a judge said of them, as if they had been evaluated."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

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
    EvaluatorVersion,
    JudgeAgreement,
)

Json = Any
UNLABELLED = object()


def judged_set(
    judge: EvaluatorVersion,
    pairs: Sequence[tuple[Json, Json]],
    *,
    evaluation_id: UUID | None = None,
    subjects: Sequence[dict[str, Json]] = ({"kind": "recorded"},),
    key: str = "label",
    **fields: Json,
) -> Evaluation:
    """Each pair is a person's label (UNLABELLED for none) and the columns of the judge's score, or an error's code.

    The last one of `subjects` is judged.
    """
    organization_id, name = judge.organization_id, f"labelled-{uuid4().hex[:12]}"
    dataset = Dataset.objects.create(organization_id=organization_id, slug=name, name=name)
    version = DatasetVersion.objects.create(
        organization_id=organization_id, dataset=dataset, version_number=1, item_count=len(pairs)
    )
    ended = {"status": EvaluationStatus.SUCCEEDED, "finished_at": timezone.now(), "item_count": len(pairs)}
    evaluation = Evaluation.objects.create(
        id=evaluation_id or uuid4(), organization_id=organization_id, dataset_version=version, **{**ended, **fields}
    )
    for position, subject in enumerate(subjects):
        EvaluationSubject.objects.create(
            evaluation=evaluation, position=position, **{"name": f"subject {position}", **subject}
        )
    EvaluationMetric.objects.create(evaluation=evaluation, position=0, name="judge", evaluator_version=judge)
    add_cases(evaluation, pairs, subject=len(subjects) - 1, key=key)
    return evaluation


def add_cases(evaluation: Evaluation, pairs: Sequence[tuple[Json, Json]], *, subject: int, key: str) -> None:
    dataset = evaluation.dataset_version.dataset
    items = DatasetItem.objects.bulk_create(
        DatasetItem(
            organization_id=evaluation.organization_id, dataset=dataset, position=number, since=1, content_hash=b"",
            input=number, output=f"output {number}", has_output=True,
            metadata={} if label is UNLABELLED else {key: label},
        )
        for number, (label, _) in enumerate(pairs)
    )  # fmt: skip
    cases = EvaluationCase.objects.bulk_create(
        EvaluationCase(evaluation=evaluation, subject=subject, item=item, status=CaseStatus.SUCCEEDED) for item in items
    )
    scores = [
        EvaluationScore(
            evaluation=evaluation, case=case, metric=0, **({"error_code": said} if isinstance(said, str) else said)
        )
        for case, (_, said) in zip(cases, pairs, strict=True)
        if said is not None
    ]
    EvaluationScore.objects.bulk_create(scores)


def yes_or_no(value: bool) -> dict[str, Json]:
    return {"value": float(value), "passed": value}


def counted(table: tuple[int, int, int, int]) -> list[tuple[Json, Json]]:
    """Pairs of yes or no: how often people and judge both say yes, only people, only the judge, none."""
    both, people, judge, none = table
    return (
        [(True, yes_or_no(True))] * both
        + [(True, yes_or_no(False))] * people
        + [(False, yes_or_no(True))] * judge
        + [(False, yes_or_no(False))] * none
    )


def measured(version: EvaluatorVersion) -> JudgeAgreement:
    """As if it had been measured; it may not gate."""
    return JudgeAgreement.objects.create(
        organization_id=version.organization_id, evaluator_version=version, subject="recorded", label="label",
        threshold=0.6, n=50, n_missing=0, n_unlabelled=0, kappa=0.4, ci_low=0.15, ci_high=0.65,
        categories=["false", "true"], confusion=[[15, 10], [5, 20]], kind_version=1, provider_model="gpt-5-mini",
    )  # fmt: skip
