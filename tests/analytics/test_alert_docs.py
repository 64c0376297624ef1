"""The tour of docs/alerts.md works as written, against a real server, and its tables are complete."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.analytics.alerts.telling import told_of
from apps.analytics.models import Alert, AlertEvent, AlertMetric
from tests.tours import tour

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT = (DOCS / "alerts.md").read_text()
PASSWORD = "a tour of alerts, long"


@pytest.mark.django_db(transaction=True)
def test_the_tour(live_server, settings, tmp_path):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    done = subprocess.run(
        ["bash", "-euo", "pipefail"], input=tour("alerts.md", live_server.url, PASSWORD), cwd=tmp_path, timeout=60,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"success":false' not in done.stdout
    assert '"is_breached":null' in done.stdout
    assert '"is_sent":true' in done.stdout
    failures, spend = Alert.objects.order_by("name")
    assert (failures.min_count, failures.muted_until, spend.emails) == (20, None, ["finance@example.com"])


def test_the_tables_are_complete():
    told = told_of(Alert(), AlertEvent(condition={}))
    assert set(told) | set(AlertMetric.values) <= set(re.findall(r"`(\w+)`", DOCUMENT))


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", DOCUMENT)
    assert links
    assert all((DOCS / path).exists() for path in links)
