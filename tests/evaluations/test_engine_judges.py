"""Scores that wait: for models, and for the baseline's answer."""

from contextlib import contextmanager
from decimal import Decimal

import orjson
import pytest
from django.utils import timezone

from apps.evaluations.engine import queue
from apps.evaluations.engine.driver import Drive
from apps.evaluations.engine.running import drive_ready
from apps.evaluations.models import CaseStatus, Evaluation, EvaluationCase, EvaluationScore, EvaluationStatus
from apps.executions.models import Execution, Source
from everquant.workers import set_capacity
from tests.evaluations.conftest import AtOnce
from tests.evaluations.test_engine import inline, states
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db


def verdict(value):
    return Behaviour(text=orjson.dumps({"reason": "So it is.", "verdict": value}).decode())


@pytest.fixture
def judge(make_evaluator, model):
    def make(kind="llm_judge", **config):
        scale = {"scale": {"type": "boolean"}} if kind == "llm_judge" else {}
        return make_evaluator(kind, {"model_id": str(model.id), "rubric": "Good?", **scale, **config})

    return make


def recorded(make_dataset, number):
    return make_dataset([{"input": f"q{n}", "output": f"a{n}", "expected": f"a{n}"} for n in range(number)])


def test_a_judges_cost_is_the_evaluations_and_its_calls_are_with_the_score(
    make_dataset, make_evaluator, make_evaluation, drive, judge, upstream
):
    upstream.answer_always(verdict(True))
    metrics = {"good": judge(), "same": make_evaluator()}
    evaluation = drive(make_evaluation(recorded(make_dataset, 3), [{}], metrics, max_concurrency=2))
    assert (evaluation.status, states(evaluation)) == ("succeeded", ["succeeded"] * 3)
    calls = Execution.objects.filter(source=Source.JUDGE)
    assert calls.count() == upstream.request_count == 3
    assert evaluation.evaluator_cost_usd == sum(call.cost_usd for call in calls) > Decimal(0)
    assert evaluation.cost_usd == 0
    scores = EvaluationScore.objects.filter(evaluation=evaluation)
    assert {score.metric: score.value for score in scores} == {0: 1.0, 1: 1.0}
    assert {one for score in scores for one in score.execution_ids} == {call.id for call in calls}
    assert evaluation.score_count == 6


def test_a_judge_is_not_asked_again_by_the_next_driver(make_dataset, make_evaluation, drive, judge, upstream):
    upstream.answer_always(verdict(True))
    evaluation = make_evaluation(recorded(make_dataset, 4), [{}], {"good": judge()}, max_concurrency=2)
    for turns in (2, 3, 3):
        one = Drive(queue.take(), AtOnce())
        for _ in range(turns):
            one.turn()
        Evaluation.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    done = drive(evaluation)
    assert (done.status, done.score_count, upstream.request_count) == ("succeeded", 4, 4)
    assert done.evaluator_cost_usd == sum(Execution.objects.values_list("cost_usd", flat=True))


def test_errors_of_a_judge_are_judged_anew_and_nothing_else(make_dataset, make_evaluation, drive, judge, upstream):
    upstream.script([verdict(True), Behaviour(status=400, message="no")])
    evaluation = drive(make_evaluation(recorded(make_dataset, 2), [{}], {"good": judge()}, max_concurrency=1))
    assert (evaluation.status, evaluation.score_count, evaluation.score_error_count) == ("succeeded", 1, 1)
    kept = EvaluationScore.objects.get(error_code="")
    upstream.answer_always(verdict(False))
    queue.resume(evaluation=evaluation, retry_errors=True)
    again = drive(evaluation)
    assert (again.score_count, again.score_error_count, again.succeeded_count) == (2, 0, 2)
    assert EvaluationScore.objects.get(case_id=kept.case_id).execution_ids == kept.execution_ids
    assert upstream.request_count == 3


def test_two_are_compared_once_the_baseline_has_answered(make_dataset, make_evaluation, drive, judge, model, upstream):
    upstream.answer_always(Behaviour(text="hello"))
    version = make_dataset([{"input": {"question": "a"}}, {"input": {"question": "b"}}])
    upstream.answer_always(verdict("tie"))
    subjects = [inline(model), inline(model, "no {{question}}")]
    evaluation = drive(make_evaluation(version, subjects, {"better": judge("pairwise_judge")}, max_concurrency=1))
    assert evaluation.status == EvaluationStatus.SUCCEEDED
    scores = EvaluationScore.objects.filter(evaluation=evaluation).order_by("case_id")
    assert [(score.case.subject, score.value, score.label, score.error_code) for score in scores] == [
        (1, 0.5, "tie", "")
    ] * 2


def test_without_the_baselines_answer_there_is_nothing_to_compare_with(
    make_dataset, make_evaluation, drive, judge, model, upstream
):
    version = make_dataset([{"input": {"question": "a"}}])
    upstream.script([Behaviour(status=400, message="no")])
    subjects = [inline(model), inline(model, "no {{question}}")]
    evaluation = drive(make_evaluation(version, subjects, {"better": judge("pairwise_judge")}, max_concurrency=1))
    assert states(evaluation) == ["failed", "succeeded"]
    assert EvaluationScore.objects.get().error_code == "NO_BASELINE"


def test_judges_ask_the_same_budget_and_are_asked_again_when_there_is_more(
    make_dataset, make_evaluation, drive, judge, upstream
):
    upstream.answer_always(verdict(True))
    metrics = {"good": judge(parameters={"max_tokens": 50})}
    budget = Decimal("0.015")
    evaluation = drive(make_evaluation(recorded(make_dataset, 60), [{}], metrics, max_concurrency=2, budget_usd=budget))
    assert (evaluation.status, evaluation.error_code) == ("failed", "BUDGET_EXCEEDED")
    assert 0 < evaluation.score_count < 60
    assert evaluation.score_error_count == 0, "no room in the budget is no error of the evaluator"
    assert evaluation.evaluator_cost_usd <= budget
    Evaluation.objects.update(budget_usd=10)
    queue.resume(evaluation=evaluation, retry_errors=False)
    done = drive(evaluation)
    assert (done.status, done.score_count, upstream.request_count) == ("succeeded", 60, 60)


def test_what_a_killed_driver_was_billed_for_is_in_the_budget(
    make_dataset, make_evaluation, drive, judge, upstream, organization
):
    upstream.answer_always(verdict(True))
    evaluation = make_evaluation(
        recorded(make_dataset, 20), [{}], {"good": judge(parameters={"max_tokens": 50})}, budget_usd=Decimal("0.015")
    )
    Drive(queue.take(), AtOnce()).turn()
    lost = Decimal("0.0149")
    Execution.objects.create(
        organization_id=organization.id, source=Source.JUDGE, status="succeeded", cost_usd=lost, price={},
        metadata={"evaluation_id": str(evaluation.id)}, created_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    Evaluation.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    done = drive(evaluation)
    assert (done.status, done.error_code, upstream.request_count) == ("failed", "BUDGET_EXCEEDED", 0)


@contextmanager
def capacity(jobs):
    set_capacity(jobs)
    try:
        yield
    finally:
        set_capacity(1)


def test_a_worker_of_one_job_at_a_time_makes_the_calls_in_between(
    make_dataset, make_evaluator, make_evaluation, model, upstream, run_jobs
):
    version = make_dataset([{"input": {"question": f"q{n}"}, "expected": "x"} for n in range(3)])
    evaluation = make_evaluation(version, [inline(model)], {"same": make_evaluator()}, max_concurrency=2)
    queue.enqueue(evaluation)
    while not evaluation.is_finished:
        jobs = run_jobs()
        assert jobs.count("drive") == 1, "one comes for it, and not more and more"
        evaluation.refresh_from_db()
    assert (evaluation.status, evaluation.succeeded_count, upstream.request_count) == ("succeeded", 3, 3)


@pytest.mark.django_db(transaction=True)
def test_a_job_drives_with_threads_that_judge(make_dataset, make_evaluation, judge, upstream):
    upstream.answer_always(verdict(True))
    evaluation = make_evaluation(recorded(make_dataset, 8), [{}], {"good": judge()}, max_concurrency=4)
    with capacity(8):
        assert drive_ready() == 1
    evaluation.refresh_from_db()
    assert (evaluation.status, evaluation.score_count, upstream.request_count) == ("succeeded", 8, 8)
    assert set(EvaluationCase.objects.values_list("status", flat=True)) == {CaseStatus.SUCCEEDED}
