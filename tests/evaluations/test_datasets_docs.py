"""The first dataset of docs/datasets.md works as written, against a real server."""

from pathlib import Path

import pytest

from apps.evaluations.models import DatasetItem
from tests.tours import walk

TEXT = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_first_dataset_works_as_written(live_server, settings, tmp_path):
    said = walk("datasets.md", live_server.url, settings, tmp_path)
    for expected in ('"status":"succeeded"', '"added":1', "input.country,expected,split", "Lima"):
        assert expected in said
    assert DatasetItem.objects.filter(dataset__slug="capitals").current().count() == 3
