"""The first questions of docs/analytics.md work as written, against a real server."""

import re
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.analytics.queries.asking import DIMENSIONS, FORMATS
from apps.analytics.queries.ranges import MAX_BUCKETS, Interval
from apps.users.models import Membership
from tests.analytics.making import make_executions, make_scores, make_world
from tests.conftest import Person, client_for
from tests.tours import PASSWORD, walk

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "analytics.md").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_first_questions_work_as_written(live_server, settings, tmp_path):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    member = Membership.objects.select_related("user", "organization").get(user__email="admin@example.com")
    person = Person(member.user, member.organization, member, client_for(member))
    world = make_world(person)
    day = timedelta(days=1)
    made = make_executions(person, world, count=100, start=timezone.now() - day, length=day)
    make_scores(person, made)
    said = walk("analytics.md", live_server.url, settings, tmp_path)
    assert said.count('"success":true') == 7
    for expected in (
        '"prompt-1 v1"',
        '"name":"large"',
        '"name":"quality"',
        "user,user_name,requests",
        person.user.email,
    ):
        assert expected in said
    hours = pq.read_table(tmp_path / "hours.parquet")
    assert sum(hours.column("requests").to_pylist()) == 100


@pytest.mark.parametrize("name", [*DIMENSIONS, *FORMATS, *Interval.values, f"{MAX_BUCKETS:,}"])
def test_the_guide_names_everything(name):
    assert name in TEXT


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
