"""The tour of docs/alerts.md works as written, against a real server, and its tables are complete."""

import re
from pathlib import Path

import pytest

from apps.analytics.alerts.telling import told_of
from apps.analytics.models import Alert, AlertEvent, AlertMetric
from tests.tours import walk

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "alerts.md").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_tour(live_server, settings, tmp_path):
    said = walk("alerts.md", live_server.url, settings, tmp_path)
    assert '"is_breached":null' in said
    assert '"is_sent":true' in said
    failures, spend = Alert.objects.order_by("name")
    assert (failures.min_count, failures.muted_until, spend.emails) == (20, None, ["finance@example.com"])


def test_the_tables_are_complete():
    told = told_of(Alert(), AlertEvent(condition={}))
    assert set(told) | set(AlertMetric.values) <= set(re.findall(r"`(\w+)`", DOCUMENT))


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", DOCUMENT)
    assert links
    assert all((DOCS / path).exists() for path in links)
