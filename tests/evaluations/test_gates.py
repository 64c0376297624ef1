"""Rules on what has ended: pass, fail or inconclusive by the bounds of an interval, and kept."""

import math
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import F
from django.urls import reverse

from apps.evaluations.comparing.gate import hash_of, run_gate
from apps.evaluations.comparing.rules import parse_rules
from apps.evaluations.models import EvaluationCase, EvaluationStatus, GateResult
from apps.users.models import AuditEntry, User
from everquant.api.errors import BadRequest, Conflict
from tests.evaluations.conftest import EVALUATIONS, finish

pytestmark = pytest.mark.django_db


@pytest.fixture
def finished(make_dataset, make_evaluator, make_evaluation):
    """An evaluation with these results: of two subjects, by one metric that is called `quality`."""

    def make(results, *, kind="exact_match", config=None, subjects=({"name": "old"}, {"name": "new"})):
        version = make_dataset([f"item {number}" for number in range(len(results))])
        return finish(make_evaluation(version, list(subjects), {"quality": make_evaluator(kind, config)}), results)

    return make


def answers(*, gained=0, lost=0, both=0, neither=0):
    """Rows of yes and no: before, after."""
    pairs = [(False, True)] * gained + [(True, False)] * lost + [(True, True)] * both + [(False, False)] * neither
    return [[[before], [after]] for before, after in pairs]


def gated(client, evaluation, *rules, **wish):
    return client.post(f"{EVALUATIONS}/{evaluation.id}/gate", {"rules": list(rules), **wish})


def ruling(client, evaluation, rule, **wish):
    answer = gated(client, evaluation, rule, **wish)
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]["report"][0]


NO_WORSE = {"type": "no_worse_than", "metric": "quality", "margin": 0.02}


@pytest.mark.parametrize(
    ("changes", "rule", "verdict"),
    [
        ({"both": 200}, NO_WORSE, "pass"),
        ({"both": 60}, NO_WORSE, "inconclusive"),  # so few items say nothing of 0.02
        ({"both": 60, "lost": 30}, NO_WORSE, "fail"),
        ({"both": 190, "lost": 5, "gained": 5}, NO_WORSE, "inconclusive"),
        ({"both": 60}, {**NO_WORSE, "margin": 0.1}, "pass"),
        ({"both": 100, "gained": 40}, {"type": "better_than", "metric": "quality"}, "pass"),
        ({"both": 100, "gained": 40}, {"type": "better_than", "metric": "quality", "margin": 0.25}, "inconclusive"),
        ({"both": 100, "lost": 40}, {"type": "better_than", "metric": "quality"}, "fail"),
        ({"both": 100}, {"type": "absolute", "metric": "quality", "min": 0.95}, "pass"),
        ({"both": 25}, {"type": "absolute", "metric": "quality", "min": 0.95}, "inconclusive"),
        ({"both": 50, "lost": 50}, {"type": "absolute", "metric": "quality", "min": 0.95}, "fail"),
        ({"both": 50, "lost": 50}, {"type": "absolute", "metric": "quality", "min": 0.2, "max": 0.8}, "pass"),
        ({"both": 50, "neither": 50}, {**NO_WORSE, "margin": 0.2, "margin_type": "relative"}, "pass"),
        ({"both": 50, "lost": 50}, {**NO_WORSE, "margin": 0.2, "margin_type": "relative"}, "fail"),
        ({"both": 50, "lost": 10}, {"type": "ratio", "metric": "quality", "max": 1.1}, "pass"),
        ({"both": 50, "gained": 50}, {"type": "ratio", "metric": "quality", "max": 1.1}, "fail"),
    ],
)
def test_yes_and_no(editor, finished, changes, rule, verdict):
    found = ruling(editor.client, finished(answers(**changes)), rule)
    assert found["verdict"] == verdict, found
    assert (found["code"] is None) == (verdict != "inconclusive")
    assert found["n"] == sum(changes.values())


def test_a_bound_is_the_end_of_a_one_sided_interval(editor, finished):
    """At a confidence of 0.95 both ends are those of Tango's 90 % interval."""
    from apps.evaluations.statistics.binary import paired_difference_interval

    found = ruling(editor.client, finished(answers(both=150, gained=6, lost=9)), NO_WORSE)
    wanted = paired_difference_interval(gained=6, lost=9, n=165, confidence=0.9)
    assert (found["low"], found["high"]) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    assert (found["estimate"], found["interval_method"]) == (pytest.approx(-3 / 165), "tango_score")
    assert found["rule"] == {
        **NO_WORSE, "margin_type": "absolute", "confidence": 0.95, "max_missing": 0.05, "min_items": 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "enough"),
    [
        (NO_WORSE, 149),
        ({**NO_WORSE, "margin_type": "relative"}, 149),
        ({"type": "absolute", "metric": "quality", "min": 0.98}, 149),
        ({"type": "ratio", "metric": "quality", "max": 1.1}, 29),
    ],
)
@pytest.mark.parametrize("kind", ["exact_match", "contains"])
def test_that_nothing_varied_says_no_more_than_its_items(editor, finished, kind, rule, enough):
    """A bootstrap of what is all the same has no width, yet 20 items all right show no .98, also not as numbers."""
    config = {"texts": ["a"]} if kind == "contains" else None
    sure = bool if kind == "exact_match" else float
    for n, verdict in ((20, "inconclusive"), (enough - 1, "inconclusive"), (enough, "pass")):
        found = ruling(editor.client, finished([[[sure(1)], [sure(1)]]] * n, kind=kind, config=config), rule)
        assert found["verdict"] == verdict, (n, found)


def set_cases(evaluation, subject, **values):
    EvaluationCase.objects.filter(evaluation=evaluation, subject=subject).update(**values)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.05, "pass"), (1.2, "fail")])
def test_cost_not_above_so_many_times(editor, finished, factor, verdict):
    evaluation = finished(answers(both=40))
    for number, case in enumerate(EvaluationCase.objects.filter(evaluation=evaluation).order_by("item_id")):
        cost = 0.01 + 0.001 * (number // 2 % 5)
        case.cost_usd = cost * factor if case.subject else cost
        case.save()
    found = ruling(editor.client, evaluation, {"type": "ratio", "metric": "cost_usd", "max": 1.1})
    assert (found["verdict"], found["estimate"]) == (verdict, pytest.approx(factor))


def test_a_ratio_that_is_not_sure_is_inconclusive(editor, finished):
    evaluation = finished(answers(both=30))
    for number, case in enumerate(EvaluationCase.objects.filter(evaluation=evaluation).order_by("subject", "item_id")):
        case.latency_ms = (number * 37 % 60 + 1) ** 2 + 120 * case.subject
        case.save()
    rule = {"type": "ratio", "metric": "latency_ms", "max": 1.1}
    found = ruling(editor.client, evaluation, rule)
    assert (found["verdict"], found["code"]) == ("inconclusive", "NOT_SHOWN")
    assert found["low"] < 1.1 < found["high"]
    lower_is_better = {"type": "no_worse_than", "metric": "latency_ms", "margin": 10_000}
    found = ruling(editor.client, evaluation, lower_is_better)
    assert (found["verdict"], found["estimate"]) == ("pass", found["baseline_mean"] - found["candidate_mean"])


def test_nothing_free_has_a_ratio(editor, finished):
    evaluation = finished(answers(both=30))
    set_cases(evaluation, 0, cost_usd=0)
    set_cases(evaluation, 1, cost_usd=0)
    found = ruling(editor.client, evaluation, {"type": "ratio", "metric": "cost_usd", "max": 1.1})
    assert (found["verdict"], found["code"]) == ("inconclusive", "NO_RATIO")


def test_too_few_items_decide_nothing(editor, finished):
    evaluation = finished(answers(lost=19))
    assert ruling(editor.client, evaluation, NO_WORSE)["code"] == "TOO_FEW_ITEMS"
    assert ruling(editor.client, evaluation, {**NO_WORSE, "min_items": 19})["verdict"] == "fail"


def test_missing_scores_do_not_let_it_pass(editor, finished):
    """Those that failed are the ones that would have been wrong."""
    rows = [*answers(both=200), *[[[True], "TIMEOUT_TOTAL"]] * 20]
    evaluation = finished(rows)
    found = ruling(editor.client, evaluation, NO_WORSE)
    assert (found["verdict"], found["code"]) == ("inconclusive", "TOO_MANY_MISSING")
    assert found["missing"]["candidate"]["failed"] == 20
    assert ruling(editor.client, evaluation, {**NO_WORSE, "max_missing": 0.2})["verdict"] == "pass"
    counted = ruling(editor.client, evaluation, {"type": "max_missing", "max": 0.05})
    assert (counted["verdict"], counted["estimate"]) == ("fail", pytest.approx(20 / 220))
    assert ruling(editor.client, evaluation, {"type": "max_missing", "metric": "quality", "max": 0.1})["n"] == 220
    failing = {"type": "max_failure_rate", "max": 0.05}
    assert ruling(editor.client, evaluation, failing)["verdict"] == "fail"
    assert ruling(editor.client, evaluation, {**failing, "max": 0.2})["verdict"] == "pass"


def test_a_gate_is_as_good_as_its_worst_rule(editor, finished):
    evaluation = finished(answers(both=100))
    passing = {"type": "absolute", "metric": "quality", "min": 0.9}
    unsure, failing = NO_WORSE | {"margin": 0.001}, {"type": "absolute", "metric": "quality", "max": 0.5}
    for rules, verdict in [
        ([passing, passing], "pass"),
        ([passing, unsure], "inconclusive"),
        ([passing, unsure, failing], "fail"),
    ]:
        assert gated(editor.client, evaluation, *rules).json()["data"]["verdict"] == verdict


def test_an_evaluation_is_held_against_an_earlier_one(editor, make_dataset, make_evaluator, make_evaluation):
    version, evaluator = make_dataset([str(number) for number in range(40)]), make_evaluator()
    before, after = (
        finish(make_evaluation(version, [{}], {"quality": evaluator}), [[[value]]] * 40) for value in (False, True)
    )
    data = gated(editor.client, after, {"type": "better_than", "metric": "quality"}, against=str(before.id)).json()[
        "data"
    ]
    assert (data["verdict"], data["candidate"], data["baseline"]) == ("pass", 0, 0)
    assert (data["against_id"], data["is_current"]) == (str(before.id), True)
    type(before).objects.filter(id=before.id).update(finished_at=F("finished_at") + timedelta(seconds=1))
    again = editor.client.get(f"{EVALUATIONS}/{after.id}/gates").json()["data"]
    assert [one["is_current"] for one in again] == [False]


def test_a_judge_that_nobody_has_checked_decides_nothing(editor, finished):
    config = {"model_id": str(uuid4()), "rubric": "Is it polite?", "scale": {"type": "boolean"}}
    evaluation = finished(answers(both=200), kind="llm_judge", config=config)
    found = ruling(editor.client, evaluation, NO_WORSE)
    assert (found["verdict"], found["code"]) == ("inconclusive", "JUDGE_NOT_TRUSTED")
    assert "agreement" in found["reason"]
    assert (found["n"], found["low"] is not None) == (200, True)


def test_what_was_said_is_kept_and_audited(editor, viewer, finished):
    evaluation = finished(answers(both=200))
    said = gated(editor.client, evaluation, NO_WORSE, candidate="new", baseline=0).json()["data"]
    kept = GateResult.objects.get(id=said["id"])
    assert (kept.verdict, kept.candidate, kept.baseline, kept.against_id) == ("pass", 1, 0, None)
    assert kept.evaluation_finished_at == evaluation.finished_at
    assert kept.created_by_id == editor.user.id
    assert bytes(kept.rules_hash) == hash_of(parse_rules([NO_WORSE]))
    assert AuditEntry.objects.filter(object_pk=str(kept.id), action=0).count() == 1
    listed = viewer.client.get(f"{EVALUATIONS}/{evaluation.id}/gates").json()["data"]
    assert listed == [said]
    assert listed[0]["is_current"]


def test_the_same_results_give_the_same_verdict(editor, finished):
    evaluation = finished([[[0.1 * (n % 7)], [0.1 * (n % 5)]] for n in range(60)], kind="rouge")
    rule = {"type": "no_worse_than", "metric": "quality", "margin": 0.1}
    assert ruling(editor.client, evaluation, rule) == ruling(editor.client, evaluation, rule)


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ("all", "rules"),
        ([], "rules"),
        ([NO_WORSE] * 51, "rules"),
        (["quality"], "rules.0"),
        ([{}], "rules.0.type"),
        ([{"type": ["absolute"]}], "rules.0.type"),
        ([{**NO_WORSE, "margin": -1}], "rules.0.margin"),
        ([{**NO_WORSE, "margin": True}], "rules.0.margin"),
        ([{**NO_WORSE, "margin": 1e300}], "rules.0.margin"),
        ([{**NO_WORSE, "maximum": 1}], "rules.0.maximum"),
        ([{**NO_WORSE, "confidence": 1}], "rules.0.confidence"),
        ([{**NO_WORSE, "min_items": 0.5}], "rules.0.min_items"),
        ([{**NO_WORSE, "metric": ""}], "rules.0.metric"),
        ([{**NO_WORSE, "metric": "speed"}], "rules.0.metric"),
        ([NO_WORSE, {"type": "no_worse_than", "metric": "quality"}], "rules.1.margin"),
        ([{"type": "absolute", "metric": "quality"}], "rules.0.min"),
        ([{"type": "absolute", "metric": "quality", "min": 1, "max": 0}], "rules.0.max"),
        ([{"type": "max_failure_rate", "max": 2}], "rules.0.max"),
        ([{"type": "ratio", "metric": "quality", "max": 0}], "rules.0.max"),
    ],
)
def test_rules_that_are_none(editor, finished, rules, field):
    evaluation = finished(answers(both=1))
    answer = editor.client.post(f"{EVALUATIONS}/{evaluation.id}/gate", {"rules": rules})
    assert answer.status_code == 400, answer.content
    assert list(answer.json()["error"]["details"]) == [field]
    assert not GateResult.objects.exists()


def test_rules_of_files_are_checked_as_strictly(finished):
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(BadRequest) as refused:
            parse_rules([{"type": "absolute", "metric": "quality", "min": value}])
        assert list(refused.value.details) == ["rules.0.min"]
    assert parse_rules(parse_rules([NO_WORSE])) == parse_rules([NO_WORSE])


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"candidate": "nobody"}, "candidate"),
        ({"candidate": True}, "candidate"),
        ({"candidate": -1}, "candidate"),
        ({"candidate": {"name": "new"}}, "candidate"),
        ({"candidate": 0}, "rules.0.type"),
        ({"candidate": 0, "baseline": 0}, "candidate"),
        ({"against": str(uuid4())}, "against"),
        ({"against": 5}, "against"),
        ({"by": "me"}, "by"),
    ],
)
def test_subjects_that_are_none(editor, finished, wish, field):
    answer = gated(editor.client, finished(answers(both=2)), NO_WORSE, **wish)
    assert answer.status_code == 400, answer.content
    assert list(answer.json()["error"]["details"]) == [field]


def test_one_subject_alone_is_ruled_by_what_it_is(editor, finished):
    evaluation = finished([[[True]]] * 30, subjects=[{}])
    data = gated(editor.client, evaluation, {"type": "absolute", "metric": "quality", "min": 0.5}).json()["data"]
    assert (data["verdict"], data["candidate"], data["baseline"]) == ("pass", 0, None)
    refused = gated(editor.client, evaluation, NO_WORSE)
    assert list(refused.json()["error"]["details"]) == ["rules.0.type"]


def test_of_several_candidates_one_is_named(editor, finished):
    subjects = [{"name": name} for name in ("a", "b", "c")]
    evaluation = finished([[[True], [True], [False]]] * 60, subjects=subjects)
    refused = gated(editor.client, evaluation, NO_WORSE)
    assert list(refused.json()["error"]["details"]) == ["candidate"]
    assert gated(editor.client, evaluation, NO_WORSE, candidate="c").json()["data"]["verdict"] == "fail"


def test_only_what_has_ended_is_gated(editor, finished):
    evaluation = finished(answers(both=1))
    running = type(evaluation).objects.filter(id=evaluation.id)
    running.update(status=EvaluationStatus.QUEUED, finished_at=None)
    assert gated(editor.client, evaluation, NO_WORSE).status_code == 409
    with pytest.raises(Conflict):
        run_gate(evaluation=evaluation, rules=[NO_WORSE])  # what it was told of is older than what is stored


def test_others_have_no_say(viewer, outsider, finished):
    evaluation = finished(answers(both=1))
    assert gated(viewer.client, evaluation, NO_WORSE).status_code == 403
    assert gated(outsider.client, evaluation, NO_WORSE).status_code == 404
    assert outsider.client.get(f"{EVALUATIONS}/{evaluation.id}/gates").status_code == 404


def test_the_admin_shows_what_was_said(client, editor, finished):
    gated(editor.client, finished(answers(both=200)), NO_WORSE)
    result = GateResult.objects.get()
    client.force_login(User.objects.create_superuser("root@example.com", "correct horse battery"))
    listed = client.get(reverse("admin:evaluations_gateresult_changelist"), {"q": str(result.evaluation_id)})
    assert b"Pass" in listed.content
    page = client.get(reverse("admin:evaluations_gateresult_change", args=[result.id])).content
    assert b"no_worse_than" in page
    assert client.get(reverse("admin:evaluations_gateresult_changelist"), {"q": "x"}).status_code == 200
