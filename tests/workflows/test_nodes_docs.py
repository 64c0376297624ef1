"""docs/workflow-nodes.md names every kind and key, and its command works."""

import json
import re
from pathlib import Path

import pytest

from apps.workflows.nodes.registry import kinds

DOCUMENT = (Path(__file__).parents[2] / "docs" / "workflow-nodes.md").read_text()


def row_of(name: str) -> str:
    [row] = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{name}` |")]
    return row


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_key_of_a_kind_is_described(kind):
    row = row_of(kind)
    assert [key for key in kinds()[kind].config_schema["properties"] if f"`{key}`" not in row] == []


@pytest.mark.django_db
def test_the_command_lists_hosts(admin):
    method, path = re.search(r'curl -X (\w+) "\$EVERQUANT(\S+)"', DOCUMENT).groups()
    body = json.loads(re.search(r"-d '(.*?)'\n", DOCUMENT)[1])
    response = getattr(admin.client, method.lower())(path, body)
    assert response.status_code == 200
    assert response.json()["data"]["http_hosts"] == body["http_hosts"]
