"""docs/ab-tests.md works as written, against a real server and a collector of this process."""

import json
import re
import threading
from pathlib import Path

import pytest
from django.db import connection

from apps.evaluations.ab_tests.looking_after import collect_all
from apps.evaluations.ab_tests.measures import Aggregation, Builtin
from apps.prompts.ab_tests.segments import OPERATORS, check_segments
from apps.prompts.models import ABTest, Prompt
from tests.tours import walk

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "ab-tests.md").read_text()


@pytest.fixture
def collector():
    """Collects until the test ends."""
    ending = threading.Event()

    def work():
        try:
            while not ending.wait(0.05):
                collect_all()
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ending.set()
    thread.join(10)


@pytest.mark.django_db(transaction=True)
def test_the_first_test_works_as_written(live_server, settings, tmp_path, collector):
    said = walk("ab-tests.md", live_server.url, settings, tmp_path)
    for expected in (
        '"units_per_arm"', '"status":"running"', '"conclusion":"Too few units', '"variant":"warm"', '"recorded":1',
        '"status":"stopped"', '"status":"promoted"', '"status":"rolled_back"',
    ):  # fmt: skip
        assert expected in said, expected
    test = ABTest.objects.get(name="Warmer welcome")
    assert test.final_results["units"] == 4
    assert Prompt.objects.get(slug="mails/welcome").labels == {"production": 1}


def test_measures_and_operators_are_all_there():
    for name in (*Builtin, *Aggregation, *OPERATORS):
        assert f"`{name}`" in TEXT, name


def test_the_segments_of_the_document_are_valid():
    [shown] = re.findall(r'`(\{"include".*?\})`', TEXT)
    assert check_segments(json.loads(shown)) == {}


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
