"""Subjects compared over HTTP: what is paired, what is missing and why, and what is said of it."""

import math
from uuid import uuid4

import pytest
from django.utils import timezone

from apps.evaluations.models import (
    CaseStatus,
    DatasetItem,
    DatasetVersion,
    EvaluationCase,
    EvaluationScore,
    EvaluationStatus,
    ScoreConfig,
)
from tests.evaluations.conftest import EVALUATIONS, finish

pytestmark = pytest.mark.django_db


@pytest.fixture
def two(make_dataset, make_evaluator, make_evaluation):
    """An evaluation of two recorded subjects by the given evaluators, with these results."""

    def make(results, *, kinds=("exact_match",), subjects=({"name": "old"}, {"name": "new"}), version=None, **fields):
        version = version or make_dataset([f"item {number}" for number in range(len(results))])
        metrics = {kind: kind if not isinstance(kind, str) else make_evaluator(kind) for kind in kinds}
        return finish(make_evaluation(version, list(subjects), metrics, **fields), results)

    return make


def compared(client, evaluation, query=""):
    answer = client.get(f"{EVALUATIONS}/{evaluation.id}/compare{query}")
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


def metric(data, name, place=0):
    return next(one for one in data["comparisons"][place]["metrics"] if one["metric"] == name)


def test_yes_and_no_by_mcnemar(viewer, two):
    """Table of Bentur (2009) in Fagerland, Lydersen and Laake (2014): 1, 1, 7, 12."""
    rows = [(True, True)] * 1 + [(True, False)] * 1 + [(False, True)] * 7 + [(False, False)] * 12
    evaluation = two([[[before], [after]] for before, after in rows])
    data = compared(viewer.client, evaluation)
    assert data["baseline"] == {"position": 0, "name": "old"}
    assert data["comparisons"][0]["items"] == {"paired": 21, "baseline_only": 0, "candidate_only": 0}
    found = metric(data, "exact_match")
    assert (found["n"], found["test"], found["interval_method"]) == (21, "mcnemar_exact", "tango_score")
    assert found["difference"] == pytest.approx(6 / 21)
    assert (found["low"], found["high"]) == (pytest.approx(0.026, abs=5e-4), pytest.approx(0.517, abs=5e-4))
    assert found["p_value"] == pytest.approx(0.0703125)
    assert found["changes"]["gained"] == 7
    assert found["changes"]["lost"] == 1
    assert found["changes"]["odds"] == pytest.approx(7)
    assert found["verdict"] == "no_difference_shown"
    assert metric(data, "failure_rate")["difference"] == 0
    assert found["p_adjusted"] == pytest.approx(2 * found["p_value"])
    assert data["tests"] == 2


def test_numbers_by_permutation_and_bootstrap(viewer, two):
    """Darwin's maize: exact p of Fisher (1935), 0.0527 for two sides."""
    darwin = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    evaluation = two([[[0], [difference]] for difference in darwin], kinds=("rouge",))
    found = metric(compared(viewer.client, evaluation), "rouge")
    assert (found["test"], found["interval_method"]) == ("permutation_exact", "bca_bootstrap")
    assert found["p_value"] == pytest.approx(1726 / 2**15)
    assert found["difference"] == pytest.approx(20.933, abs=1e-3)
    assert found["low"] < 20.933 < found["high"]
    assert found["effect"]["name"] == "cohen_dz"
    assert found["minimum_detectable_effect"] > 20


def test_an_error_is_never_a_score(viewer, two):
    """What failed is a missing pair, counted by side and reason; the worst case takes it as lost."""
    good = [[[True], [True]]] * 10
    evaluation = two([*good, [[True], "TIMEOUT_TOTAL"], [["JUDGE_SAID_NOTHING"], [True]], ["TIMEOUT_TOTAL", "X"]])
    data = compared(viewer.client, evaluation)
    found = metric(data, "exact_match")
    assert found["n"] == 10
    none = {"absent": 0, "failed": 0, "score_error": 0, "unfinished": 0, "no_value": 0}
    assert found["missing"] == {
        "baseline": {**none, "failed": 1, "score_error": 1},
        "candidate": {**none, "failed": 2},
    }
    assert found["missing_share"] == {"baseline": pytest.approx(2 / 13), "candidate": pytest.approx(2 / 13)}
    assert found["difference"] == 0
    assert found["worst_case"]["n"] == 13
    assert found["worst_case"]["difference"] == pytest.approx(-2 / 13)
    failures = metric(data, "failure_rate")
    assert (failures["n"], failures["changes"]["gained"], failures["direction"]) == (13, 1, "lower")


def test_all_that_was_measured_is_compared(viewer, two):
    evaluation = two([[[True], [True]]] * 6)
    for subject, latency in [(0, 100), (1, 50)]:
        cases = EvaluationCase.objects.filter(evaluation=evaluation, subject=subject)
        cases.update(latency_ms=latency, cost_usd="0.01", input_tokens=10, output_tokens=latency)
    data = compared(viewer.client, evaluation)
    latency = metric(data, "latency_ms")
    assert (latency["baseline_mean"], latency["candidate_mean"], latency["unit"]) == (100, 50, "ms")
    assert latency["is_degenerate"]
    assert (latency["low"], latency["high"]) == (-50, -50)
    assert latency["p_value"] == pytest.approx(2 / 2**6)
    cost = metric(data, "cost_usd")
    assert (cost["difference"], cost["p_value"], cost["effect"]["size"]) == (0, 1, None)
    assert metric(data, "output_tokens")["candidate_mean"] == 50


def test_verdicts_follow_the_direction(viewer, two):
    evaluation = two([[[0], [1]]] * 30, kinds=("rouge",))
    cases = EvaluationCase.objects.filter(evaluation=evaluation)
    for number, case in enumerate(cases):
        case.latency_ms = (number % 7) + 100 * case.subject
        case.save()
    data = compared(viewer.client, evaluation)
    assert metric(data, "rouge")["verdict"] == "better"
    assert metric(data, "latency_ms")["verdict"] == "worse"
    assert metric(data, "latency_ms")["test"] == "permutation_monte_carlo"
    other_way = compared(viewer.client, evaluation, "?baseline=new&candidate=0")
    assert other_way["baseline"]["name"] == "new"
    assert metric(other_way, "rouge")["verdict"] == "worse"


def test_repeats_are_averaged_first(viewer, make_dataset, make_evaluator, make_evaluation):
    """Twenty repeats of four items are four numbers, not eighty."""
    version = make_dataset(["a", "b", "c", "d"])
    evaluation = make_evaluation(version, [{}, {}], {"same": make_evaluator()}, repeats=20)
    passed = {0: [10, 10, 10, 10], 1: [20, 15, 10, 5]}
    for place, item in enumerate(DatasetItem.objects.of_version(version)):
        for subject, counts in passed.items():
            cases = EvaluationCase.objects.bulk_create(
                EvaluationCase(
                    evaluation=evaluation, subject=subject, item=item, repeat=repeat, status=CaseStatus.SUCCEEDED
                )
                for repeat in range(20)
            )
            EvaluationScore.objects.bulk_create(
                EvaluationScore(
                    evaluation=evaluation,
                    case=case,
                    metric=0,
                    value=case.repeat < counts[place],
                    passed=case.repeat < counts[place],
                )
                for case in cases
            )
    evaluation.status, evaluation.finished_at, evaluation.has_cases = "succeeded", timezone.now(), True
    evaluation.save()
    found = metric(compared(viewer.client, evaluation), "same")
    assert (found["n"], found["test"], found["changes"]) == (4, "permutation_exact", None)
    assert found["difference"] == pytest.approx(0.125)
    repeats = found["repeats"]["candidate"]
    assert repeats["pass_at_k"][0] == {"k": 1, "any": pytest.approx(0.625), "all": pytest.approx(0.625)}
    second = repeats["pass_at_k"][1]
    assert second["any"] == pytest.approx(1 - (0 + 10 + 45 + 105) / 190 / 4)
    assert second["all"] == pytest.approx((190 + 105 + 45 + 10) / 190 / 4)
    shares = [0.25 * 0.75, 0.25, 0.25 * 0.75]
    assert repeats["within_variance"] == pytest.approx(sum(shares) * 20 / 19 / 4)
    assert 0 < repeats["within_share"] < 1


def test_items_of_two_versions_pair_where_they_are_the_same(viewer, two, make_evaluation, make_dataset, make_evaluator):
    version, evaluator = make_dataset(["one", "two", "three"]), make_evaluator()
    before = finish(make_evaluation(version, [{}], {"same": evaluator}), [[[True]], [[False]], [[True]]])
    DatasetItem.objects.filter(dataset=version.dataset, position=0).update(until=2)
    newer = DatasetVersion.objects.create(
        organization_id=version.organization_id, dataset=version.dataset, version_number=2, item_count=2
    )
    after = finish(make_evaluation(newer, [{}], {"same": evaluator}), [[[True]], [[True]]])
    data = compared(viewer.client, after, f"?against={before.id}")
    assert data["against_id"] == str(before.id)
    assert data["comparisons"][0]["items"] == {"paired": 2, "baseline_only": 1, "candidate_only": 0}
    found = metric(data, "same")
    assert (found["n"], found["changes"]["gained"]) == (2, 1)
    assert found["missing"]["candidate"]["absent"] == 1
    assert found["missing_share"] == {"baseline": 0, "candidate": 0}


def test_metrics_by_other_evaluators_are_not_compared(viewer, make_evaluation, make_dataset, make_evaluator):
    version = make_dataset(["one", "two"])
    one, other = (
        finish(make_evaluation(version, [{}], {"same": make_evaluator()}), [[[True]], [[True]]]) for _ in range(2)
    )
    data = compared(viewer.client, one, f"?against={other.id}")
    assert [found["metric"] for found in data["not_compared"]] == ["same"]
    assert [found["metric"] for found in data["comparisons"][0]["metrics"]] == ["failure_rate"]


def test_labels_are_counted_and_compared_only_if_they_have_values(
    viewer, organization, make_dataset, make_evaluator, make_evaluation
):
    scale = {"type": "categorical", "choices": [{"label": "bad"}, {"label": "good"}]}
    config = {"model_id": str(uuid4()), "rubric": "Is it?", "scale": scale}
    valued = ScoreConfig.objects.create(
        organization=organization,
        name="quality",
        type="categorical",
        categories=[{"label": "bad", "value": 0}, {"label": "good", "value": 1}],
    )
    metrics = {
        "plain": make_evaluator("llm_judge", config),
        "valued": make_evaluator("llm_judge", config, score_config=valued),
    }
    evaluation = make_evaluation(make_dataset(["a", "b", "c"]), [{}, {}], metrics)
    finish(evaluation, [[[0, 0], [1, 1]]] * 3)
    for value, label in [(0, "bad"), (1, "good")]:
        EvaluationScore.objects.filter(evaluation=evaluation, value=value).update(label=label)
    data = compared(viewer.client, evaluation)
    counts = [{"label": "bad", "baseline": 3, "candidate": 0}, {"label": "good", "baseline": 0, "candidate": 3}]
    plain, found = metric(data, "plain"), metric(data, "valued")
    assert plain["categories"] == found["categories"] == counts
    assert (plain["n"], plain["difference"], plain["verdict"]) == (3, None, None)
    assert (found["difference"], found["p_value"]) == (1, pytest.approx(0.25))


def test_pairwise_scores_are_compared_with_an_even_one(viewer, make_dataset, make_evaluator, make_evaluation):
    judge = make_evaluator("pairwise_judge", {"model_id": str(uuid4()), "rubric": "Which?"})
    evaluation = make_evaluation(make_dataset([str(n) for n in range(8)]), [{}, {}], {"wins": judge})
    finish(evaluation, [[["NO_BASELINE"], [1.0]]] * 6 + [[["NO_BASELINE"], [0.5]]] * 2)
    found = metric(compared(viewer.client, evaluation), "wins")
    assert (found["n"], found["baseline_mean"], found["difference"]) == (8, 0.5, pytest.approx(0.375))
    assert found["p_value"] == pytest.approx(2 / 2**6)
    swapped = compared(viewer.client, evaluation, "?baseline=1")
    assert [one["metric"] for one in swapped["not_compared"]] == ["wins"]


def test_several_subjects_share_one_adjustment(viewer, two):
    subjects = [{"name": name} for name in ("a", "b", "c")]
    rows = [[[False], [True], [False]]] * 8
    data = compared(viewer.client, two(rows, subjects=subjects))
    assert [one["candidate"]["name"] for one in data["comparisons"]] == ["b", "c"]
    assert data["tests"] == 4
    better = metric(data, "exact_match", 0)
    assert better["p_adjusted"] == pytest.approx(4 * better["p_value"])
    assert better["verdict"] == "better"


def test_confidence_is_that_of_the_intervals(viewer, two):
    evaluation = two([[[False], [True]]] * 5 + [[[True], [True]]] * 5)
    wide, narrow = (
        metric(compared(viewer.client, evaluation, f"?confidence={share}"), "exact_match") for share in (0.99, 0.8)
    )
    assert wide["low"] < narrow["low"] < narrow["difference"] < narrow["high"] < wide["high"]
    assert (wide["verdict"], narrow["verdict"]) == ("no_difference_shown", "better")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?baseline=nobody", "baseline"),
        ("?candidate=7", "candidate"),
        ("?candidate=0&baseline=0", "candidate"),
        ("?candidate=0", "baseline"),
        ("?candidate=", "candidate"),
        ("?confidence=1", "confidence"),
        ("?confidence=0.9_5", "confidence"),
        ("?confidence=nan", "confidence"),
        ("?confidence=1e400", "confidence"),
        ("?against=7", "against"),
        ("?against=5f0c1a52-0000-4000-8000-000000000000", "against"),
        ("?metric=x", "metric"),
    ],
)
def test_what_cannot_be_asked(viewer, two, query, field):
    answer = viewer.client.get(f"{EVALUATIONS}/{two([[[True], [True]]]).id}/compare{query}")
    assert answer.status_code == 400, answer.content
    assert list(answer.json()["error"]["details"]) == [field]


def test_one_subject_alone_has_nothing_to_be_compared_with(viewer, two):
    answer = viewer.client.get(f"{EVALUATIONS}/{two([[[True]]], subjects=[{}]).id}/compare")
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["baseline"])


def test_only_what_has_ended_is_compared(viewer, two):
    evaluation = two([[[True], [True]]])
    type(evaluation).objects.filter(id=evaluation.id).update(status=EvaluationStatus.QUEUED, finished_at=None)
    assert viewer.client.get(f"{EVALUATIONS}/{evaluation.id}/compare").status_code == 409


def test_other_organizations_are_not_there(viewer, outsider, two):
    evaluation, mine = two([[[True], [True]]]), two([[[True], [True]]])
    assert outsider.client.get(f"{EVALUATIONS}/{evaluation.id}/compare").status_code == 404
    type(mine).objects.filter(id=mine.id).update(organization=outsider.organization)
    answer = viewer.client.get(f"{EVALUATIONS}/{evaluation.id}/compare?against={mine.id}")
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["against"])


def test_what_cannot_be_compared_says_nothing(viewer, two):
    """No items, one item, and items that all failed: no interval, no verdict, and no division by zero."""
    none = metric(compared(viewer.client, two([["X", "X"]] * 3)), "exact_match")
    assert (none["n"], none["difference"], none["p_value"], none["verdict"]) == (0, None, None, None)
    one = metric(compared(viewer.client, two([[[1.0], [2.0]]], kinds=("rouge",))), "rouge")
    assert (one["n"], one["difference"], one["low"], one["p_value"]) == (1, 1, None, 1)
    assert compared(viewer.client, two([]))["comparisons"][0]["items"]["paired"] == 0
    assert not math.isnan(metric(compared(viewer.client, two([[[True], [True]]] * 3)), "exact_match")["low"])
