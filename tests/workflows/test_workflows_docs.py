"""The first run of docs/workflows.md works as written, against a real server and a worker of this process."""

import re
import threading
from pathlib import Path

import pytest
from django.db import connection

from apps.workflows.definition.validation import problems
from apps.workflows.engine import queue
from apps.workflows.engine.running import work_at
from apps.workflows.models import WorkflowRun
from everquant.api.parsers import parse_json
from tests.tours import walk

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "workflows.md").read_text()


@pytest.fixture
def worker():
    """Works at what is ready until the test ends."""
    ending = threading.Event()

    def work():
        try:
            while not ending.wait(0.05):
                if (run := queue.take()) is not None:
                    work_at(run)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ending.set()
    thread.join(10)


@pytest.mark.django_db(transaction=True)
def test_the_first_run_works_as_written(live_server, settings, worker, work, tmp_path):
    said = walk("workflows.md", live_server.url, settings, tmp_path)
    run = WorkflowRun.objects.get()
    assert (run.status, run.outputs) == ("succeeded", {"reply": "We are sorry. You wrote: I am angry"})
    for expected in ('"version_number":1', "We are sorry", "flowchart", "kind: everquant.workflow"):
        assert expected in said


def test_the_definition_that_is_shown_is_valid():
    found = re.search(r"## What is in a definition\n```json\n(.*?)```", TEXT, re.DOTALL)
    assert found
    assert problems(parse_json(found[1].encode())) == []


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
