"""The examples of docs/workflow-starts.md do what it says."""

import json
import re
from pathlib import Path

import pytest

from apps.workflows.models import Missed, Overlap, WorkflowRun
from tests.conftest import Client
from tests.workflows.starting import make_workflow

pytestmark = pytest.mark.django_db
DOCUMENT = (Path(__file__).parents[2] / "docs" / "workflow-starts.md").read_text()
SCHEDULE, TRIGGER = (json.loads(body) for body in re.findall(r"--data '(.*?)'\n", DOCUMENT))


@pytest.fixture
def workflow(editor):
    return make_workflow(editor)


def test_the_schedule_is_taken(editor, workflow):
    response = editor.client.post(f"/api/v1/workflows/{workflow.id}/schedules", SCHEDULE)
    assert response.status_code == 201, response.content


def test_the_example_calls_a_trigger(editor, workflow):
    trigger = editor.client.post(f"/api/v1/workflows/{workflow.id}/triggers", TRIGGER).json()["data"]
    found = re.search(r"<!-- example: call -->\n```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found
    names: dict[str, object] = {}
    exec(found[1], names)  # noqa: S102 - the document's own code
    headers, body = names["signed_call"](trigger["secret"], {"issue": {"title": "It burns"}})
    path = trigger["url"][trigger["url"].index("/api/v1") :]
    content_type = headers.pop("Content-Type")
    answer = Client().post(path, body, content_type=content_type, headers=headers)
    assert answer.status_code == 202, answer.content
    assert WorkflowRun.objects.get().inputs["ticket"] == "It burns"


def test_every_policy_is_described():
    assert all(f"`{policy}`" in DOCUMENT for policy in {*Missed.values, *Overlap.values})
