"""The first queue of docs/annotation.md works as written, against a real server."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.evaluations.models import Annotation, AnnotationTask, Dataset, DatasetItem
from tests.tours import tour

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "annotation.md").read_text()
PASSWORD = "first queue of annotation"


@pytest.mark.django_db(transaction=True)
def test_the_first_queue_works_as_written(live_server, settings):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    script = tour("annotation.md", live_server.url, PASSWORD)
    done = subprocess.run(
        ["bash", "-eu"], input=script, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"success":false' not in done.stdout, done.stdout
    assert AnnotationTask.objects.count() == 2
    assert Annotation.objects.get().comment == "Short and clear"
    for expected in ('"added":2', '"complete":0', '"alpha":null', "values.is-helpful", '"item_count":1'):
        assert expected in done.stdout, expected
    dataset = Dataset.objects.get(slug="support-labels")
    item = DatasetItem.objects.get(dataset=dataset)
    assert item.metadata == {"label": True, "is-helpful": True, "manner": "kind"}
    assert (item.input, item.output) == ("Where is my order?", "It arrives on Tuesday.")


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
