"""The first evaluation of docs/evaluations.md works as written, against a real server and a worker of this process."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.evaluations.models import Evaluation
from tests.tours import tour

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "evaluations.md").read_text()
PASSWORD = "first of many evaluations"


@pytest.mark.django_db(transaction=True)
def test_the_first_evaluation_works_as_written(live_server, settings, worker, tmp_path):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    script = tour("evaluations.md", live_server.url, PASSWORD)
    done = subprocess.run(
        ["bash", "-eu"],
        input=script,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    evaluation = Evaluation.objects.get()
    assert (evaluation.status, evaluation.succeeded_count, evaluation.score_count) == ("succeeded", 4, 4)
    assert '"success":false' not in done.stdout
    assert done.stdout.count('"pass_rate":1.0') == 1
    for expected in ('"basis":"sample"', '"op":"+","text":"Hello, Ada!"', "plain.same.passed"):
        assert expected in done.stdout


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
