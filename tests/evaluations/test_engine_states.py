"""Evaluations that are stopped, go on, try again and run out of money; drivers that end after any step."""

import random
from decimal import Decimal

import pytest
from django.utils import timezone

from apps.evaluations.engine import queue
from apps.evaluations.engine.changes import LeaseLost
from apps.evaluations.engine.driver import Drive
from apps.evaluations.models import CaseStatus, Evaluation, EvaluationCase, EvaluationScore, EvaluationStatus
from apps.executions.models import Execution, Source, Status
from apps.executions.sweeping import fail_interrupted
from apps.organizations.models import WebhookDelivery, WebhookEndpoint
from everquant.api.errors import Conflict
from tests.evaluations.conftest import AtOnce, make_calls
from tests.evaluations.test_engine import inline, states
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
JUDGE = {"rubric": "Good?", "scale": {"type": "boolean"}}


@pytest.fixture
def questions(make_dataset):
    return lambda number: make_dataset(
        [{"input": {"question": f"q{n}"}, "expected": f"You said: q{n}"} for n in range(number)]
    )


def begin(evaluation, turns=3):
    """A driver that has made some turns; its calls wait for a runner."""
    one = Drive(queue.take(), AtOnce())
    for _ in range(turns):
        one.turn()
    return one


def rows(evaluation):
    """What an evaluation has come to, without what differs from run to run."""
    cases = EvaluationCase.objects.filter(evaluation=evaluation).order_by("item__position", "repeat", "subject")
    scores = EvaluationScore.objects.filter(evaluation=evaluation)
    found = {(score.case_id, score.metric): (score.value, score.passed, score.error_code) for score in scores}
    return [
        (case.status, case.output, case.error_code, case.cost_usd, [found.get((case.id, metric)) for metric in (0, 1)])
        for case in cases
    ]


def counts(evaluation):
    return (
        evaluation.succeeded_count, evaluation.failed_count, evaluation.score_count, evaluation.score_error_count,
        evaluation.cost_usd,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_whoever_comes_after_a_driver_that_died_anywhere_comes_to_the_same(
    questions, make_evaluator, make_evaluation, drive, model, upstream, seed
):
    metrics = {"same": make_evaluator(), "long": make_evaluator("length", {"min": 11})}
    subjects, options = [inline(model), inline(model, "no {{question}}")], {"repeats": 2, "max_concurrency": 5}
    version = questions(6)
    calm = drive(make_evaluation(version, subjects, metrics, **options))
    asked = upstream.request_count
    chance, shaken = random.Random(seed), make_evaluation(version, subjects, metrics, **options)
    while (taken := queue.take()) is not None:
        one = Drive(taken, AtOnce())
        for _ in range(chance.randrange(1, 7)):
            if not one.is_done:
                one.turn()
                if chance.random() < 0.6:
                    make_calls(taken)
        Evaluation.objects.filter(status="running").update(
            lease_expires_at=timezone.now() - timezone.timedelta(seconds=1)
        )
    shaken.refresh_from_db()
    assert shaken.fence > 1
    assert rows(shaken) == rows(calm)
    assert counts(shaken) == counts(calm)
    assert upstream.request_count == 2 * asked


def test_a_driver_that_lost_its_lease_changes_nothing(
    questions, make_evaluator, make_evaluation, drive, model, upstream
):
    evaluation = make_evaluation(questions(3), [inline(model)], {"same": make_evaluator()}, max_concurrency=2)
    old = begin(evaluation, 1)
    Evaluation.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    new = Drive(queue.take(), AtOnce())
    with pytest.raises(LeaseLost):
        _ = [old.turn() for _ in range(3)]
    assert states(evaluation) == ["pending"] * 3
    while not new.is_done:
        new.turn()
        make_calls(evaluation)
    assert upstream.request_count == 3


def test_cancelled_in_the_middle_keeps_what_it_has_and_goes_on_when_resumed(
    questions, make_evaluator, make_evaluation, drive, model, upstream, organization
):
    evaluation = make_evaluation(questions(5), [inline(model)], {"same": make_evaluator()}, max_concurrency=2)
    one = begin(evaluation)
    make_calls(evaluation)
    one.turn()
    assert states(evaluation) == ["succeeded"] * 2 + ["running"] * 2 + ["pending"]
    queue.request_cancel(evaluation=evaluation)
    one.interrupt()
    one.turn()
    stopped = drive(evaluation)
    assert stopped.status == EvaluationStatus.CANCELLED
    assert states(evaluation) == ["succeeded"] * 2 + ["cancelled"] * 3
    assert Execution.objects.filter(status=Status.CANCELLED).count() == 2
    with pytest.raises(Conflict):
        queue.request_cancel(evaluation=evaluation)
    assert queue.resume(evaluation=evaluation, retry_errors=False).status == EvaluationStatus.QUEUED
    resumed = drive(evaluation)
    assert (resumed.status, states(evaluation)) == ("succeeded", ["succeeded"] * 5)
    assert upstream.request_count == 5
    assert counts(resumed)[:4] == (5, 0, 5, 0)


def test_one_that_was_never_begun_is_cancelled_at_once(questions, make_evaluator, make_evaluation, model, organization):
    hook = WebhookEndpoint(
        organization=organization, name="hook", url="http://127.0.0.1:9/x", event_types=["evaluation.cancelled"]
    )
    hook.set_secret("whsec_x")
    hook.save()
    evaluation = make_evaluation(questions(2), [inline(model)], {"same": make_evaluator()})
    assert queue.request_cancel(evaluation=evaluation).status == EvaluationStatus.CANCELLED
    [told] = WebhookDelivery.objects.all()
    assert told.payload["data"]["id"] == str(evaluation.id)
    assert queue.take() is None


def test_only_errors_are_tried_again(questions, make_evaluator, make_evaluation, drive, model, upstream, make_dataset):
    version = make_dataset([
        {"input": {"question": "good"}, "expected": "You said: good"},
        {"input": {"question": "bad"}, "expected": "You said: bad"},
        {"input": {"question": "nothing"}},
    ])  # fmt: skip
    upstream.script([Behaviour(), Behaviour(status=400, message="no"), Behaviour()])
    evaluation = drive(make_evaluation(version, [inline(model)], {"same": make_evaluator()}, max_concurrency=1))
    assert counts(evaluation)[:4] == (2, 1, 1, 1)
    before = list(
        EvaluationCase.objects.filter(evaluation=evaluation).order_by("id").values_list("execution_id", flat=True)
    )
    kept = EvaluationScore.objects.get(case__execution_id=before[0])
    queue.resume(evaluation=evaluation, retry_errors=True)
    again = drive(evaluation)
    after = list(
        EvaluationCase.objects.filter(evaluation=evaluation).order_by("id").values_list("execution_id", flat=True)
    )
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    assert counts(again)[:4] == (3, 0, 2, 1)
    assert EvaluationScore.objects.get(case_id=kept.case_id).__dict__.keys() == kept.__dict__.keys()
    assert upstream.request_count == 4
    assert again.cost_usd == sum(cost for cost in Execution.objects.values_list("cost_usd", flat=True) if cost)


def test_what_has_succeeded_without_an_error_has_nothing_to_resume(
    questions, make_evaluator, make_evaluation, drive, model
):
    evaluation = drive(make_evaluation(questions(1), [inline(model)], {"same": make_evaluator()}))
    for retry_errors in (True, False):
        with pytest.raises(Conflict):
            queue.resume(evaluation=evaluation, retry_errors=retry_errors)


def test_the_budget_is_never_overspent_and_a_larger_one_goes_on(
    questions, make_evaluator, make_evaluation, drive, model, upstream
):
    budget = Decimal("0.0052")
    subject = inline(model, parameters={"max_tokens": 100})
    evaluation = drive(
        make_evaluation(questions(40), [subject], {"same": make_evaluator()}, max_concurrency=3, budget_usd=budget)
    )
    assert (evaluation.status, evaluation.error_code) == ("failed", "BUDGET_EXCEEDED")
    assert 0 < evaluation.succeeded_count < 40
    assert Decimal(0) < evaluation.cost_usd <= budget
    assert evaluation.cost_usd == sum(Execution.objects.values_list("cost_usd", flat=True))
    assert set(states(evaluation)) == {"succeeded", "pending"}
    assert {request.body["max_tokens"] for request in upstream.requests} == {100}
    Evaluation.objects.update(budget_usd=10)
    queue.resume(evaluation=evaluation, retry_errors=False)
    assert drive(evaluation).status == EvaluationStatus.SUCCEEDED
    assert upstream.request_count == 40


def test_within_a_budget_nothing_is_called_whose_price_is_not_known(
    questions, make_evaluator, make_evaluation, drive, make_model, upstream
):
    free = make_model("unheard-of", input_price_usd=None, output_price_usd=None, cached_input_price_usd=None)
    evaluation = drive(make_evaluation(questions(2), [inline(free)], {"same": make_evaluator()}, budget_usd=1))
    assert (evaluation.status, evaluation.error_code) == ("failed", "PRICE_UNKNOWN")
    assert upstream.request_count == 0


def test_a_call_whose_process_was_killed_is_asked_for_again_as_the_same_execution(
    questions, make_evaluator, make_evaluation, drive, model, upstream
):
    evaluation = make_evaluation(questions(1), [inline(model)], {"same": make_evaluator()})
    begin(evaluation)
    for _ in range(3):
        cut = Execution.objects.get(source=Source.EVALUATION)
        now = timezone.now()
        Execution.objects.update(status="running", started_at=now, lease_expires_at=now - timezone.timedelta(seconds=1))
        fail_interrupted()
        again = Execution.objects.get()
        assert (again.status, again.attempt_count) == (Status.QUEUED, cut.attempt_count + 1)
    Evaluation.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    drive(evaluation)
    ended = Execution.objects.get()
    assert (ended.status, ended.attempts.count()) == (Status.SUCCEEDED, 4)
    assert upstream.requests[0].headers["idempotency-key"] == str(ended.id)


def test_a_call_that_kills_its_processes_fails_in_the_end(questions, make_evaluator, make_evaluation, drive, model):
    evaluation = make_evaluation(questions(1), [inline(model)], {"same": make_evaluator()})
    begin(evaluation)
    for _ in range(4):
        now = timezone.now()
        Execution.objects.update(status="running", started_at=now, lease_expires_at=now - timezone.timedelta(seconds=1))
        fail_interrupted()
    assert Execution.objects.get().status == Status.FAILED
    Evaluation.objects.update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    drive(evaluation)
    assert EvaluationCase.objects.get().error_code == "INTERRUPTED"


def test_an_organization_has_so_many_at_once_and_another_goes_first(
    questions, make_evaluator, make_evaluation, make_dataset, outsider, model, settings
):
    settings.EVALUATIONS_PER_ORGANIZATION = 2
    version = questions(1)
    mine = [make_evaluation(version, [inline(model)], {}) for _ in range(4)]
    theirs = make_evaluation(make_dataset([{"input": "x"}], of=outsider.organization), [{}], {})
    taken = [queue.take() for _ in range(4)]
    assert [one and one.id for one in taken] == [mine[0].id, theirs.id, mine[1].id, None]
    queue.request_cancel(evaluation=mine[3])
    assert queue.take() is None, "it has ended"


def test_an_evaluator_that_crashes_is_an_error_record(
    make_dataset, make_evaluator, make_evaluation, drive, organization
):
    version = make_dataset([{"input": "a", "expected": "1", "output": "x"}])
    broken = make_evaluator("regex", {})
    evaluation = drive(make_evaluation(version, [{}], {"broken": broken, "long": make_evaluator("length", {"min": 1})}))
    broken, good = EvaluationScore.objects.filter(evaluation=evaluation).order_by("metric")
    assert (broken.error_code, broken.value) == ("INTERNAL", None)
    assert good.value == 1
    assert (evaluation.status, evaluation.score_error_count) == ("succeeded", 1)
    assert EvaluationCase.objects.get().status == CaseStatus.SUCCEEDED


def test_a_split_and_a_limit_narrow_the_items(make_dataset, make_evaluator, make_evaluation, drive):
    version = make_dataset([{"input": n, "output": n, "split": "test" if n % 2 else ""} for n in range(10)])
    evaluation = drive(make_evaluation(version, [{}], {"v": make_evaluator("json_valid")}, split="test", item_limit=3))
    assert list(EvaluationCase.objects.order_by("id").values_list("output", flat=True)) == [1, 3, 5]
    assert (evaluation.item_count, evaluation.case_count) == (3, 3)
