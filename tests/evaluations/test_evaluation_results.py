"""What evaluations came to, over HTTP: summaries, results by item, differences of two subjects, files."""

import csv
import io
import json

import pytest

from apps.evaluations.models import EvaluationCase, EvaluationScore
from tests.evaluations.conftest import EVALUATIONS, finish

ITEMS = [
    {"input": {"name": "Ada"}, "expected": "Hi, Ada!", "split": "train"},
    {"input": {"name": "Bob"}, "expected": "Hi, Bob!", "split": "test"},
    {"input": {"name": "Cid"}, "split": "test"},
    {"input": {"name": "Dan"}, "split": "test"},
]
# By item and subject: passed, and a number.
RESULTS = [
    [[True, 0.5], [True, 0.7]],
    [[False, 0.1], [True, 0.9]],
    [["NOTHING_EXPECTED", 0.3], "PROVIDER_ERROR"],
    [[True, 0.5], [False, 0.5]],
]


@pytest.fixture
def evaluation(make_dataset, make_evaluator, make_evaluation):
    metrics = {"exact": make_evaluator("exact_match"), "long": make_evaluator("length")}
    made = make_evaluation(make_dataset(ITEMS), [{"name": "old"}, {"name": "new"}], metrics)
    finish(made, RESULTS)
    for case in EvaluationCase.objects.filter(evaluation=made, status="succeeded"):
        case.output = f"Answer {case.subject} of\nitem {case.item.position}"
        case.latency_ms, case.cost_usd = 100 * (case.subject + 1), "0.01"
        case.input_tokens, case.output_tokens = 10, 5
        case.save()
    return made


def read(person, evaluation, what, **query):
    answer = person.client.get(f"{EVALUATIONS}/{evaluation.id}/{what}", query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def positions(person, evaluation, **query):
    return [row["position"] for row in read(person, evaluation, "results", **query)["data"]]


def test_results_have_all_subjects_side_by_side(viewer, evaluation):
    answer = read(viewer, evaluation, "results")
    assert answer["meta"] == {"per_page": 20, "total": 4, "total_is_exact": True, "next_cursor": None}
    first, _, third, _ = answer["data"]
    assert (first["input"], first["expected"], first["split"], first["repeat"]) == (
        {"name": "Ada"}, "Hi, Ada!", "train", 0,
    )  # fmt: skip
    old, new = first["answers"]
    assert (old["subject"], new["subject"]) == ("old", "new")
    assert (old["output"], old["latency_ms"], new["cost_usd"]) == ("Answer 0 of\nitem 0", 100, "0.01")
    assert [(score["metric"], score["value"], score["passed"]) for score in new["scores"]] == [
        ("exact", 1.0, True), ("long", 0.7, None),
    ]  # fmt: skip
    assert third["has_expected"] is False
    assert third["answers"][1]["error"]["code"] == "PROVIDER_ERROR"
    assert third["answers"][0]["scores"][0]["error"]["code"] == "NOTHING_EXPECTED"


def test_pages_follow_one_another(viewer, evaluation):
    first = read(viewer, evaluation, "results", per_page=3)
    second = read(viewer, evaluation, "results", per_page=3, cursor=first["meta"]["next_cursor"])
    assert [row["position"] for row in first["data"] + second["data"]] == [0, 1, 2, 3]
    assert second["meta"]["next_cursor"] is None


FILTERS = [
    ({"status": "failed"}, [2]),
    ({"status": "failed", "subject": "old"}, []),
    ({"error_code": "PROVIDER_ERROR"}, [2]),
    ({"metric": "exact", "outcome": "failed"}, [1, 3]),
    ({"metric": "exact", "outcome": "failed", "subject": "old"}, [1]),
    ({"metric": "exact", "outcome": "passed", "subject": "new"}, [0, 1]),
    ({"metric": "exact", "outcome": "error"}, [2]),
    ({"metric": "exact", "outcome": "missing", "subject": "new"}, [2]),
    ({"metric": "long", "min": "0.6"}, [0, 1]),
    ({"metric": "long", "min": "0.2", "max": "0.4", "subject": "old"}, [2]),
    ({"metric": "exact", "subject": "old", "disagree": "new"}, [1, 3]),
    ({"metric": "long", "subject": "old", "disagree": "new"}, [0, 1]),
    ({"split": "test"}, [1, 2, 3]),
    ({"search": "cid"}, [2]),
    ({"search": "answer 1"}, [0, 1, 3]),
    ({"search": "answer 1", "subject": "old"}, []),
    ({"search": "100%"}, []),
]


def test_filters(viewer, evaluation, subtests):
    for query, found in FILTERS:
        with subtests.test(str(query)):
            assert positions(viewer, evaluation, **query) == found


WRONG_FILTERS = [
    ({"subject": "nobody"}, "subject"),
    ({"metric": "nothing", "outcome": "passed"}, "metric"),
    ({"outcome": "passed"}, "outcome"),
    ({"min": "1"}, "min"),
    ({"metric": "exact", "disagree": "new"}, "disagree"),
    ({"metric": "exact", "min": "NaN"}, "min"),
    ({"cursor": "x"}, "cursor"),
    ({"cursor": "9" * 30}, "cursor"),
    ({"status": "lost"}, "status"),
    ({"page": "2"}, "page"),
]


def test_filters_that_are_wrong_are_named(viewer, evaluation, subtests):
    for query, named in WRONG_FILTERS:
        with subtests.test(str(query)):
            answer = viewer.client.get(f"{EVALUATIONS}/{evaluation.id}/results", query)
            assert answer.status_code == 400
            assert set(answer.json()["error"]["details"]) == {named}


def test_long_texts_are_cut_in_lists_and_whole_in_a_case(viewer, evaluation):
    case = EvaluationCase.objects.filter(evaluation=evaluation, status="succeeded").first()
    EvaluationCase.objects.filter(id=case.id).update(output={"text": "x" * 5000})
    EvaluationScore.objects.filter(case=case, metric=0).update(reason="y" * 1000, details={"votes": [1]})
    listed = read(viewer, evaluation, "results")["data"][0]["answers"][0]
    assert (listed["is_output_cut"], len(listed["output"])) == (True, 2000)
    assert (listed["scores"][0]["is_reason_cut"], len(listed["scores"][0]["reason"])) == (True, 300)
    assert listed["scores"][0]["details"] is None
    whole = read(viewer, evaluation, f"cases/{listed['case_id']}")["data"]["answer"]
    assert (whole["output"], whole["is_output_cut"]) == ({"text": "x" * 5000}, False)
    assert (len(whole["scores"][0]["reason"]), whole["scores"][0]["details"]) == (1000, {"votes": [1]})


def test_a_case_of_another_evaluation_is_not_found(viewer, outsider, evaluation):
    case = evaluation.cases.first()
    assert outsider.client.get(f"{EVALUATIONS}/{evaluation.id}/cases/{case.id}").status_code == 404
    for number in (0, case.id + 10_000, 2**63):
        assert viewer.client.get(f"{EVALUATIONS}/{evaluation.id}/cases/{number}").status_code == 404


def test_the_summary_has_no_error_in_its_means(viewer, evaluation):
    old, new = read(viewer, evaluation, "summary")["data"]["subjects"]
    exact, long = old["metrics"]
    assert (exact["n"], exact["n_errors"], exact["n_missing"]) == (3, 1, 0)
    assert exact["pass_rate"] == pytest.approx(2 / 3)
    # Wilson's interval of 2 of 3: statsmodels' own documentation gives the formula, R's prop.test these ends.
    assert (exact["pass_rate_interval"]["low"], exact["pass_rate_interval"]["high"]) == pytest.approx(
        (0.2077, 0.9385), abs=1e-4
    )
    assert long["mean"] == pytest.approx(0.35)
    assert long["pass_rate"] is None
    assert (new["cases"], new["succeeded"], new["failed"], new["errors"]) == (4, 3, 1, {"PROVIDER_ERROR": 1})
    assert new["metrics"][0]["n_missing"] == 1
    assert new["failure_rate"] == 0.25
    assert (new["latency_ms"]["p50"], new["input_tokens"], new["cost_usd"]) == (200.0, 30, "0.030000000000")


def test_equal_scores_say_nothing_of_how_far_their_mean_is_right(viewer, make_dataset, make_evaluator, make_evaluation):
    made = finish(make_evaluation(make_dataset(["a", "b"]), [{}], {"same": make_evaluator()}), [[[True]], [[True]]])
    metric = read(viewer, made, "summary")["data"]["subjects"][0]["metrics"][0]
    assert (metric["mean"], metric["mean_interval"], metric["pass_rate_interval"]["low"] < 0.4) == (1.0, None, True)


def test_repeats_are_no_more_items(viewer, make_dataset, make_evaluator, make_evaluation):
    version = make_dataset(["a", "b"])
    made = make_evaluation(version, [{}], {"exact": make_evaluator()}, repeats=2)
    finish(made, [[[True]], [[True]]])
    for case, passed in zip(list(made.cases.order_by("id")), (True, False), strict=True):
        again = EvaluationCase.objects.create(evaluation=made, subject=0, item=case.item, repeat=1, status="succeeded")
        EvaluationScore.objects.create(evaluation=made, case=again, metric=0, value=float(passed), passed=passed)
    metric = read(viewer, made, "summary")["data"]["subjects"][0]["metrics"][0]
    assert (metric["n"], metric["n_items"], metric["pass_rate"]) == (4, 2, 0.75)
    assert metric["within_item_variance"] == pytest.approx(0.25)
    assert metric["pass_rate_interval"]["method"] == "student"
    assert [(row["k"], row["pass_at_k"], row["pass_hat_k"]) for row in metric["by_k"]] == [
        (1, 0.75, 0.75),
        (2, 1.0, 0.5),
    ]


def test_the_difference_of_two_subjects(viewer, evaluation):
    data = read(viewer, evaluation, "diff")["data"]
    assert (data["baseline"], data["candidate"]) == ("old", "new")
    totals = data["totals"]
    assert {name: totals[name] for name in ("pairs", "same", "changed", "only_baseline", "only_candidate")} == {
        "pairs": 3, "same": 0, "changed": 3, "only_baseline": 1, "only_candidate": 0,
    }  # fmt: skip
    assert (totals["baseline_cost_usd"], totals["candidate_latency_ms"]) == ("0.03", 200.0)
    exact, long = totals["metrics"]
    assert (exact["n"], exact["higher"], exact["lower"]) == (3, 1, 1)
    assert long["difference"] == pytest.approx((0.2 + 0.8 + 0) / 3)
    first, _, third, _ = data["rows"]
    assert first["is_same"] is False
    assert [line["op"] for line in first["hunks"][0]["lines"]] == ["-", "+", " "]
    assert (first["latency_difference_ms"], first["cost_difference_usd"]) == (100, "0")
    assert [change["difference"] for change in first["scores"]] == [0.0, pytest.approx(0.2)]
    assert (third["is_same"], third["hunks"]) == (None, None)
    again = read(viewer, evaluation, "diff", baseline="new", candidate="old")["data"]
    assert again["totals"]["only_candidate"] == 1


@pytest.mark.parametrize("name", ["baseline", "candidate"])
def test_a_difference_of_unknown_subjects_is_refused(viewer, evaluation, name):
    answer = viewer.client.get(f"{EVALUATIONS}/{evaluation.id}/diff", {name: "nobody"})
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]) == {name}


def download(person, evaluation, file_format):
    answer = person.client.get(f"{EVALUATIONS}/{evaluation.id}/export", {"format": file_format})
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode()


def test_the_export_as_json_lines_says_everything(viewer, evaluation):
    rows = [json.loads(line) for line in download(viewer, evaluation, "jsonl").splitlines()]
    assert [row["position"] for row in rows] == [0, 1, 2, 3]
    assert rows[1]["answers"][1]["scores"][1]["value"] == 0.9


def test_the_export_as_csv_has_no_formulas(viewer, evaluation):
    EvaluationCase.objects.filter(evaluation=evaluation, subject=1, status="succeeded").update(output="=1+1")
    rows = list(csv.DictReader(io.StringIO(download(viewer, evaluation, "csv"))))
    assert rows[0]["input"] == '{"name":"Ada"}'
    assert (rows[0]["old.output"], rows[0]["new.output"]) == ("Answer 0 of\nitem 0", "'=1+1")
    assert (rows[0]["new.long"], rows[0]["new.exact.passed"]) == ("0.7", "true")
    assert (rows[2]["new.error"].partition(":")[0], rows[2]["old.exact"]) == ("PROVIDER_ERROR", "NOTHING_EXPECTED")


def test_an_export_reads_all_of_many_rows(viewer, make_dataset, make_evaluator, make_evaluation):
    made = make_evaluation(make_dataset([str(number) for number in range(120)]), [{}], {"exact": make_evaluator()})
    finish(made, [[[True]]] * 120)
    assert len(download(viewer, made, "jsonl").splitlines()) == 120


@pytest.mark.parametrize("what", ["results", "summary", "diff", "export"])
def test_another_organization_finds_nothing(outsider, evaluation, what):
    assert outsider.client.get(f"{EVALUATIONS}/{evaluation.id}/{what}").status_code == 404
