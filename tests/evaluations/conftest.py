"""Datasets, evaluators and evaluations as rows, and results that look as if they had been driven."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from hashlib import sha256
from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.db import connection
from django.utils import timezone

from apps.evaluations.engine import queue
from apps.evaluations.engine.driver import Drive
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
from apps.executions.models import Execution, Status
from apps.executions.orchestrator.background import run_queued
from apps.workflows.evaluating import evaluators
from apps.workflows.models import RunStatus, WorkflowRun
from tests.executions.conftest import execute, make_model, make_prompt, model, prompt  # noqa: F401 (fixtures)

DATASETS = "/api/v1/datasets"
EVALUATORS = "/api/v1/evaluators"
EVALUATIONS = "/api/v1/evaluations"
Json = Any


@pytest.fixture
def make_dataset(organization):
    """A dataset with one version of these items: fields of DatasetItem, or only the input."""

    def make(items: Sequence[Json] = (), *, of=organization, **fields: Json) -> DatasetVersion:
        name = f"set-{uuid4().hex[:12]}"
        dataset = Dataset.objects.create(organization=of, **{"slug": name, "name": name, **fields})
        version = DatasetVersion.objects.create(
            organization=of, dataset=dataset, version_number=1, item_count=len(items)
        )
        dataset.current_version = version
        dataset.save()
        rows = [said if isinstance(said, Mapping) and "input" in said else {"input": said} for said in items]
        DatasetItem.objects.bulk_create(_item(dataset, number, row) for number, row in enumerate(rows))
        return version

    return make


def _item(dataset: Dataset, number: int, row: Mapping[str, Json]) -> DatasetItem:
    content = orjson.dumps([row["input"], row.get("expected")], option=orjson.OPT_SORT_KEYS)
    return DatasetItem(
        organization_id=dataset.organization_id,
        dataset=dataset,
        position=number,
        since=1,
        content_hash=sha256(content).digest(),
        has_expected="expected" in row,
        has_output="output" in row,
        **row,
    )


@pytest.fixture
def make_evaluator(organization):
    """The first version of an evaluator of this kind."""

    def make(kind: str = "exact_match", config: Json = None, *, of=organization, **fields: Json) -> EvaluatorVersion:
        name = f"{kind.replace('_', '-')}-{uuid4().hex[:12]}"
        evaluator = Evaluator.objects.create(organization=of, slug=name, name=name, kind=kind)
        version = EvaluatorVersion.objects.create(
            organization=of,
            evaluator=evaluator,
            version_number=1,
            kind_version=evaluators()[kind].version,
            config=config or {},
            **fields,
        )
        evaluator.current_version = version
        evaluator.save()
        return version

    return make


@pytest.fixture
def make_evaluation():
    """A queued evaluation; subjects are fields of EvaluationSubject, metrics are evaluator versions by name."""

    def make(
        version: DatasetVersion,
        subjects: Sequence[Mapping[str, Json]],
        metrics: Mapping[str, EvaluatorVersion],
        **fields: Json,
    ) -> Evaluation:
        evaluation = Evaluation.objects.create(
            organization_id=version.organization_id, dataset_version=version, **fields
        )
        for position, subject in enumerate(subjects):
            said = {"name": f"subject {position}", "kind": "recorded", **subject}
            EvaluationSubject.objects.create(evaluation=evaluation, position=position, **said)
        for position, (name, evaluator_version) in enumerate(metrics.items()):
            EvaluationMetric.objects.create(
                evaluation=evaluation, position=position, name=name, evaluator_version=evaluator_version
            )
        return evaluation

    return make


class AtOnce(Executor):
    """Does what it is given in the caller's thread, whose transaction no other one sees into."""

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
        done: Future[Any] = Future()
        done.set_result(call(*args, **kwargs))
        return done


@pytest.fixture
def drive():
    """Work at an evaluation in this process and thread until it has ended; the evaluation as it is then."""

    def until_ended(evaluation: Evaluation, *, deadline_s: float = 60) -> Evaluation:
        ends_at = time.monotonic() + deadline_s
        while (taken := queue.take()) is not None:
            one = Drive(taken, AtOnce())
            while not one.is_done:
                one.turn()
                make_calls(taken)
                assert time.monotonic() < ends_at, "the evaluation does not end"
        evaluation.refresh_from_db()
        return evaluation

    return until_ended


@pytest.fixture
def worker(drive):
    """Drives evaluations until the test ends."""
    ending = threading.Event()

    def work():
        try:
            while not ending.wait(0.05):
                for evaluation in Evaluation.objects.live():
                    drive(evaluation)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ending.set()
    thread.join(20)


def make_calls(evaluation: Evaluation) -> None:
    """What runners and workers at workflows do."""
    if Execution.objects.filter(organization_id=evaluation.organization_id, status=Status.QUEUED).exists():
        run_queued(evaluation.organization_id)
    if WorkflowRun.objects.filter(status=RunStatus.QUEUED).exists():
        from apps.workflows.engine.running import run_ready  # (it loads LangGraph)

        run_ready()


def finish(evaluation: Evaluation, results: Sequence[Sequence[Json]]) -> Evaluation:
    """As if it had been driven: `results[item][subject]` is a list of the metrics' values, or the code of a failure.

    A value is a number, True or False, or the code of the metric's error. There is one repeat.
    """
    items = list(DatasetItem.objects.of_version(evaluation.dataset_version))
    cases, scores = [], []
    for item, row in zip(items, results, strict=True):
        for subject, values in enumerate(row):
            case = EvaluationCase(evaluation=evaluation, subject=subject, item=item, finished_at=timezone.now())
            case.status = CaseStatus.SUCCEEDED
            if isinstance(values, str):
                case.status, case.error_code = CaseStatus.FAILED, values
            cases.append(case)
            scores.append([] if isinstance(values, str) else values)
    EvaluationCase.objects.bulk_create(cases)
    rows = [
        _score(evaluation, case, metric, value)
        for case, values in zip(cases, scores, strict=True)
        for metric, value in enumerate(values)
    ]
    EvaluationScore.objects.bulk_create(rows)
    evaluation.status, evaluation.finished_at = EvaluationStatus.SUCCEEDED, timezone.now()
    evaluation.has_cases, evaluation.item_count, evaluation.case_count = True, len(items), len(cases)
    evaluation.failed_count = sum(case.status == CaseStatus.FAILED for case in cases)
    evaluation.succeeded_count = len(cases) - evaluation.failed_count
    evaluation.score_error_count = sum(bool(row.error_code) for row in rows)
    evaluation.score_count = len(rows) - evaluation.score_error_count
    evaluation.save()
    return evaluation


def _score(evaluation: Evaluation, case: EvaluationCase, metric: int, value: Json) -> EvaluationScore:
    score = EvaluationScore(evaluation=evaluation, case=case, metric=metric)
    if isinstance(value, str):
        score.error_code = value
    else:
        score.value, score.passed = float(value), value if isinstance(value, bool) else None
    return score
