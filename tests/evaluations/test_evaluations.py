"""Evaluations over HTTP: what they are given is pinned, refused by name, changed and deleted."""

import pytest

from apps.evaluations.models import Evaluation
from tests.evaluations.conftest import EVALUATIONS


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
