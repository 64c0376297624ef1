"""Publishing over HTTP: what is valid becomes a version with its pins, everything else is said at once."""

import threading
from uuid import uuid4

import pytest
from django.db import connection

from apps.models.services import create_default_models
from apps.users.models import ApiKey
from apps.workflows.models import Workflow, WorkflowVersion
from tests.conftest import Client, client_for
from tests.workflows.conftest import WORKFLOWS, definition, template

pytestmark = pytest.mark.django_db
HELLO = definition([template("hello", "Hello!")])
BYE = definition([template("hello", "Bye!")])


@pytest.fixture
def create(editor):
    def make(said=HELLO, client=None, **fields):
        body = {"slug": f"flow-{uuid4()}", "name": "Flow", "definition": said, **fields}
        response = (client or editor.client).post(WORKFLOWS, body)
        assert response.status_code == 201, response.content
        return f"{WORKFLOWS}/{response.json()['data']['id']}"

    return make


def publish(client, path, **body):
    return client.post(f"{path}/publish", body)


def child(slug, **config):
    return {"id": "child", "kind": "subworkflow", "config": {"workflow": slug, **config}}


def test_a_valid_draft_becomes_a_version(create, editor):
    path = create()
    etag = editor.client.get(path).headers["ETag"]
    response = editor.client.post(f"{path}/publish", {"message": "First"}, headers={"If-Match": etag})
    data = response.json()["data"]
    assert (response.status_code, response.headers["Location"]) == (201, f"{path}/versions/1")
    assert data == {
        "id": data["id"],
        "workflow_id": path.rpartition("/")[2],
        "version_number": 1,
        "definition": HELLO,
        "pins": {},
        "message": "First",
        "created_by": str(editor.user.id),
        "created_at": data["created_at"],
    }
    assert editor.client.get(f"{path}/versions/1").json()["data"] == data
    workflow = editor.client.get(path).json()["data"]
    assert (workflow["version"], workflow["has_unpublished_changes"]) == (1, False)
    assert publish(editor.client, path, message="x").status_code == 200
    editor.client.patch(path, {"definition": BYE})
    stale = editor.client.post(f"{path}/publish", {}, headers={"If-Match": etag})
    assert stale.status_code == 412
    assert editor.client.get(path).json()["data"]["has_unpublished_changes"] is True
    assert editor.client.get(WORKFLOWS).json()["data"][0]["has_unpublished_changes"] is True
    assert publish(editor.client, path).json()["data"]["version_number"] == 2
    listed = editor.client.get(f"{path}/versions").json()
    assert [row["version_number"] for row in listed["data"]] == [2, 1]
    assert "definition" not in listed["data"][0]
    assert editor.client.get(WORKFLOWS).json()["data"][0]["has_unpublished_changes"] is False


def test_an_invalid_draft_is_refused_with_every_problem(create, editor):
    said = definition([template("one"), {"id": "two", "kind": "nothing", "config": {}}], [("one", "nowhere")])
    path = create(said)
    response = publish(editor.client, path)
    details = response.json()["error"]["details"]
    assert response.status_code == 400
    assert "/nodes/1/kind" in details
    validated = editor.client.post(f"{WORKFLOWS}/validate", {"definition": said}).json()["data"]
    assert validated["is_valid"] is False
    assert {problem["pointer"] for problem in validated["problems"]} == set(details)
    assert WorkflowVersion.objects.count() == 0


def test_a_draft_that_is_no_definition_at_all(create, editor):
    path = create({})
    assert publish(editor.client, path).status_code == 400
    assert editor.client.get(f"{path}/diagram").status_code == 400
    assert editor.client.get(f"{path}/export").status_code == 200


def test_what_the_organization_lacks_is_a_problem(create, editor, outsider):
    create(client=outsider.client, slug="theirs")
    nodes = [
        {"id": "ask", "kind": "prompt", "config": {"prompt": "greet"}},
        {"id": "think", "kind": "llm", "config": {"prompt": "Hi", "model": "none"}},
        child("theirs"),
    ]
    said = definition(nodes)
    details = publish(editor.client, create(said)).json()["error"]["details"]
    assert {pointer.split("/config")[0] for pointer in details} == {"/nodes/0", "/nodes/1", "/nodes/2"}
    validated = editor.client.post(f"{WORKFLOWS}/validate", {"definition": said}).json()["data"]
    assert {problem["pointer"] for problem in validated["problems"]} == set(details)


def test_references_are_pinned_when_it_is_published(create, editor, organization):
    create_default_models(organization)
    prompt = editor.client.post("/api/v1/prompts", {"slug": "greet", "name": "Greet", "content": "Hi"}).json()["data"]
    path = create(definition([{"id": "ask", "kind": "prompt", "config": {"prompt": "greet"}}]))
    first = publish(editor.client, path).json()["data"]
    assert first["pins"]["ask"]["version"] == 1
    assert publish(editor.client, path).status_code == 200
    editor.client.post(f"/api/v1/prompts/{prompt['id']}/versions", {"content": "Hello"})
    second = publish(editor.client, path)
    assert (second.status_code, second.json()["data"]["pins"]["ask"]["version"]) == (201, 2)


def test_other_workflows_are_pinned_and_recursion_is_refused(create, editor):
    a = create(slug="a")
    publish(editor.client, a)
    b = create(definition([child("a")]), slug="b")
    assert publish(editor.client, b).json()["data"]["pins"]["child"]["version"] == 1
    editor.client.patch(a, {"definition": definition([child("b")])})
    refused = publish(editor.client, a).json()["error"]
    assert refused["details"] == {"/nodes/0/config/workflow": "RECURSION: It would run itself: a → b → a."}
    editor.client.patch(a, {"definition": definition([child("a")])})
    itself = publish(editor.client, a).json()["error"]
    assert itself["details"] == {"/nodes/0/config/workflow": "RECURSION: It would run itself: a → a."}
    assert Workflow.objects.get(slug="a").current_version.version_number == 1


def test_workflows_in_workflows_have_an_end(create, editor):
    publish(editor.client, create(slug="level-0"))
    for level in range(1, 8):
        made = publish(editor.client, create(definition([child(f"level-{level - 1}")]), slug=f"level-{level}"))
        assert made.status_code == 201, made.content
    assert publish(editor.client, create(definition([child("level-7")]), slug="level-8")).status_code == 201
    deepest = publish(editor.client, create(definition([child("level-8")]), slug="level-9"))
    assert "TOO_DEEP" in deepest.json()["error"]["details"]["/nodes/0/config/workflow"]


@pytest.mark.django_db(transaction=True)
def test_publishing_at_the_same_time_gives_each_its_number(create, editor):
    path = create()
    answers = []

    def change_and_publish(text):
        client = client_for(editor.membership)
        client.patch(path, {"definition": definition([template("hello", text)])})
        answers.append(publish(client, path))
        connection.close()

    threads = [threading.Thread(target=change_and_publish, args=(f"text {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert {answer.status_code for answer in answers} <= {200, 201}
    made = [answer.json()["data"]["version_number"] for answer in answers if answer.status_code == 201]
    assert sorted(made) == list(range(1, len(made) + 1))


def test_labels_move_with_publishing_and_keep_their_history(create, editor, admin, organization):
    path = create()
    publish(editor.client, path, labels=["staging", "production"])
    assert editor.client.get(path).json()["data"]["labels"] == {"production": 1, "staging": 1}
    organization.protected_labels = ["production"]
    organization.save()
    editor.client.patch(path, {"definition": BYE})
    assert publish(editor.client, path, labels=["production"]).status_code == 403
    assert WorkflowVersion.objects.count() == 1
    assert publish(admin.client, path, labels=["production"]).status_code == 201
    label = editor.client.get(f"{path}/labels/production").json()["data"]
    assert (label["version"], label["is_protected"]) == (2, True)
    assert [(move["from_version"], move["to_version"]) for move in label["history"]] == [(1, 2), (None, 1)]
    assert editor.client.put(f"{path}/labels/production", {"version": 1}).status_code == 403
    assert editor.client.put(f"{path}/labels/staging", {"version": 2, "expected_version": 7}).status_code == 409
    assert editor.client.put(f"{path}/labels/staging", {"version": 9}).status_code == 404
    assert editor.client.put(f"{path}/labels/staging", {"version": 2}).status_code == 200
    assert editor.client.delete(f"{path}/labels/staging").status_code == 204
    assert editor.client.get(path).json()["data"]["labels"] == {"production": 2}


def test_versions_are_compared_and_restored(create, editor):
    path = create()
    publish(editor.client, path)
    editor.client.patch(path, {"definition": BYE})
    publish(editor.client, path)
    diff = editor.client.get(f"{path}/versions/2/diff").json()["data"]
    assert (diff["from_version"], diff["to_version"]) == (1, 2)
    assert [node["id"] for node in diff["nodes"]["changed"]] == ["hello"]
    assert editor.client.get(f"{path}/versions/1/diff").json()["data"]["from_version"] is None
    assert editor.client.get(f"{path}/versions/2/diff?against=9").status_code == 404
    restored = editor.client.post(f"{path}/versions/1/restore")
    assert restored.json()["data"]["definition"] == HELLO
    assert restored.json()["data"]["version"] == 2
    assert restored.headers["ETag"] == editor.client.get(path).headers["ETag"]


def test_diagrams_and_the_schema(create, editor):
    path = create()
    publish(editor.client, path)
    editor.client.patch(path, {"definition": {}})
    assert "hello" in editor.client.get(f"{path}/diagram?version=1").json()["data"]["mermaid"]
    assert editor.client.get(f"{path}/diagram?version=2").status_code == 404
    response = editor.client.get(f"{WORKFLOWS}/schema")
    assert response.headers["Content-Type"] == "application/schema+json"
    assert response.json()["$id"]
    etag = response.headers["ETag"]
    assert editor.client.get(f"{WORKFLOWS}/schema", headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_file_comes_back_as_it_went(create, editor, outsider, form):
    said = definition(
        [template("hello", "yes\n1e3: {{ inputs.x }}\n")], inputs={"type": "object", "properties": {"x": {}}}
    )
    path = create(said, slug="support/hello", description="D", tags=["t"])
    exported = editor.client.get(f"{path}/export?format={form}")
    assert exported.headers["Content-Disposition"] == f'attachment; filename="support.hello.{form}"'
    content_type = "application/json" if form == "json" else "application/yaml"

    def take(client, query=""):
        url = f"{WORKFLOWS}/import{query}"
        return client.generic("POST", url, exported.content, content_type=content_type)

    taken = take(outsider.client, "?publish=true")
    assert (taken.status_code, taken.json()["data"]["outcome"], taken.json()["data"]["version"]) == (200, "created", 1)
    copy = outsider.client.get(f"{WORKFLOWS}/{taken.json()['data']['id']}")
    assert copy.json()["data"]["definition"] == said
    assert (copy.json()["data"]["description"], copy.json()["data"]["tags"]) == ("D", ["t"])
    assert (
        outsider.client.get(f"{WORKFLOWS}/{taken.json()['data']['id']}/export?format={form}").content
        == exported.content
    )
    assert take(outsider.client).status_code == 409
    assert take(outsider.client, "?on_conflict=skip").json()["data"]["outcome"] == "skipped"
    assert take(outsider.client, "?on_conflict=version").json()["data"]["outcome"] == "unchanged"
    editor.client.patch(path, {"definition": BYE})
    exported = editor.client.get(f"{path}/export?format={form}")
    changed = take(outsider.client, "?on_conflict=version&publish=true").json()["data"]
    assert (changed["outcome"], changed["version"]) == ("updated", 2)


@pytest.mark.parametrize(
    "text",
    [
        "kind: everquant.workflow\nslug: a\nname: A\ndefinition: {a: &x 1, b: *x}",
        "kind: everquant.workflow\nslug: a\nname: !!python/object/apply:os.system ['true']\ndefinition: {}",
        "kind: everquant.workflow\nslug: a\nname: A\nname: B\ndefinition: {}",
        "kind: prompts\nslug: a\nname: A\ndefinition: {}",
        "kind: everquant.workflow\nslug: a\nname: A\ndefinition: []",
        "[",
        "",
        "\ud800",
        "a: \x00",
    ],
)
def test_files_that_are_no_workflows_are_refused(editor, text):
    body = text.encode("utf-8", "surrogatepass")
    response = editor.client.generic("POST", f"{WORKFLOWS}/import", body, content_type="application/yaml")
    assert response.status_code == 400, response.content
    assert Workflow.objects.count() == 0


def test_an_import_that_cannot_be_published_makes_nothing(editor):
    document = {"kind": "everquant.workflow", "slug": "a", "name": "A", "definition": {}}
    assert editor.client.post(f"{WORKFLOWS}/import?publish=true", document).status_code == 400
    assert Workflow.objects.count() == 0
    assert editor.client.post(f"{WORKFLOWS}/import?publish=maybe", document).status_code == 400
    assert editor.client.post(f"{WORKFLOWS}/import", document).status_code == 200


def test_a_key_that_may_only_make_workflows_does_not_publish_by_importing(editor):
    key = ApiKey(organization=editor.organization, user=editor.user, name="k", scopes=["workflows:create"])
    secret = key.give_secret()
    key.save()
    client = Client(HTTP_AUTHORIZATION=f"Bearer {secret}", raise_request_exception=False)
    document = {"kind": "everquant.workflow", "slug": "one", "name": "One", "definition": definition([template("a")])}
    assert client.post(f"{WORKFLOWS}/import?publish=true", document).status_code == 403
    assert client.post(f"{WORKFLOWS}/import", document).status_code == 200
