"""The first dataset of docs/datasets.md works as written, against a real server."""

import os
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.evaluations.models import DatasetItem
from tests.tours import tour

TEXT = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
PASSWORD = "first dataset of all"


@pytest.mark.django_db(transaction=True)
def test_the_first_dataset_works_as_written(live_server, settings, tmp_path):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    script = tour("datasets.md", live_server.url, PASSWORD)
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
