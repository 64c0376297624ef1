"""Evaluations over HTTP: what they are given is pinned, refused by name, changed and deleted."""

import pytest

from apps.evaluations.models import Evaluation, EvaluationScore
from tests.evaluations.conftest import EVALUATIONS, finish
from tests.project.test_permission_matrix import key_client
from tests.workflows.starting import make_workflow, publish


@pytest.fixture
def dataset(make_dataset):
    return make_dataset([{"input": {"name": name}, "expected": f"Hi, {name}!", "output": "Hi"} for name in "ABC"])


@pytest.fixture
def exact(make_evaluator):
    return make_evaluator("exact_match")


@pytest.fixture
def wish(dataset, exact, prompt):
    return {
        "dataset": dataset.dataset.slug,
        "subjects": [{"recorded": True}, {"prompt": prompt["slug"]}],
        "evaluators": [{"evaluator": exact.evaluator.slug}],
    }


def make(person, wish, **more):
    return person.client.post(EVALUATIONS, {**wish, **more})


def refused(answer, status=400):
    assert answer.status_code == status, answer.content
    return answer.json()["error"]["details"]


def test_what_it_names_is_pinned(editor, wish, prompt, dataset, exact):
    answer = make(editor, wish, name="First", metadata={"commit": "abc"}, budget_usd="1.50")
    assert answer.status_code == 201, answer.content
    made = answer.json()["data"]
    assert answer.headers["Location"] == f"{EVALUATIONS}/{made['id']}"
    assert (
        editor.client.post(f"/api/v1/prompts/{prompt['id']}/versions", {"content": "Bye, {{name}}!"}).status_code == 201
    )
    stored = Evaluation.objects.get()
    recorded, asked = stored.subjects.all()
    assert (recorded.kind, recorded.name) == ("recorded", "recorded")
    assert (str(asked.prompt_id), asked.version_number) == (prompt["id"], 1)
    assert None not in {asked.prompt_version_id, asked.model_id}
    assert stored.metrics.get().evaluator_version == exact
    assert made["progress"] == {
        "items": 3, "cases": 6, "succeeded": 0, "failed": 0, "share": 0.0, "scores": 0, "score_errors": 0,
        "estimated_end_at": None,
    }  # fmt: skip
    assert (made["dataset_slug"], made["dataset_version"], made["status"]) == (dataset.dataset.slug, 1, "queued")
    assert (made["budget_usd"], made["metadata"]) == ("1.5", {"commit": "abc"})
    assert editor.client.get(f"{EVALUATIONS}/{made['id']}").json()["data"]["name"] == "First"


def test_every_problem_is_named_at_once(editor, wish, make_evaluator):
    subjects = [
        {"prompt": "nothing-of-this-name"},
        {"prompt": wish["subjects"][1]["prompt"], "label": "gold"},
        {"messages": [{"role": "user", "content": "{{ open"}]},
        {"workflow": str(Evaluation().id)},
        {"prompt": wish["subjects"][1]["prompt"], "model_id": str(Evaluation().id)},
        {"messages": [{"role": "cook", "content": "Hi"}], "name": "same"},
        {"recorded": True, "name": "same"},
    ]
    evaluators = [{"evaluator": "none"}, {"evaluator": wish["evaluators"][0]["evaluator"], "version": 7}]
    answer = make(editor, wish, dataset="missing", subjects=subjects, evaluators=evaluators)
    assert set(refused(answer)) == {
        "dataset", "subjects.0.prompt", "subjects.1.label", "subjects.2.messages.0.content", "subjects.3.workflow",
        "subjects.4.model_id", "subjects.5.messages.0.role", "subjects.6.name", "evaluators.0.evaluator",
        "evaluators.1.version",
    }  # fmt: skip
    assert not Evaluation.objects.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"subjects": []}, "subjects"),
        ({"subjects": [{}]}, "subjects.0"),
        ({"subjects": [{"recorded": True, "prompt": "x"}]}, "subjects.0"),
        ({"subjects": [{"recorded": False}]}, "subjects.0.recorded"),
        ({"subjects": [{"recorded": "True"}]}, "subjects.0.recorded"),
        ({"subjects": [{"prompt": " spaced"}]}, "subjects.0.prompt"),
        ({"subjects": [{"prompt": "Not A Slug"}]}, "subjects.0.prompt"),
        ({"subjects": [{"prompt": 7}]}, "subjects.0.prompt"),
        ({"subjects": [{"prompt": "x", "colour": "red"}]}, "subjects.0.colour"),
        ({"subjects": ["x"]}, "subjects.0"),
        ({"evaluators": [{"evaluator": "x", "weight": 1}]}, "evaluators.0.weight"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 101}, "repeats"),
        ({"item_limit": 2**40}, "item_limit"),
        ({"max_concurrency": 10_000}, "max_concurrency"),
        ({"budget_usd": 5}, "budget_usd"),
        ({"budget_usd": "0.000"}, "budget_usd"),
        ({"budget_usd": "NaN"}, "budget_usd"),
        ({"budget_usd": "1e9"}, "budget_usd"),
        ({"metadata": []}, "metadata"),
        ({"name": "a\x00b"}, "name"),
        ({"split": "nothing"}, "split"),
        ({"dataset_version": 2}, "dataset_version"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_does_not_fit_is_named(editor, wish, change, named):
    assert set(refused(make(editor, wish, **change))) == {named}


def test_a_recorded_subject_needs_something_recorded(editor, wish, make_dataset):
    silent = make_dataset([{"input": "a"}])
    answer = make(editor, wish, dataset=str(silent.dataset_id), subjects=[{"recorded": True}])
    assert set(refused(answer)) == {"subjects.0.recorded"}


def test_too_many_cases_are_refused(editor, wish, make_dataset):
    version = make_dataset([{"input": "a", "output": "b"}])
    large = version.dataset.versions.create(
        organization=version.organization, version_number=2, item_count=600_000, dataset=version.dataset
    )
    version.dataset.current_version = large
    version.dataset.save()
    assert set(refused(make(editor, wish, dataset=version.dataset.slug))) == {"item_limit"}
    assert make(editor, wish, dataset=version.dataset.slug, item_limit=10).json()["data"]["progress"]["cases"] == 20


def test_another_organizations_things_read_as_unknown(outsider, wish, make_model):
    make_model(of=outsider.organization, is_default=True)
    details = refused(make(outsider, wish))
    assert set(details) == {"dataset", "subjects.1.prompt", "evaluators.0.evaluator"}


def test_names_that_were_not_given_differ(editor, wish, prompt):
    twice = [{"prompt": prompt["slug"]}, {"prompt": prompt["id"]}, {"messages": [{"role": "user", "content": "Hi"}]}]
    evaluator = wish["evaluators"][0]
    made = make(editor, wish, subjects=twice, evaluators=[evaluator, evaluator]).json()["data"]
    names = [subject["name"] for subject in made["subjects"]]
    assert names[1] == f"{names[0]} 2"
    assert len({metric["name"] for metric in made["evaluators"]}) == 2


def test_a_workflow_within_a_budget_needs_a_limit(editor, wish):
    workflow = make_workflow(editor)
    wished = {"subjects": [{"workflow": "triage"}]}
    assert make(editor, wish, **wished).status_code == 201
    assert set(refused(make(editor, wish, **wished, budget_usd="1"))) == {"subjects.0.workflow"}
    publish(workflow, settings={"max_cost_usd": "0.10"})
    assert make(editor, wish, **wished, budget_usd="1").status_code == 201


def test_a_key_calls_nothing_that_it_may_not(editor, wish, make_evaluator, model):
    key = key_client(editor, ["evaluations:execute", "evaluations:read"])
    answer = key.post(EVALUATIONS, wish)
    assert refused(answer, 403) == {"subjects.1": "Needs prompts:execute."}
    judge = make_evaluator("embedding_similarity", {"model_id": str(model.id)})
    judged = {**wish, "subjects": [{"recorded": True}], "evaluators": [{"evaluator": judge.evaluator.slug}]}
    assert refused(key.post(EVALUATIONS, judged), 403) == {"evaluators.0": "Needs prompts:execute."}
    recorded = key.post(EVALUATIONS, {**wish, "subjects": [{"recorded": True}]})
    assert recorded.status_code == 201
    assert recorded.json()["data"]["api_key_id"] is not None


def test_a_pairwise_judge_needs_two_subjects(editor, wish, make_evaluator):
    judge = make_evaluator("pairwise_judge")
    wished = {"subjects": [{"recorded": True}], "evaluators": [{"evaluator": judge.evaluator.slug}]}
    assert set(refused(make(editor, wish, **wished))) == {"evaluators.0.evaluator"}


def test_changes_need_the_state_that_was_read(editor, wish):
    made = make(editor, wish)
    path = made.headers["Location"]
    tag = made.headers["ETag"]
    changed = editor.client.patch(path, {"name": "Better", "budget_usd": "2"}, headers={"If-Match": tag})
    assert changed.status_code == 200
    assert (changed.json()["data"]["name"], changed.json()["data"]["budget_usd"]) == ("Better", "2")
    assert editor.client.patch(path, {"name": "Late"}, headers={"If-Match": tag}).status_code == 412
    assert set(refused(editor.client.patch(path, {"repeats": 3}))) == {"repeats"}


def test_the_list_is_filtered(editor, wish, prompt, dataset, exact):
    first = make(editor, wish, name="Nightly run").json()["data"]["id"]
    other = make(editor, wish, subjects=[{"recorded": True}]).json()["data"]["id"]

    def ids(**query):
        return {row["id"] for row in editor.client.get(EVALUATIONS, query).json()["data"]}

    assert ids() == {first, other}
    assert ids(prompt_id=prompt["id"]) == ids(search="nightly") == {first}
    assert ids(dataset_id=dataset.dataset_id) == ids(evaluator_id=exact.evaluator_id, status="queued") == {first, other}
    assert ids(status="failed") == ids(created_before="2020-01-01T00:00:00Z") == ids(workflow_id=first) == set()


def test_what_is_repeated_by_key_is_one_evaluation(editor, wish):
    headers = {"Idempotency-Key": "nightly-7"}
    first, second = (editor.client.post(EVALUATIONS, wish, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert Evaluation.objects.count() == 1


def test_an_ended_one_is_deleted_with_all_its_rows(admin, make_dataset, make_evaluator, make_evaluation, run_jobs):
    kept = make_evaluation(make_dataset(["x"]), [{}], {"exact": make_evaluator()})
    gone = make_evaluation(make_dataset(["a", "b"]), [{}], {"exact": make_evaluator()})
    finish(kept, [[[True]]])
    path = f"{EVALUATIONS}/{gone.id}"
    assert admin.client.delete(path).status_code == 409
    finish(gone, [[[True]], [[False]]])
    assert admin.client.delete(path).status_code == 204
    assert admin.client.get(path).status_code == admin.client.get(f"{path}/summary").status_code == 404
    assert "purge" in run_jobs()
    assert list(Evaluation.objects.all()) == [kept]
    assert EvaluationScore.objects.count() == 1


def test_one_that_was_not_begun_is_cancelled_and_resumed(editor, wish):
    path = make(editor, wish).headers["Location"]
    assert editor.client.post(f"{path}/resume").status_code == 409
    assert editor.client.post(f"{path}/cancel").json()["data"]["status"] == "cancelled"
    assert editor.client.post(f"{path}/cancel").status_code == 409
    assert editor.client.post(f"{path}/resume").json()["data"]["status"] == "queued"
    assert editor.client.post(f"{path}/retry-errors").status_code == 409


def test_it_is_made_by_a_worker(editor, wish, drive, upstream):
    made = make(editor, wish).json()["data"]
    ended = drive(Evaluation.objects.get())
    assert ended.status == "succeeded"
    read = editor.client.get(f"{EVALUATIONS}/{made['id']}").json()["data"]
    assert (read["progress"]["share"], read["progress"]["succeeded"], read["status"]) == (1.0, 6, "succeeded")
    assert float(read["cost_usd"]) > 0
    results = editor.client.get(f"{EVALUATIONS}/{made['id']}/results").json()["data"]
    assert [row["answers"][0]["output"] for row in results] == ["Hi"] * 3
    assert {row["answers"][1]["status"] for row in results} == {"succeeded"}
