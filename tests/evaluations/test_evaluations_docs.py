"""The first evaluation of docs/evaluations.md works as written, against a real server and a worker of this process."""

import os
import re
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.db import connection

from apps.evaluations.models import Evaluation

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "evaluations.md").read_text()
PASSWORD = "first of many evaluations"


def tour(base):
    found = re.search(r"<!-- tour: curl -->\n```sh\n(.*?)```", TEXT, re.DOTALL)
    assert found
    code = found[1]
    for written, real in (("http://localhost:8080", base), ("the password that make up printed", PASSWORD)):
        assert written in code
        code = code.replace(written, real)
    return code


@pytest.fixture
def worker(drive):
    """Drives what is queued until the test ends."""
    ending = threading.Event()

    def work():
        try:
            while not ending.wait(0.05):
                for evaluation in Evaluation.objects.live():
                    drive(evaluation)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ending.set()
    thread.join(10)


@pytest.mark.django_db(transaction=True)
def test_the_first_evaluation_works_as_written(live_server, settings, worker, tmp_path):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    script = tour(f"http://localhost:{urlsplit(live_server.url).port}")
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
