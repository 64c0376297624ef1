"""The first evaluation of docs/evaluations.md works as written, against a real server and a worker of this process."""

import re
from pathlib import Path

import pytest

from apps.evaluations.models import Evaluation
from tests.tours import walk

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "evaluations.md").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_first_evaluation_works_as_written(live_server, settings, worker, tmp_path):
    said = walk("evaluations.md", live_server.url, settings, tmp_path)
    evaluation = Evaluation.objects.get()
    assert (evaluation.status, evaluation.succeeded_count, evaluation.score_count) == ("succeeded", 4, 4)
    assert said.count('"pass_rate":1.0') == 1
    for expected in ('"basis":"sample"', '"op":"+","text":"Hello, Ada!"', "plain.same.passed"):
        assert expected in said


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
