"""docs/evaluators.md names every kind and key, and works as written against a real server."""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command

from apps.evaluations.evaluators import DETERMINISTIC
from apps.evaluations.models import EvaluatorVersion, ScoreConfig

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "evaluators.md").read_text()
PASSWORD = "first run of an evaluator"


@pytest.mark.parametrize("kind", DETERMINISTIC, ids=lambda kind: kind.kind)
def test_every_kind_and_key_is_described(kind):
    [row] = [line for line in TEXT.splitlines() if line.startswith(f"| `{kind.kind}` |")]
    assert [key for key in kind.config_schema["properties"] if f"`{key}`" not in row] == []
    choices = [one for schema in kind.config_schema["properties"].values() for one in schema.get("enum", ())]
    assert [one for one in choices if f"`{one}`" not in row] == []


@pytest.mark.django_db(transaction=True)
def test_the_first_evaluator_works_as_written(live_server, settings):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    script = "\n".join(re.findall(r"<!-- tour: curl -->\n```sh\n(.*?)```", TEXT, re.DOTALL))
    base = f"http://localhost:{urlsplit(live_server.url).port}"
    for written, real in (("http://localhost:8080", base), ("the password that make up printed", PASSWORD)):
        assert written in script
        script = script.replace(written, real)
    done = subprocess.run(
        ["bash", "-eu"],
        input=script,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"success":false' not in done.stdout
    versions = EvaluatorVersion.objects.filter(evaluator__slug="my/similarity").order_by("version_number")
    assert [version.config for version in versions] == [{"threshold": 0.5}, {"threshold": 0.8}, {"threshold": 0.8}]
    assert set(ScoreConfig.objects.values_list("name", flat=True)) == {"helpfulness", "similarity", "tone"}
    assert [done.stdout.count(f'"passed":{verdict}') for verdict in ("true", "false")] == [2, 1]


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
