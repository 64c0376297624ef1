"""Workflows over HTTP: drafts are kept as they are given, and each state can be got back."""

from uuid import uuid4

import pytest

from apps.users.models import AuditEntry
from apps.workflows.models import Workflow
from tests.workflows.conftest import WORKFLOWS, definition, template

pytestmark = pytest.mark.django_db
HELLO = definition([template("hello", "Hello, {{ inputs.name }}!")], inputs={"type": "object"})


@pytest.fixture
def create(editor):
    def make(client=None, **fields):
        body = {"slug": f"flow-{uuid4()}", "name": "Flow", "definition": HELLO, **fields}
        response = (client or editor.client).post(WORKFLOWS, body)
        assert response.status_code == 201, response.content
        return response.json()["data"]

    return make


def test_a_workflow_is_kept_as_it_was_given(editor, organization):
    body = {
        "slug": "support/triage",
        "name": "Triage",
        "description": "Sorts tickets.",
        "tags": ["a", "b", "a"],
        "definition": {"z": 1, "a": {"b": [1.5, None, "ü"]}},
        "max_concurrent_runs": 3,
    }
    response = editor.client.post(WORKFLOWS, body)
    data = response.json()["data"]
    assert (response.status_code, response.headers["Location"]) == (201, f"{WORKFLOWS}/{data['id']}")
    assert data == {
        **body,
        "id": data["id"],
        "organization_id": str(organization.id),
        "tags": ["a", "b"],
        "version": None,
        "labels": {},
        "has_unpublished_changes": True,
        "is_active": True,
        "created_by": str(editor.user.id),
        "created_at": data["created_at"],
        "updated_at": data["updated_at"],
        "deleted_at": None,
    }
    read = editor.client.get(f"{WORKFLOWS}/{data['id']}")
    assert read.json()["data"] == data
    assert list(read.json()["data"]["definition"]) == ["z", "a"]
    assert read.headers["ETag"] == response.headers["ETag"]
    again = editor.client.get(f"{WORKFLOWS}/{data['id']}", headers={"If-None-Match": read.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"slug": "Not a slug"}, "slug"),
        ({"definition": []}, "definition"),
        ({"definition": None}, "definition"),
        ({"definition": {"a": "x" * 1_048_576}}, "definition"),
        ({"definition": {"a": "\x00"}}, "definition.a"),
        ({"definition": {"a": 10**30}}, "definition.a"),
        ({"max_concurrent_runs": 0}, "max_concurrent_runs"),
        ({"max_concurrent_runs": "1"}, "max_concurrent_runs"),
        ({"tags": ["x" * 51]}, "tags.0"),
        ({"is_active": "yes"}, "is_active"),
        ({"draft": {}}, "draft"),
        ({"version": 1}, "version"),
    ],
)
def test_bad_workflows_are_refused_by_field(create, editor, body, field):
    given = {"slug": "new", "name": "New", "definition": {}, **body}
    made = create()
    for response in (
        editor.client.post(WORKFLOWS, given),
        editor.client.put(f"{WORKFLOWS}/{made['id']}", given),
        editor.client.patch(f"{WORKFLOWS}/{made['id']}", body),
    ):
        assert response.status_code == 400, response.content
        assert list(response.json()["error"]["details"]) == [field]
    assert Workflow.objects.count() == 1


@pytest.mark.parametrize(
    "body", [b'{"name": "\xed\xa0\x80"}', b'{"definition": ' + b"[" * 100 + b"]" * 100 + b"}", b"{"]
)
def test_what_is_no_storable_json_is_refused(editor, body):
    response = editor.client.generic("POST", WORKFLOWS, body, content_type="application/json")
    assert response.status_code == 400


def test_put_replaces_and_patch_changes(create, editor):
    made = create(tags=["a"], description="D")
    path = f"{WORKFLOWS}/{made['id']}"
    patched = editor.client.patch(path, {"definition": {"b": 1, "a": 2}}).json()["data"]
    assert (patched["definition"], patched["tags"]) == ({"b": 1, "a": 2}, ["a"])
    reordered = editor.client.patch(path, {"definition": {"a": 2, "b": 1}})
    assert list(reordered.json()["data"]["definition"]) == ["a", "b"]
    replaced = editor.client.put(path, {"name": "New", "definition": {}}).json()["data"]
    assert (replaced["name"], replaced["tags"], replaced["description"]) == ("New", [], "")
    assert replaced["slug"] == made["slug"]
    assert "definition" in editor.client.put(path, {"name": "New"}).json()["error"]["details"]


def test_writes_are_guarded_by_the_etag(create, editor, admin):
    made = create()
    path = f"{WORKFLOWS}/{made['id']}"
    etag = editor.client.get(path).headers["ETag"]
    changed = editor.client.patch(path, {"name": "Two"}, headers={"If-Match": etag})
    assert changed.status_code == 200
    for send, body in ((editor.client.patch, {"name": "Three"}), (admin.client.delete, None)):
        assert send(path, body, headers={"If-Match": etag}).status_code == 412
    assert admin.client.delete(path, headers={"If-Match": changed.headers["ETag"]}).status_code == 204


def test_slugs_are_unique_among_the_living(create, editor, admin):
    made = create(slug="one")
    refused = editor.client.post(WORKFLOWS, {"slug": "one", "name": "x", "definition": {}})
    assert (refused.status_code, list(refused.json()["error"]["details"])) == (409, ["slug"])
    path = f"{WORKFLOWS}/{made['id']}"
    assert admin.client.delete(path).status_code == 204
    assert editor.client.get(path).status_code == 404
    again = create(slug="one")
    assert admin.client.post(f"{path}/restore").status_code == 409
    assert editor.client.patch(f"{WORKFLOWS}/{again['id']}", {"slug": "two"}).status_code == 200
    restored = admin.client.post(f"{path}/restore")
    assert (restored.status_code, restored.json()["data"]["deleted_at"]) == (200, None)
    assert restored.headers["ETag"] == editor.client.get(path).headers["ETag"]


def test_a_copy_has_the_draft_alone(create, editor):
    made = create(slug="one", tags=["t"])
    response = editor.client.post(f"{WORKFLOWS}/{made['id']}/duplicate", {})
    copy = response.json()["data"]
    assert (response.status_code, copy["slug"], copy["name"]) == (201, "one-copy", "Flow (copy)")
    assert (copy["definition"], copy["tags"], copy["version"]) == (HELLO, ["t"], None)
    assert response.headers["Location"] == f"{WORKFLOWS}/{copy['id']}"


def test_lists_have_no_drafts_and_are_filtered(create, editor, outsider):
    create(slug="a/one", name="Alpha", tags=["x"])
    create(slug="a/two", name="Beta", is_active=False)
    create(slug="b", name="Gamma")
    create(client=outsider.client, slug="secret")

    def slugs(query):
        return sorted(row["slug"] for row in editor.client.get(f"{WORKFLOWS}?{query}").json()["data"])

    assert slugs("") == ["a/one", "a/two", "b"]
    assert slugs("folder=a") == ["a/one", "a/two"]
    assert slugs("tag=x") == slugs("search=alp") == slugs("slug=a/one") == ["a/one"]
    assert slugs("is_active=false") == ["a/two"]
    assert slugs("is_published=true") == slugs("deleted=true") == slugs("label=production") == []
    listed = editor.client.get(f"{WORKFLOWS}?ordering=slug").json()
    assert [row["slug"] for row in listed["data"]] == ["a/one", "a/two", "b"]
    assert all("definition" not in row and row["has_unpublished_changes"] for row in listed["data"])
    assert editor.client.get(f"{WORKFLOWS}?ordering=draft").status_code == 400


def test_changes_are_audited(create, editor):
    made = create()
    editor.client.patch(f"{WORKFLOWS}/{made['id']}", {"name": "Renamed", "definition": {"a": "secret"}})
    entries = AuditEntry.objects.filter(object_pk=made["id"])
    assert [entry.actor_id for entry in entries] == [editor.user.id] * 2
    assert entries[0].changes["name"] == ["Flow", "Renamed"]
    assert "draft" in entries[0].changes
    assert "secret" not in str(entries[0].changes)


def test_an_idempotency_key_makes_one(editor):
    body = {"slug": "once", "name": "Once", "definition": {}}
    headers = {"Idempotency-Key": "k1"}
    first, second = (editor.client.post(WORKFLOWS, body, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert Workflow.objects.count() == 1
