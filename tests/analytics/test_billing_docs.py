"""The tours of docs/billing.md and docs/retention.md work as written, against a real server."""

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import call_command

from apps.analytics.models import RetentionPolicy
from tests.conftest import make_organization
from tests.tours import walk

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.django_db(transaction=True)
def test_the_tour_of_billing(live_server, settings, tmp_path):
    said = walk("billing.md", live_server.url, settings, tmp_path)
    assert '"name":"billed"' in said
    assert "section,key,name" in said
    assert (tmp_path / "statement.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.django_db(transaction=True)
def test_the_tour_of_retention(live_server, settings, tmp_path):
    said = walk("retention.md", live_server.url, settings, tmp_path)
    assert said.count('"legal_hold":true') == 2
    policy = RetentionPolicy.objects.get()
    assert (policy.payload_days, policy.execution_days, policy.legal_hold) == (30, 400, True)


COMMANDS = re.findall(r"^python manage.py (.+)$", (DOCS / "retention.md").read_text(), re.MULTILINE)


@pytest.mark.django_db
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_taken(command):
    make_organization("Acme")
    call_command(*shlex.split(command))


def test_there_are_commands():
    assert len(COMMANDS) == 2


@pytest.mark.parametrize("document", ["billing.md", "retention.md"])
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (DOCS / document).read_text())
    assert all((DOCS / path).exists() for path in links)
