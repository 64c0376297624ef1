"""Drafts of A/B tests over HTTP."""

from typing import Any

from tests.evaluations.ab_tests.conftest import AB_TESTS
from tests.executions.conftest import PROMPTS

Json = dict[str, Any]
CONTROL = {"name": "control", "is_control": True, "weight": 0.5, "version": 1}
CANDIDATE = {"name": "formal", "weight": 0.5, "version": 2}


def body_of(prompt: Json, **fields: Any) -> Json:
    """A test that can start once the prompt has a version 2 and production at 1."""
    said = {
        "name": "Greeting",
        "variants": [CONTROL, CANDIDATE],
        "metrics": [{"name": "success", "measure": "success"}],
    }
    return {**said, "prompt_id": prompt["id"], "min_effect": 0.05, **fields}


def add_version(person: Any, prompt: Json, **changes: Any) -> None:
    answer = person.client.post(f"{PROMPTS}/{prompt['id']}/versions", {"content": "Dear {{name}},", **changes})
    assert answer.status_code == 201, answer.content


def label(person: Any, prompt: Json, version: int, name: str = "production") -> Any:
    return person.client.put(f"{PROMPTS}/{prompt['id']}/labels/{name}", {"version": version})


def make_draft(person: Any, prompt: Json, **fields: Any) -> Json:
    """The data of a draft whose prompt has two versions and production at the first."""
    add_version(person, prompt)
    assert label(person, prompt, 1).status_code == 200
    return create(person, body_of(prompt, **fields))


def create(person: Any, body: Json, status: int = 201) -> Json:
    answer = person.client.post(AB_TESTS, body)
    assert answer.status_code == status, answer.content
    return answer.json()["data" if status == 201 else "error"]


def act(person: Any, test: Json, action: str, status: int = 200, **body: Any) -> Json:
    answer = person.client.post(f"{AB_TESTS}/{test['id']}/{action}", body)
    assert answer.status_code == status, answer.content
    return answer.json()["data" if status == 200 else "error"]


def change(person: Any, test: Json, status: int = 200, **body: Any) -> Json:
    answer = person.client.patch(f"{AB_TESTS}/{test['id']}", body)
    assert answer.status_code == status, answer.content
    return answer.json()["data" if status == 200 else "error"]
