"""The first dataset of docs/datasets.md works as written, against a real server."""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command

from apps.evaluations.models import DatasetItem

TEXT = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
PASSWORD = "first dataset of all"


def tour(base):
    found = re.search(r"<!-- tour: curl -->\n```sh\n(.*?)```", TEXT, re.DOTALL)
    assert found
    code = found[1]
    for written, real in (("http://localhost:8080", base), ("the password that make up printed", PASSWORD)):
        assert written in code
        code = code.replace(written, real)
    return code


@pytest.mark.django_db(transaction=True)
def test_the_first_dataset_works_as_written(live_server, settings, tmp_path):
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
    assert '"success":false' not in done.stdout
    for expected in ('"status":"succeeded"', '"added":1', "input.country,expected,split", "Lima"):
        assert expected in done.stdout
    assert DatasetItem.objects.filter(dataset__slug="capitals").current().count() == 3
