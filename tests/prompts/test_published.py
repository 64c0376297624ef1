import threading

import pytest
from django.db import connection
from rest_framework.test import APIClient

from apps.prompts import published
from tests.prompts.conftest import CHAT, URL

HELLO = f"{URL}/by-slug/greetings/hello"


@pytest.fixture
def prompt(transactional_db, create, editor):
    prompt = create(tags=["x"])
    editor.client.post(f"{URL}/{prompt['id']}/versions", {"content": "Two, {{name}}"})
    return prompt


def content(client, query=""):
    response = client.get(HELLO + query)
    assert response.status_code == 200, response.content
    return response.json()["data"]["content"]


def test_it_answers_the_version_asked_for(prompt, editor, viewer):
    assert content(viewer.client) == "Two, {{name}}"
    editor.client.put(f"{URL}/{prompt['id']}/labels/production", {"version": 1})
    assert content(viewer.client) == "Hello, {{name}}!"
    assert content(viewer.client, "?label=production") == "Hello, {{name}}!"
    assert content(viewer.client, "?version=2") == "Two, {{name}}"
    data = viewer.client.get(HELLO).json()["data"]
    assert data == {
        "id": prompt["id"],
        "organization_id": prompt["organization_id"],
        "slug": "greetings/hello",
        "name": "Hello",
        "type": "text",
        "version": 1,
        "version_id": data["version_id"],
        "content": "Hello, {{name}}!",
        "messages": None,
        "format": "simple",
        "model_id": None,
        "parameters": {},
        "tools": [],
        "response_schema": None,
        "variables_schema": None,
        "variables": [{"name": "name", "type": "any", "required": True}],
        "labels": {"production": 1},
        "tags": ["x"],
        "ab_test": None,
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("greetings/hello?label=none", 404),
        ("greetings/hello?version=9", 404),
        ("greetings/hello?version=1&label=a", 404),
        ("greetings/hello?version=x", 400),
        ("greetings/hello?version=0", 400),
        ("greetings/hello?version=99999999999", 400),
        ("greetings/hello?label=A%00", 400),
        ("greetings/hello?x=1", 400),
        ("greetings", 404),
        ("Greetings/Hello", 404),
        ("a%00b", 404),
        ("x" * 300, 404),
        ("a//b", 404),
    ],
)
def test_bad_requests(prompt, viewer, path, status):
    response = viewer.client.get(f"{URL}/by-slug/{path}")
    assert response.status_code == status
    assert response.json()["success"] is False


def test_a_hit_costs_no_query_and_a_miss_two_at_most(prompt, viewer, django_assert_num_queries):
    viewer.client.get(URL)
    with django_assert_num_queries(1):
        first = viewer.client.get(HELLO)
    with django_assert_num_queries(0):
        second = viewer.client.get(HELLO)
        not_modified = viewer.client.get(HELLO, HTTP_IF_NONE_MATCH=first.headers["ETag"])
    assert first.content == second.content
    assert not_modified.status_code == 304
    assert not_modified.content == b""
    assert not_modified.headers["ETag"] == first.headers["ETag"]
    with django_assert_num_queries(2):
        viewer.client.get(f"{HELLO}?version=1")


def test_every_change_that_matters_is_seen_by_the_next_read(prompt, editor, admin, viewer):
    url = f"{URL}/{prompt['id']}"
    label = f"{url}/labels/production"
    seen = [content(viewer.client)]
    for change in (
        lambda: editor.client.put(label, {"version": 1}),
        lambda: editor.client.put(label, {"version": 2}),
        lambda: editor.client.delete(label),
        lambda: editor.client.patch(url, {"content": "Three"}),
        lambda: editor.client.post(f"{url}/versions/1/restore"),
    ):
        assert change().status_code < 300
        seen.append(content(viewer.client))
    assert seen == ["Two, {{name}}", "Hello, {{name}}!", "Two, {{name}}", "Two, {{name}}", "Three", "Hello, {{name}}!"]
    editor.client.patch(url, {"name": "Renamed"})
    assert viewer.client.get(HELLO).json()["data"]["name"] == "Renamed"
    editor.client.patch(url, {"is_active": False})
    assert viewer.client.get(HELLO).status_code == 404
    editor.client.patch(url, {"is_active": True, "slug": "moved"})
    assert viewer.client.get(HELLO).status_code == 404
    editor.client.patch(url, {"slug": "greetings/hello"})
    assert content(viewer.client)
    admin.client.delete(url)
    assert viewer.client.get(HELLO).status_code == 404
    admin.client.post(f"{url}/restore")
    assert content(viewer.client)


def test_a_refused_change_does_not_show(prompt, editor, viewer):
    before = content(viewer.client)
    response = editor.client.patch(f"{URL}/{prompt['id']}", {"content": "New", "tools": [1]})
    assert response.status_code == 400
    assert content(viewer.client) == before


def test_a_slow_reader_never_leaves_an_old_answer_under_the_new_epoch(prompt, editor, viewer, organization):
    slug, target = "greetings/hello", f"{HELLO}?"
    remembered, epoch = published.answers.read(organization.id, target)
    assert remembered is None
    old = published.load_by_slug(organization.id, slug, version=None, label=None)
    editor.client.patch(f"{URL}/{prompt['id']}", {"content": "New"})
    published.answers.store(organization.id, target, old, epoch)
    assert content(viewer.client) == "New"


def test_no_read_that_starts_after_a_commit_sees_what_was_before(prompt, editor, viewer):
    url, stop, stale = f"{URL}/{prompt['id']}", threading.Event(), []
    committed = [2]

    def read():
        client = APIClient(HTTP_AUTHORIZATION=viewer.client.defaults["HTTP_AUTHORIZATION"])
        try:
            while not stop.is_set():
                least = committed[0]
                version = client.get(HELLO).json()["data"]["version"]
                if version < least:
                    stale.append((least, version))
        finally:
            connection.close()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(3, 33):
        editor.client.post(f"{url}/versions", {"content": f"Version {number}"})
        committed[0] = number
    stop.set()
    for reader in readers:
        reader.join(30)
    assert stale == []


def test_without_redis_it_is_read_from_the_database(prompt, editor, viewer, redis_away):
    assert content(viewer.client) == "Two, {{name}}"
    editor.client.patch(f"{URL}/{prompt['id']}", {"content": "New"})
    assert content(viewer.client) == "New"


def test_the_bundle_holds_every_active_prompt_with_the_label(
    prompt, create, editor, viewer, outsider, django_assert_num_queries
):
    other = create(**CHAT, content=None)
    off = create(slug="off", is_active=False)
    create(slug="unlabelled")
    for each in (prompt, other, off):
        editor.client.put(f"{URL}/{each['id']}/labels/production", {"version": 1})
    viewer.client.get(URL)
    with django_assert_num_queries(2):
        response = viewer.client.get(f"{URL}/bundle")
    with django_assert_num_queries(0):
        assert viewer.client.get(f"{URL}/bundle").content == response.content
        assert viewer.client.get(f"{URL}/bundle", HTTP_IF_NONE_MATCH=response.headers["ETag"]).status_code == 304
    data = response.json()["data"]
    assert data["label"] == "production"
    assert list(data["prompts"]) == ["greetings/hello", "support/reply"]
    assert {**data["prompts"]["greetings/hello"], "ab_test": None} == viewer.client.get(HELLO).json()["data"]
    assert viewer.client.get(f"{URL}/bundle?label=staging").json()["data"]["prompts"] == {}
    assert outsider.client.get(f"{URL}/bundle").json()["data"]["prompts"] == {}
    assert viewer.client.get(f"{URL}/bundle?label=NO").status_code == 400
