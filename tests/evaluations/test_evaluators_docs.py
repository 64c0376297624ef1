"""docs/evaluators.md names every kind and key, and works as written against a real server."""

import re
from pathlib import Path

import pytest

from apps.evaluations.evaluators import DETERMINISTIC
from apps.evaluations.models import EvaluatorVersion, ScoreConfig
from tests.tours import walk

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "evaluators.md").read_text()


@pytest.mark.parametrize("kind", DETERMINISTIC, ids=lambda kind: kind.kind)
def test_every_kind_and_key_is_described(kind):
    [row] = [line for line in TEXT.splitlines() if line.startswith(f"| `{kind.kind}` |")]
    assert [key for key in kind.config_schema["properties"] if f"`{key}`" not in row] == []
    choices = [one for schema in kind.config_schema["properties"].values() for one in schema.get("enum", ())]
    assert [one for one in choices if f"`{one}`" not in row] == []


@pytest.mark.django_db(transaction=True)
def test_the_first_evaluator_works_as_written(live_server, settings, tmp_path):
    said = walk("evaluators.md", live_server.url, settings, tmp_path)
    versions = EvaluatorVersion.objects.filter(evaluator__slug="my/similarity").order_by("version_number")
    assert [version.config for version in versions] == [{"threshold": 0.5}, {"threshold": 0.8}, {"threshold": 0.8}]
    assert set(ScoreConfig.objects.values_list("name", flat=True)) == {"helpfulness", "similarity", "tone"}
    assert [said.count(f'"passed":{verdict}') for verdict in ("true", "false")] == [2, 1]


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
