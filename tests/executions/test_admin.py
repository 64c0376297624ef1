"""Operators read executions; nobody changes them there."""

import pytest
from django.test import Client
from django.urls import reverse

from apps.users.models import User
from tests.executions.conftest import EXECUTIONS

pytestmark = pytest.mark.django_db
LIST = "admin:executions_execution_changelist"


@pytest.fixture
def operator(db):
    client = Client()
    client.force_login(User.objects.create_superuser("op@acme.example", "correct horse battery"))
    return client


@pytest.fixture
def row(execute, prompt):
    return execute(prompt, unit_id="unit-7", variables={"name": "<script>"})


SEARCHES = [
    ({}, True),
    ({"period": "hour"}, True),
    ({"status__exact": "succeeded"}, True),
    ({"status__exact": "failed"}, False),
    ({"cost_usd_from": "0", "cost_usd_to": "1"}, True),
    ({"cost_usd_from": "1"}, False),
    ({"q": "unit-7"}, True),
    ({"q": "unit-8"}, False),
    ({"prompt": "no-such-prompt"}, False),
]


def test_the_list_is_filtered_and_searched(operator, row, subtests):
    for query, is_found in SEARCHES:
        with subtests.test(str(query)):
            response = operator.get(reverse(LIST), query)
            assert response.status_code == 200
            assert (row["id"] in response.content.decode()) is is_found


def test_it_is_found_by_its_ids_and_its_prompts_slug(operator, row, prompt):
    for query in ({"q": row["id"]}, {"q": row["prompt_id"]}, {"prompt": prompt["slug"]}):
        assert row["id"] in operator.get(reverse(LIST), query).content.decode()


def test_the_page_shows_what_was_said_and_changes_nothing(operator, row):
    url = reverse("admin:executions_execution_change", args=[row["id"]])
    page = operator.get(url).content.decode()
    assert "You said: Hello, &lt;script&gt;!" in page
    assert "gpt-5-mini" in page
    assert operator.post(url, {"status": "failed"}).status_code == 403
    assert operator.get(reverse("admin:executions_execution_add")).status_code == 403
    assert operator.post(reverse("admin:executions_execution_delete", args=[row["id"]])).status_code == 403


def test_statements_of_the_list_do_not_grow_with_it(operator, execute, prompt, django_assert_num_queries):
    for _ in range(3):
        execute(prompt)
    with django_assert_num_queries(4):
        operator.get(reverse(LIST))


def test_scores_are_listed(operator, row, editor):
    editor.client.post(f"{EXECUTIONS}/{row['id']}/scores", {"name": "quality", "value": True})
    assert "quality" in operator.get(reverse("admin:executions_score_changelist")).content.decode()
