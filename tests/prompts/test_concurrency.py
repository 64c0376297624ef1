import threading

import pytest
from django.db import connection
from rest_framework.test import APIClient

from apps.prompts.models import Prompt, PromptLabelEvent, PromptVersion
from apps.users.models import AuditEntry
from tests.prompts.conftest import GREETING, URL

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(person, count, call):
    """The status codes of `call(client, n)` from `count` threads that start together."""
    barrier, answers = threading.Barrier(count), []

    def run(number):
        client = APIClient(HTTP_AUTHORIZATION=person.client.defaults["HTTP_AUTHORIZATION"])
        try:
            barrier.wait(30)
            answers.append(call(client, number).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return sorted(answers)


def test_concurrent_versions_get_distinct_numbers_without_a_gap(create, editor):
    prompt = create()
    url = f"{URL}/{prompt['id']}/versions"
    assert at_once(editor, 12, lambda client, n: client.post(url, {"content": f"v{n}"})) == [201] * 12
    assert sorted(PromptVersion.objects.values_list("version_number", flat=True)) == list(range(1, 14))
    assert Prompt.objects.get().current_version.version_number == 13


def test_concurrent_changes_are_all_kept_and_none_is_lost_for_a_reader(create, editor):
    prompt = create()
    url = f"{URL}/{prompt['id']}"
    assert at_once(editor, 8, lambda client, n: client.patch(url, {"content": f"v{n}"})) == [200] * 8
    assert sorted(PromptVersion.objects.values_list("version_number", flat=True)) == list(range(1, 10))


def test_one_of_many_creates_gets_the_slug(editor):
    assert at_once(editor, 8, lambda client, n: client.post(URL, GREETING)) == [201] + [409] * 7
    assert Prompt.objects.count() == PromptVersion.objects.count() == AuditEntry.objects.count() == 1


def test_if_match_lets_one_of_many_writers_through(create, editor):
    prompt = create()
    url = f"{URL}/{prompt['id']}"
    etag = editor.client.get(url).headers["ETag"]
    answers = at_once(editor, 8, lambda client, n: client.patch(url, {"content": f"v{n}"}, HTTP_IF_MATCH=etag))
    assert answers == [200] + [412] * 7


def test_compare_and_swap_lets_one_of_many_moves_through(create, editor):
    prompt = create()
    for number in range(8):
        editor.client.post(f"{URL}/{prompt['id']}/versions", {"content": f"v{number}"})
    url = f"{URL}/{prompt['id']}/labels/production"
    body = {"version": 1, "expected_version": None}
    answers = at_once(editor, 8, lambda client, n: client.put(url, {**body, "version": n + 1}))
    assert answers == [200] + [409] * 7
    assert PromptLabelEvent.objects.count() == 1
