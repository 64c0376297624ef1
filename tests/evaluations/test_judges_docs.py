"""What docs/evaluators.md says of judges works as written, against a real server and a worker of this process."""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command

from apps.evaluations.evaluators import MODEL_BASED
from apps.evaluations.models import JudgeAgreement

TEXT = (Path(__file__).parents[2] / "docs" / "evaluators.md").read_text()
PASSWORD = "first judge of them all"


@pytest.mark.parametrize("kind", MODEL_BASED, ids=lambda kind: kind.kind)
def test_every_kind_and_key_is_described(kind):
    [row] = [line for line in TEXT.splitlines() if line.startswith(f"| `{kind.kind}` |")]
    assert [key for key in kind.config_schema["properties"] if f"`{key}`" not in row] == []
    choices = [one for schema in kind.config_schema["properties"].values() for one in schema.get("enum", ())]
    assert [one for one in choices if f"`{one}`" not in row] == []


@pytest.mark.django_db(transaction=True)
def test_judges_work_as_written(live_server, settings, worker):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    [login] = re.findall(r"<!-- tour: curl -->\n```sh\n(.*?)# 2\.", TEXT, re.DOTALL)
    script = login + "\n".join(re.findall(r"<!-- tour: judge -->\n```sh\n(.*?)```", TEXT, re.DOTALL))
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
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"success":false' not in done.stdout
    assert '"label":"kind"' in done.stdout
    agreement = JudgeAgreement.objects.get()
    assert (agreement.n, agreement.categories) == (3, ["rude", "kind"])
    assert agreement.confusion == [[1, 0], [1, 1]]
    assert '"may_gate":false' in done.stdout
