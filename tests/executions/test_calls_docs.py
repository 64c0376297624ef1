"""The bodies of docs/calls.md are what the API takes."""

import json
import re
from pathlib import Path

import pytest

from tests.executions.conftest import PROMPTS

pytestmark = pytest.mark.django_db
TEXT = (Path(__file__).parents[2] / "docs" / "calls.md").read_text()
BODIES = [json.loads(body) for body in re.findall(r"-d '(.*?)'\n", TEXT, re.DOTALL)]


def test_there_are_examples():
    assert len(BODIES) == 2


@pytest.mark.parametrize("body", BODIES, ids=lambda body: list(body)[-1])
def test_examples_are_answered(prompt, editor, body):
    response = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body)
    assert response.status_code == 200, response.content
