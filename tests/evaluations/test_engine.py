"""Evaluations driven in this process: what becomes of cases and scores."""

from decimal import Decimal

import pytest

from apps.evaluations.models import CaseStatus, EvaluationCase, EvaluationScore, EvaluationStatus
from apps.executions.models import Execution
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db


def inline(model, text="{{question}}", **more):
    return {"kind": "inline", "model_id": model.id, "messages": [{"role": "user", "content": text}], **more}


def states(evaluation):
    return list(EvaluationCase.objects.filter(evaluation=evaluation).order_by("id").values_list("status", flat=True))


def test_recorded_answers_are_scored_without_a_call(make_dataset, make_evaluator, make_evaluation, drive):
    version = make_dataset([
        {"input": "a", "expected": "x", "output": "x"},
        {"input": "b", "expected": "x", "output": "y"},
        {"input": "c", "expected": "x"},
        {"input": "d", "output": "z"},
    ])  # fmt: skip
    evaluation = drive(make_evaluation(version, [{}], {"same": make_evaluator()}))
    assert evaluation.status == EvaluationStatus.SUCCEEDED
    assert states(evaluation) == ["succeeded", "succeeded", "failed", "succeeded"]
    scores = EvaluationScore.objects.filter(evaluation=evaluation).order_by("case_id")
    assert list(scores.values_list("value", "passed", "error_code")) == [
        (1.0, True, ""), (0.0, False, ""), (None, None, "NOTHING_EXPECTED"),
    ]  # fmt: skip
    counts = ("item_count", "case_count", "succeeded_count", "failed_count", "score_count", "score_error_count")
    assert [getattr(evaluation, name) for name in counts] == [4, 4, 3, 1, 2, 1]


def test_calls_are_made_once_for_each_case_and_their_cost_is_the_evaluations(
    make_dataset, make_evaluator, make_evaluation, drive, model, upstream
):
    version = make_dataset([{"input": {"question": f"q{n}"}, "expected": f"You said: q{n}"} for n in range(5)])
    subjects = [inline(model), inline(model, "no {{question}}")]
    metrics = {"same": make_evaluator()}
    evaluation = drive(make_evaluation(version, subjects, metrics, repeats=2, max_concurrency=3))
    assert evaluation.status == EvaluationStatus.SUCCEEDED
    cases = list(EvaluationCase.objects.filter(evaluation=evaluation).order_by("id"))
    assert [(case.repeat, case.subject) for case in cases[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {case.status for case in cases} == {CaseStatus.SUCCEEDED}
    assert cases[1].output == "You said: no q0"
    assert len({case.execution_id for case in cases}) == len(cases) == upstream.request_count == 20
    costs = [execution.cost_usd for execution in Execution.objects.all()]
    assert evaluation.cost_usd == sum(costs) > Decimal(0)
    assert evaluation.score_count == 20
    passed = EvaluationScore.objects.filter(evaluation=evaluation, passed=True).values_list("case__subject", flat=True)
    assert list(passed) == [0] * 10


def test_a_case_that_cannot_be_rendered_fails_with_the_reason_and_calls_nobody(
    make_dataset, make_evaluator, make_evaluation, drive, model, upstream
):
    version = make_dataset([{"input": {"other": "x"}}, {"input": {"question": "q", "other": "x"}}])
    evaluation = drive(make_evaluation(version, [inline(model)], {"long": make_evaluator("length", {"min": 1})}))
    first, second = EvaluationCase.objects.filter(evaluation=evaluation).order_by("id")
    assert (first.status, first.error_code) == (CaseStatus.FAILED, "INVALID_INPUT")
    assert "question" in first.error_message
    assert second.status == CaseStatus.SUCCEEDED
    assert upstream.request_count == 1


def test_a_failed_call_is_a_failed_case_and_never_a_score(
    make_dataset, make_evaluator, make_evaluation, drive, model, upstream
):
    upstream.answer_always(Behaviour(status=400, message="no"))
    version = make_dataset([{"input": {"question": "q"}, "expected": "x"}])
    evaluation = drive(make_evaluation(version, [inline(model)], {"same": make_evaluator()}))
    case = EvaluationCase.objects.get(evaluation=evaluation)
    assert (evaluation.status, case.status, case.error_code) == ("succeeded", "failed", "INVALID_REQUEST")
    assert not EvaluationScore.objects.filter(evaluation=evaluation).exists()
