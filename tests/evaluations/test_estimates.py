"""What evaluations would cost, and past executions given to a candidate."""

from decimal import Decimal

import pytest

from apps.evaluations.models import Dataset, Evaluation
from apps.executions.models import Execution
from tests.evaluations.conftest import EVALUATIONS
from tests.project.test_permission_matrix import key_client
from tests.workflows.starting import make_workflow


@pytest.fixture
def wish(make_dataset, make_evaluator, prompt):
    items = [{"input": {"name": name}, "expected": name, "output": name} for name in "ABCD"]
    return {
        "dataset": make_dataset(items).dataset.slug,
        "subjects": [{"recorded": True}, {"prompt": prompt["slug"]}],
        "evaluators": [{"evaluator": make_evaluator().evaluator.slug}],
    }


def estimate(person, wish, **more):
    answer = person.client.post(f"{EVALUATIONS}/estimate", {**wish, **more})
    assert answer.status_code == 200, answer.content
    assert not Evaluation.objects.exists()
    return answer.json()["data"]


def test_without_history_a_sample_is_rendered(editor, wish):
    data = estimate(editor, wish, repeats=3)
    recorded, asked = data["parts"]
    assert (data["items"], data["cases"], recorded["basis"]) == (4, 24, "free")
    assert (asked["basis"], asked["basis_count"], asked["cases"]) == ("sample", 4, 12)
    costs = [Decimal(asked["cost_usd"][name]) for name in ("low", "likely", "high")]
    assert 0 < costs[0] < costs[1] < costs[2]
    # 512 tokens at 10 USD for a million are the most of it.
    assert costs[1] / 12 == pytest.approx(Decimal("0.00513"), rel=Decimal("0.05"))
    assert (data["unpriced"], data["duration_s"]) == ([], None)


def test_with_history_it_goes_by_what_was_paid(editor, wish, prompt, execute):
    for _ in range(5):
        execute(prompt)
    Execution.objects.update(latency_ms=1000)
    paid = Execution.objects.first().cost_usd
    data = estimate(editor, wish, max_concurrency=2)
    assert (data["parts"][1]["basis"], data["parts"][1]["basis_count"]) == ("history", 5)
    assert Decimal(data["cost_usd"]["likely"]) == pytest.approx(paid * 4, abs=Decimal("0.000001"))
    assert data["duration_s"] == 2.0


@pytest.mark.parametrize(("budget", "is_within"), [("100", True), ("0.000001", False)])
def test_a_budget_is_held_against_the_high_end(editor, wish, budget, is_within):
    assert estimate(editor, wish, budget_usd=budget)["is_within_budget"] is is_within


def test_what_has_no_price_is_named(editor, wish, make_model):
    free = make_model("nobody-knows-this-one", input_price_usd=None, cached_input_price_usd=None, output_price_usd=None)
    subject = {"name": "odd", "messages": [{"role": "user", "content": "Hi {{name}}"}], "model_id": str(free.id)}
    make_workflow(editor)
    data = estimate(editor, wish, subjects=[subject, {"workflow": "triage", "name": "flow"}])
    assert (data["unpriced"], data["cost_usd"]) == (["odd", "flow"], None)


def test_judges_are_part_of_it(editor, wish, model, make_evaluator):
    config = {"model_id": str(model.id), "rubric": "Is it kind?", "scale": {"type": "boolean"}, "repeats": 3}
    judge = make_evaluator("llm_judge", config)
    data = estimate(editor, wish, evaluators=[{"evaluator": judge.evaluator.slug, "name": "kind"}])
    part = data["parts"][-1]
    assert (part["name"], part["part"], part["cases"], part["basis"]) == ("kind", "evaluator", 8, "sample")
    assert Decimal(part["cost_usd"]["likely"]) > 8 * 3 * Decimal("0.002")


def test_an_estimate_refuses_as_the_evaluation_would(editor, wish):
    answer = editor.client.post(f"{EVALUATIONS}/estimate", {**wish, "subjects": [{"prompt": "none"}]})
    assert (answer.status_code, set(answer.json()["error"]["details"])) == (400, {"subjects.0.prompt"})


@pytest.fixture
def replay(wish, prompt, execute):
    for name in ("Ada", "Bob", "Ada"):
        execute(prompt, variables={"name": name})
    return {
        "filter": {"prompt_id": prompt["id"]},
        "candidate": {"prompt": prompt["slug"], "parameters": {"temperature": 0}},
        "evaluators": wish["evaluators"],
    }


def test_a_replay_asks_a_candidate_what_was_asked_before(editor, replay, drive):
    answer = editor.client.post(f"{EVALUATIONS}/replay", replay)
    assert answer.status_code == 201, answer.content
    made = answer.json()["data"]
    assert made["progress"]["items"] == 3
    assert [subject["kind"] for subject in made["subjects"]] == ["recorded", "prompt"]
    assert drive(Evaluation.objects.get()).status == "succeeded"
    diff = editor.client.get(f"{answer.headers['Location']}/diff").json()["data"]
    assert diff["totals"]["pairs"] == 3
    assert [row["input"] for row in diff["rows"]] == [{"name": "Ada"}, {"name": "Bob"}, {"name": "Ada"}]
    assert all(row["latency_difference_ms"] is not None for row in diff["rows"])
    assert diff["totals"]["baseline_cost_usd"] == diff["totals"]["candidate_cost_usd"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"filter": {"status": "failed"}}, "filter"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"candidate": {"prompt": "none"}}, "candidate.prompt"),
        ({"candidate": {"recorded": True}}, "candidate.recorded"),
        ({"candidate": {}}, "candidate"),
        ({"limit": 10_001}, "limit"),
    ],
)
def test_a_replay_that_cannot_be_leaves_nothing(editor, replay, change, named):
    before = Dataset.objects.count()
    answer = editor.client.post(f"{EVALUATIONS}/replay", {**replay, **change})
    assert (answer.status_code, set(answer.json()["error"]["details"])) == (400, {named})
    assert Dataset.objects.count() == before


def test_a_replay_reads_only_what_one_may_read(editor, replay):
    key = key_client(editor, ["evaluations:execute", "prompts:execute", "datasets:create"])
    assert key.post(f"{EVALUATIONS}/replay", replay).status_code == 403


def test_a_replay_finds_nothing_of_others(outsider, replay, make_model, make_evaluator):
    make_model(of=outsider.organization, is_default=True)
    messages = {"messages": [{"role": "user", "content": "Hi"}]}
    mine = {
        "evaluators": [{"evaluator": make_evaluator(of=outsider.organization).evaluator.slug}],
        "candidate": messages,
    }
    answer = outsider.client.post(f"{EVALUATIONS}/replay", {**replay, **mine})
    assert set(answer.json()["error"]["details"]) == {"filter"}
