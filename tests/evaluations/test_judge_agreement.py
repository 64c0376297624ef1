"""How a judge agrees with people, and whether that lets it gate."""

from uuid import uuid4

import orjson
import pytest

from apps.evaluations.judging.agreement import MIN_LABELLED, reason_not_to_gate
from apps.evaluations.models import EvaluationCase, EvaluationScore, EvaluatorVersion, JudgeAgreement
from apps.models.models import LLMModel
from tests.evaluations.conftest import EVALUATORS
from tests.evaluations.labelled import UNLABELLED, counted, judged_set, yes_or_no
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
AGREEMENTS = "/api/v1/judge-agreements"
YES_OR_NO = {"type": "boolean"}
STARS = {"type": "numeric", "minimum": 1, "maximum": 5, "step": 1}
TONES = {"type": "categorical", "choices": [{"label": "rude"}, {"label": "neutral"}, {"label": "kind"}]}


@pytest.fixture
def make_judge(make_evaluator, model):
    def make(scale=YES_OR_NO, kind="llm_judge", **fields) -> EvaluatorVersion:
        config = {"model_id": str(model.id), "rubric": "Polite."}
        return make_evaluator(kind, config if kind == "pairwise_judge" else {**config, "scale": scale}, **fields)

    return make


@pytest.fixture
def measure(editor):
    """POST a measurement; `status` is what is expected of the answer."""

    def post(judge, evaluation, *, status=201, person=editor, **body):
        answer = person.client.post(
            f"{EVALUATORS}/{judge.evaluator_id}/agreement", {"evaluation_id": str(evaluation.id), **body}
        )
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status == 201 else "error"]

    return post


def test_kappa_is_that_of_a_published_example(make_judge, measure, editor):
    """Fleiss, Levin and Paik, and Wikipedia: 20 both yes, 5 and 10 not the same, 15 both no: 0.4."""
    judge = make_judge()
    found = measure(judge, judged_set(judge, counted((20, 5, 10, 15))), threshold=0.7)
    assert found["kappa"] == pytest.approx(0.4)
    assert found["ci_low"] == pytest.approx(0.1511, abs=0.005)
    assert found["ci_high"] == pytest.approx(0.6489, abs=0.005)
    assert (found["n"], found["n_missing"], found["n_unlabelled"]) == (50, 0, 0)
    assert found["categories"] == ["false", "true"]
    assert found["confusion"] == [[15, 10], [5, 20]]
    assert (found["weighting"], found["threshold"], found["version"]) == ("none", 0.7, 1)
    row = JudgeAgreement.objects.get()
    assert (str(row.id), row.created_by_id, row.evaluator_version) == (found["id"], editor.user.id, judge)
    assert editor.client.get(f"{AGREEMENTS}/{row.id}").json()["data"] == found
    listed = editor.client.get(f"{AGREEMENTS}?evaluator_id={judge.evaluator_id}").json()["data"]
    assert listed == [found]
    assert editor.client.get(f"{AGREEMENTS}?evaluator_id={uuid4()}").json()["data"] == []


def test_what_is_missing_is_counted_and_is_no_disagreement(make_judge, measure):
    judge = make_judge()
    missing = [(True, "INVALID_JUDGEMENT"), (False, "HTTP_5XX"), (True, None)]
    unlabelled = [(UNLABELLED, yes_or_no(True)), (None, yes_or_no(False))]
    found = measure(judge, judged_set(judge, counted((20, 5, 10, 15)) + missing + unlabelled))
    assert (found["kappa"], found["n"]) == (pytest.approx(0.4), 50)
    assert (found["n_missing"], found["n_unlabelled"]) == (3, 2)


def test_one_repeat_of_an_item_counts(make_judge, measure):
    judge = make_judge()
    evaluation = judged_set(judge, counted((20, 5, 10, 15)), repeats=2)
    again = [
        EvaluationCase(evaluation=evaluation, subject=0, item_id=case.item_id, repeat=1, status="succeeded")
        for case in EvaluationCase.objects.all()
    ]
    for case in EvaluationCase.objects.bulk_create(again):
        EvaluationScore.objects.create(evaluation=evaluation, case=case, metric=0, **yes_or_no(True))
    assert measure(judge, evaluation)["n"] == 50


def test_numbers_are_rounded_to_the_steps_and_weighted_by_their_squares(make_judge, measure):
    judge = make_judge(STARS)
    pairs = [
        (stars, {"value": stars + off}) for stars in (1, 2, 3, 4, 5) for off in (0, 0.3, -0.3) if 1 <= stars + off <= 5
    ]
    found = measure(judge, judged_set(judge, pairs), label="label")
    assert (found["kappa"], found["weighting"]) == (1, "quadratic")
    far = [(1, {"value": 5}), (5, {"value": 1})]
    near = [(1, {"value": 2}), (5, {"value": 4})]
    worse, better = (measure(judge, judged_set(judge, pairs + more))["kappa"] for more in (far, near))
    assert worse < better < 1
    for weighting in ("none", "linear"):
        refused = measure(judge, judged_set(judge, pairs), weighting=weighting, status=400)
        assert list(refused["details"]) == ["weighting"]
    free = make_judge({"type": "numeric", "minimum": 0, "maximum": 1})
    refused = measure(free, judged_set(free, [(0.5, {"value": 0.5})] * 3), status=400)
    assert "step" in refused["message"]


@pytest.mark.parametrize(
    ("kind", "labels", "weighting"),
    [("llm_judge", ["rude", "neutral", "kind"], "linear"), ("pairwise_judge", ["loss", "tie", "win"], "none")],
)
def test_labels_are_compared_as_they_are(make_judge, make_model, measure, kind, labels, weighting):
    judge = make_judge(TONES, kind)
    echo = make_model("echo", kind="echo")
    subjects = [{"kind": "inline", "model_id": echo.id, "messages": []}, {"kind": "recorded"}]
    pairs = [(label, {"value": 0.5, "label": label}) for label in labels] * 3 + [
        (labels[0], {"value": 1, "label": labels[1]})
    ]
    found = measure(judge, judged_set(judge, pairs, subjects=subjects), weighting=weighting)
    assert found["categories"] == labels
    assert found["confusion"] == [[3, 1, 0], [0, 3, 0], [0, 0, 3]]
    assert found["weighting"] == weighting


def test_pairs_are_measured_where_both_texts_stay(make_judge, measure, model):
    judge = make_judge(kind="pairwise_judge")
    pairs = [("win", {"value": 1, "label": "win"}), ("loss", {"value": 0, "label": "loss"})]
    refused = measure(judge, judged_set(judge, pairs), status=400)
    assert list(refused["details"]) == ["subject"]
    generated = [{"kind": "inline", "model_id": model.id, "messages": []}, {"kind": "recorded"}]
    refused = measure(judge, judged_set(judge, pairs, subjects=generated), status=400)
    assert "offline model" in refused["message"]


def test_only_recorded_outputs_are_what_people_have_labelled(make_judge, measure):
    judge = make_judge()
    pairs = counted((5, 1, 1, 5))
    generated = judged_set(judge, pairs, subjects=[{"kind": "prompt"}])
    assert list(measure(judge, generated, status=400)["details"]) == ["subject"]
    two = judged_set(judge, pairs, subjects=[{"kind": "recorded", "name": "a"}, {"kind": "recorded", "name": "b"}])
    assert list(measure(judge, two, status=400)["details"]) == ["subject"]
    assert measure(judge, two, subject="b")["subject"] == "b"
    assert list(measure(judge, two, subject="c", status=400)["details"]) == ["subject"]


def test_what_cannot_be_measured_is_named(make_judge, make_evaluator, measure):
    judge, other = make_judge(), make_judge()
    pairs = counted((5, 1, 1, 5))
    good = judged_set(judge, pairs)
    running = {
        "status": "running",
        "finished_at": None,
        "started_at": "2026-01-01T00:00Z",
        "lease_expires_at": "2026-01-01T00:00Z",
    }
    cases = [
        (judge, judged_set(judge, pairs, **running), {}, 409, "evaluation_id"),
        (judge, judged_set(judge, pairs, status="cancelled"), {}, 409, "evaluation_id"),
        (other, good, {}, 400, "evaluation_id"),
        (judge, good, {"version": 2}, 400, "evaluation_id"),
        (judge, good, {"label": "tone"}, 400, "label"),
        (judge, judged_set(judge, [*pairs, ("perhaps", yes_or_no(True))]), {}, 400, "label"),
        (judge, judged_set(judge, [*pairs, (1, yes_or_no(True))]), {}, 400, "label"),
        (judge, judged_set(judge, [(True, yes_or_no(True))] * 40), {}, 400, "label"),
        (judge, judged_set(judge, []), {}, 400, "label"),
        (judge, good, {"threshold": 0.2}, 400, "threshold"),
        (judge, good, {"threshold": 1.1}, 400, "threshold"),
        (judge, good, {"weighting": "cubic"}, 400, "weighting"),
        (judge, good, {"label": "a\0b"}, 400, "label"),
        (judge, good, {"label": ""}, 400, "label"),
        (judge, good, {"unknown": 1}, 400, "unknown"),
    ]
    for who, evaluation, body, status, field in cases:
        assert list(measure(who, evaluation, status=status, **body)["details"]) == [field], body
    plain = make_evaluator()
    assert list(measure(plain, judged_set(plain, pairs), status=400)["details"]) == ["evaluator"]
    assert not JudgeAgreement.objects.exists()


def test_a_key_of_metadata_is_only_a_key(make_judge, measure):
    judge = make_judge()
    for key in ("0", "a.b", "it's", '"; DROP TABLE', "ключ"):
        assert measure(judge, judged_set(judge, counted((5, 1, 1, 5)), key=key), label=key)["n"] == 12


def test_another_organization_finds_nothing(make_judge, measure, outsider, make_evaluator):
    judge = make_judge()
    evaluation = judged_set(judge, counted((5, 1, 1, 5)))
    found = measure(judge, evaluation)
    measure(judge, evaluation, person=outsider, status=404)
    assert outsider.client.get(f"{AGREEMENTS}/{found['id']}").status_code == 404
    assert outsider.client.get(AGREEMENTS).json()["data"] == []
    assert outsider.client.get(f"{EVALUATORS}/{judge.evaluator_id}/agreement").status_code == 404
    theirs = make_evaluator(
        "llm_judge", {"model_id": str(uuid4()), "rubric": "r", "scale": YES_OR_NO}, of=outsider.organization
    )
    refused = measure(theirs, evaluation, person=outsider, status=400)
    assert list(refused["details"]) == ["evaluation_id"]


def test_a_repeated_request_measures_once(make_judge, editor):
    judge = make_judge()
    body = {"evaluation_id": str(judged_set(judge, counted((5, 1, 1, 5))).id)}
    path, headers = f"{EVALUATORS}/{judge.evaluator_id}/agreement", {"Idempotency-Key": "k"}
    first, again = (editor.client.post(path, body, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert editor.client.get(first.headers["Location"]).json() == first.json()
    assert JudgeAgreement.objects.count() == 1


GOOD = (30, 1, 1, 30)


def standing(editor, judge):
    data = editor.client.get(f"{EVALUATORS}/{judge.evaluator_id}/agreement").json()["data"]
    assert data["reason"] == reason_not_to_gate(EvaluatorVersion.objects.get(id=judge.id))
    assert data["may_gate"] is (data["reason"] is None)
    return data


def test_what_asks_no_model_to_judge_may_gate(make_evaluator, model, editor):
    assert standing(editor, make_evaluator())["may_gate"] is True
    assert reason_not_to_gate(make_evaluator("embedding_similarity", {"model_id": str(model.id)})) is None


def test_a_judge_may_gate_once_it_agrees_with_people_for_certain(make_judge, measure, editor):
    judge = make_judge()
    assert "not been measured" in standing(editor, judge)["reason"]
    for table, reason in [
        ((20, 5, 10, 15), "0.40"),
        # kappa of 0.7, and of 0.6 at least only perhaps
        ((17, 3, 3, 17), "not certain enough"),
        ((14, 0, 0, 14), f"28 labelled items; {MIN_LABELLED}"),
        (GOOD, None),
    ]:
        found = measure(judge, judged_set(judge, counted(table)))
        said = standing(editor, judge)
        assert said["agreement"] == found
        assert said["reason"] is reason is None or reason in said["reason"]


def test_the_newest_measurement_counts(make_judge, measure, editor):
    judge = make_judge()
    measure(judge, judged_set(judge, counted(GOOD)))
    assert standing(editor, judge)["may_gate"] is True
    measure(judge, judged_set(judge, counted((20, 5, 10, 15))))
    assert standing(editor, judge)["may_gate"] is False


def test_more_can_be_asked_of_a_judge_and_not_less(make_judge, measure, editor, settings):
    judge = make_judge()
    measure(judge, judged_set(judge, counted(GOOD)), threshold=0.95)
    assert "0.95 is the least" in standing(editor, judge)["reason"]
    measure(judge, judged_set(judge, counted(GOOD)))
    assert standing(editor, judge)["may_gate"] is True
    settings.JUDGE_MIN_KAPPA = 0.9
    assert "0.9 is the least" in standing(editor, judge)["reason"]


def test_a_judge_that_often_says_nothing_may_not_gate(make_judge, measure, editor):
    judge = make_judge()
    silent = [(True, "INVALID_JUDGEMENT")] * 5
    measure(judge, judged_set(judge, counted(GOOD) + silent))
    assert "no judgement of 7%" in standing(editor, judge)["reason"]
    measure(judge, judged_set(judge, counted(GOOD) + silent[:3]))
    assert standing(editor, judge)["may_gate"] is True


def test_another_version_or_model_is_another_judge(make_judge, measure, editor, model):
    judge = make_judge()
    measure(judge, judged_set(judge, counted(GOOD)))
    changed = {"config": {**judge.config, "rubric": "Rude."}}
    assert editor.client.patch(f"{EVALUATORS}/{judge.evaluator_id}", changed).status_code == 200
    told = editor.client.get(f"{EVALUATORS}/{judge.evaluator_id}/agreement").json()["data"]
    assert (told["version"], told["may_gate"], told["agreement"]) == (2, False, None)
    assert reason_not_to_gate(judge) is None
    LLMModel.objects.filter(id=model.id).update(provider_model_name="a-cheaper-one")
    assert "has changed" in reason_not_to_gate(judge)


def test_an_agreement_outlives_the_evaluation_it_was_measured_in(make_judge, measure, editor):
    judge = make_judge()
    evaluation = judged_set(judge, counted(GOOD))
    measure(judge, evaluation)
    evaluation.delete()
    assert standing(editor, judge)["agreement"]["evaluation_id"] is None
    assert standing(editor, judge)["may_gate"] is True


def test_operators_see_what_was_measured(make_judge, measure, client, django_user_model):
    judge = make_judge()
    found = measure(judge, judged_set(judge, counted((20, 5, 10, 15))))
    client.force_login(django_user_model.objects.create_superuser(email="root@example.com", password="x" * 20))
    page = client.get("/admin/evaluations/judgeagreement/")
    assert judge.evaluator.slug in page.content.decode()
    text = client.get(f"/admin/evaluations/judgeagreement/{found['id']}/change/").content.decode()
    assert "0.40 (0.15 to 0.65)" in text
    assert client.post(f"/admin/evaluations/judgeagreement/{found['id']}/change/", {"kappa": 1}).status_code == 403
    assert JudgeAgreement.objects.get().kappa == pytest.approx(0.4)


def test_pairs_are_judged_and_measured_from_end_to_end(
    make_judge, make_model, make_dataset, make_evaluation, drive, measure, upstream
):
    """The longer answer is better for this judge, and for the people too, but for one of them."""

    def longer(request):
        said = orjson.loads(request["messages"][1]["content"].splitlines()[1])
        verdict = "first" if len(said["first"]) > len(said["second"]) else "second"
        return orjson.dumps({"reason": "It is longer.", "verdict": verdict}).decode()

    upstream.answer_always(Behaviour(text=longer))
    texts = [("long answer", "short", "win"), ("brief", "long answer", "loss"), ("longest answer", "longer", "loss")]
    version = make_dataset(
        [{"input": {"other": other}, "output": said, "metadata": {"label": label}} for said, other, label in texts]
    )
    echo = make_model("echo", kind="echo")
    baseline = {"kind": "inline", "model_id": echo.id, "messages": [{"role": "user", "content": "{{other}}"}]}
    judge = make_judge(kind="pairwise_judge")
    evaluation = drive(make_evaluation(version, [baseline, {"kind": "recorded", "name": "said"}], {"better": judge}))
    assert (evaluation.status, evaluation.failed_count) == ("succeeded", 0)
    found = measure(judge, evaluation)
    assert (found["subject"], found["n"], found["n_missing"]) == ("said", 3, 0)
    assert found["confusion"] == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_what_another_model_judged_is_not_measured(make_judge, make_dataset, make_evaluation, drive, measure, upstream):
    """Else a good model would be measured, and a cheaper one behind the same id would gate."""
    upstream.answer_always(Behaviour(text='{"reason": "Polite.", "verdict": true}'))
    version = make_dataset([{"input": n, "output": f"Good day {n}", "metadata": {"label": n > 0}} for n in range(3)])
    judge = make_judge()
    evaluation = drive(make_evaluation(version, [{"kind": "recorded"}], {"polite": judge}))
    LLMModel.objects.update(provider_model_name="a-cheaper-one")
    assert list(measure(judge, evaluation, status=409)["details"]) == ["evaluation_id"]
    LLMModel.objects.update(provider_model_name="gpt-5-mini")
    assert measure(judge, evaluation)["provider_model"] == "gpt-5-mini"


def test_steps_that_differ_in_late_digits_are_categories_of_their_own(make_judge, measure):
    judge = make_judge({"type": "numeric", "minimum": 100_000, "maximum": 100_000.2, "step": 0.1})
    levels = (100_000, 100_000.1, 100_000.2)
    found = measure(judge, judged_set(judge, [(level, {"value": level}) for level in levels]))
    assert (found["n"], found["kappa"]) == (3, 1)
    assert found["categories"] == ["100000", "100000.1", "100000.2"]
