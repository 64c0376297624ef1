"""docs/comparison.md works as written, against a real server, and says what the code says."""

import json
import re
from pathlib import Path

import pytest

from apps.evaluations.comparing.rules import SHAPES
from apps.evaluations.models import GateResult
from apps.evaluations.statistics.binary import exact_interval
from apps.evaluations.statistics.intervals import one_sided
from tests.tours import walk

TEXT = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_first_comparison_works_as_written(live_server, settings, worker, tmp_path):
    said = walk("comparison.md", live_server.url, settings, tmp_path)
    starts = [found.start() for found in re.finditer(r'\{"success":true', said)][-3:]
    compared, gated, kept = (json.JSONDecoder().raw_decode(said, start)[0]["data"] for start in starts)
    quality = compared["comparisons"][0]["metrics"][0]
    assert (quality["n"], quality["difference"], quality["verdict"]) == (60, 1, "better")
    assert gated["verdict"] == "pass", gated
    assert [one["id"] for one in kept] == [gated["id"]] == [str(GateResult.objects.get().id)]


def test_every_rule_is_there_with_its_fields():
    for kind, shape in SHAPES.items():
        (row,) = re.findall(rf"^\| `{kind}` \|.*$", TEXT, re.MULTILINE)
        own = set(shape["properties"]) - {"type", "confidence", "max_missing", "min_items"}
        assert all(f"`{name}`" in row for name in own), kind


def test_how_many_items_show_a_share():
    def bound(n):
        return exact_interval(n, n, one_sided(0.95)).low

    least = next(n for n in range(1, 200) if bound(n) >= 0.95)
    assert f"needs {least} of {least} items" in TEXT
