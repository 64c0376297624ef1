"""What judges have cost is the evaluation's, also when no score came of it; what answers take of memory is little."""

from decimal import Decimal

import orjson
import pytest
from django.utils import timezone

from apps.evaluations.engine import queue
from apps.evaluations.engine.answers import MOST_BYTES
from apps.evaluations.engine.driver import Drive
from apps.evaluations.models import Evaluation, EvaluationCase, EvaluationStatus
from apps.evaluations.runs.services import delete_evaluation
from apps.executions.models import Execution, Source
from everquant.api.errors import NotFound
from tests.evaluations.conftest import AtOnce, make_calls
from tests.evaluations.test_engine import inline, states
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
YES = Behaviour(text=orjson.dumps({"reason": "So it is.", "verdict": True}).decode())


@pytest.fixture
def judged(make_dataset, make_evaluation, make_evaluator, model, upstream):
    """An evaluation of recorded answers by a judge with three votes."""
    upstream.answer_always(YES)

    def make(items, **fields):
        version = make_dataset([{"input": f"q{n}", "output": f"a{n}"} for n in range(items)])
        config = {"model_id": str(model.id), "rubric": "Good?", "scale": {"type": "boolean"}, "repeats": 3}
        judge = make_evaluator("llm_judge", {**config, "parameters": {"max_tokens": 50}})
        return make_evaluation(version, [{}], {"good": judge}, max_concurrency=2, **fields)

    return make


def spent():
    return sum((cost or 0 for cost in Execution.objects.values_list("cost_usd", flat=True)), Decimal(0))


def votes(evaluation):
    return Execution.objects.filter(source=Source.JUDGE, organization_id=evaluation.organization_id).count()


@pytest.mark.parametrize("retry_errors", [False, True])
def test_votes_of_a_score_that_the_budget_stopped_are_paid_for_once(judged, drive, retry_errors):
    evaluation = drive(judged(3, budget_usd=Decimal("0.03")))
    assert (evaluation.status, evaluation.error_code) == (EvaluationStatus.FAILED, "BUDGET_EXCEEDED")
    assert votes(evaluation) % 3, "a score was stopped between its votes"
    assert evaluation.evaluator_cost_usd == spent() <= evaluation.budget_usd
    for _ in range(3):
        queue.resume(evaluation=evaluation, retry_errors=retry_errors)
        evaluation = drive(evaluation)
        assert evaluation.evaluator_cost_usd == spent() <= evaluation.budget_usd
    Evaluation.objects.update(budget_usd=10)
    queue.resume(evaluation=evaluation, retry_errors=retry_errors)
    done = drive(evaluation)
    assert (done.status, done.score_count, done.evaluator_cost_usd) == ("succeeded", 3, spent())
    assert (votes(evaluation) == 9) != retry_errors


def test_what_was_asked_without_a_budget_ends_before_more_is_asked_within_one(
    make_dataset, make_evaluator, make_evaluation, drive, model
):
    version = make_dataset([{"input": {"question": f"q{n}"}, "expected": "x"} for n in range(6)])
    subject = inline(model, parameters={"max_tokens": 10})
    evaluation = make_evaluation(version, [subject], {"same": make_evaluator()}, max_concurrency=2)
    one = Drive(queue.take(), AtOnce())
    for _ in range(3):
        one.turn()
    assert states(evaluation) == ["running"] * 2 + ["pending"] * 4
    Evaluation.objects.update(budget_usd=Decimal("0.00000001"), max_concurrency=4)
    Evaluation.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    two = Drive(queue.take(), AtOnce())
    for _ in range(3):
        two.turn()
    assert EvaluationCase.objects.filter(status="running").count() == 2
    make_calls(evaluation)
    while not two.is_done:
        two.turn()
    evaluation.refresh_from_db()
    assert (evaluation.error_code, states(evaluation)) == ("BUDGET_EXCEEDED", ["succeeded"] * 2 + ["pending"] * 4)


def test_large_answers_are_taken_a_few_in_a_turn(make_dataset, make_evaluator, make_evaluation, drive, model, upstream):
    version = make_dataset([{"input": {"question": f"q{n}"}, "expected": "x"} for n in range(3)])
    upstream.answer_always(Behaviour(text="x" * (MOST_BYTES // 5 * 2)))
    evaluation = make_evaluation(version, [inline(model)], {"same": make_evaluator()}, max_concurrency=3)
    one = Drive(queue.take(), AtOnce())
    while not Execution.objects.exists():
        one.turn()
    make_calls(evaluation)
    one.turn()
    assert states(evaluation) == ["succeeded"] * 2 + ["running"]
    while not one.is_done:
        one.turn()
    assert states(evaluation) == ["succeeded"] * 3


def test_what_is_deleted_meanwhile_is_not_resumed(make_dataset, make_evaluator, make_evaluation, drive, organization):
    version = make_dataset([{"input": "a", "output": "b"}])
    evaluation = drive(make_evaluation(version, [{}], {"same": make_evaluator()}))
    assert evaluation.score_error_count == 1
    delete_evaluation(evaluation=Evaluation.objects.get(id=evaluation.id))
    with pytest.raises(NotFound):
        queue.resume(evaluation=evaluation, retry_errors=True)
