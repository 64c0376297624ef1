"""A label with a policy, and the way of a version there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from apps.evaluations.models import Evaluation, PromotionPolicy
from tests.conftest import Person, make_person
from tests.evaluations.conftest import finish
from tests.workflows.conftest import WORKFLOWS, definition, template

POLICIES = "/api/v1/promotion-policies"
ITEMS = 40
ACCURATE = {"type": "absolute", "metric": "accuracy", "min": 0.8}
NO_WORSE = {"type": "no_worse_than", "metric": "accuracy", "margin": 0.1}
Json = Any


@dataclass
class Governed:
    """A prompt or workflow of two versions, of which `label` points at the first, and the label's policy."""

    path: str
    label: str
    author: Person
    admin: Person
    make_policy: Callable[..., Json]
    policy: Json = field(default_factory=dict)

    @property
    def label_path(self) -> str:
        return f"{self.path}/labels/{self.label}"

    @property
    def policy_path(self) -> str:
        return f"{POLICIES}/{self.policy['id']}"

    def guard(self, **fields: Json) -> Json:
        answer = self.make_policy(label=self.label, **fields)
        assert answer.status_code == 201, answer.content
        self.policy = answer.json()["data"]
        return self.policy

    def move(self, version: int, by: Person | None = None) -> Any:
        return (by or self.author).client.put(self.label_path, {"version": version})

    def points_at(self) -> int | None:
        return self.author.client.get(self.path).json()["data"]["labels"].get(self.label)

    def status(self, version: int, by: Person | None = None) -> Json:
        answer = (by or self.author).client.get(f"{self.policy_path}/status?version={version}")
        assert answer.status_code == 200, answer.content
        return answer.json()["data"]

    def missing(self, version: int, by: Person | None = None) -> list[str]:
        return [one["code"] for one in self.status(version, by)["missing"]]

    def evaluate(self, version: int, *, passing: int = ITEMS, baseline: int = ITEMS) -> Evaluation:
        """As if a worker had made it: so many items pass."""
        answer = self.author.client.post(f"{self.policy_path}/evaluate", {"version": version})
        assert answer.status_code == 201, answer.content
        made = answer.json()["data"]
        shares = [passing] if len(made["subjects"]) == 1 else [baseline, passing]
        evaluation = Evaluation.objects.get(id=made["id"])
        return finish(evaluation, [[[number < share] for share in shares] for number in range(ITEMS)])

    def gate(self, evaluation: Evaluation, **body: Json) -> Any:
        return self.author.client.post(f"{self.policy_path}/gate", {"evaluation_id": str(evaluation.id), **body})

    def put_through(self, version: int, **shares: int) -> Json:
        answer = self.gate(self.evaluate(version, **shares))
        assert answer.status_code == 200, answer.content
        return answer.json()["data"]

    def decide(self, by: Person, version: int, decision: str = "approve") -> Any:
        body = {"version": version, "decision": decision, "comment": "Read."}
        return by.client.post(f"{self.policy_path}/approvals", body)

    def stored(self) -> PromotionPolicy:
        found: PromotionPolicy = PromotionPolicy.objects.get(id=self.policy["id"])
        return found


@pytest.fixture
def make_policy(admin, make_dataset, make_evaluator):
    dataset = make_dataset([{"input": {"name": str(number)}, "expected": "x"} for number in range(ITEMS)])
    evaluator = make_evaluator()

    def make(**fields):
        body = {
            "label": "production",
            "dataset": dataset.dataset.slug,
            "evaluators": [{"evaluator": evaluator.evaluator.slug, "name": "accuracy"}],
            "rules": [ACCURATE, NO_WORSE],
            **fields,
        }
        return admin.client.post(POLICIES, body)

    return make


@pytest.fixture
def governed_prompt(editor, admin, make_prompt, model, make_policy):
    prompt = make_prompt()
    path = f"/api/v1/prompts/{prompt['id']}"
    assert editor.client.post(f"{path}/versions", {"content": "Hi, {{name}}!"}).status_code == 201
    made = Governed(path, "production", editor, admin, lambda **more: make_policy(**{"prompt": prompt["slug"], **more}))
    assert made.move(1).status_code == 200
    return made


@pytest.fixture
def governed_workflow(editor, admin, make_policy):
    made = editor.client.post(WORKFLOWS, {"name": f"F {uuid4()}", "definition": definition([template("a")])})
    path = f"{WORKFLOWS}/{made.json()['data']['id']}"
    assert editor.client.post(f"{path}/publish", {"labels": ["production"]}).status_code == 201
    editor.client.patch(path, {"definition": definition([template("b")])})
    assert editor.client.post(f"{path}/publish", {}).status_code == 201
    workflow_id = made.json()["data"]["id"]
    return Governed(path, "production", editor, admin, lambda **more: make_policy(workflow=workflow_id, **more))


@pytest.fixture(params=["prompt", "workflow"])
def governed(request):
    return request.getfixturevalue(f"governed_{request.param}")


@pytest.fixture
def bob(organization, sign_in):
    return make_person(organization, "bob@acme.example", "editor", sign_in)


@pytest.fixture
def cleo(organization, sign_in):
    return make_person(organization, "cleo@acme.example", "editor", sign_in)
