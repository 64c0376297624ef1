import pytest

from apps.prompts.models import Prompt, PromptVersion
from apps.users.models import AuditEntry
from tests.prompts.conftest import CHAT, GREETING, URL

pytestmark = pytest.mark.django_db


def details(response, status=400):
    assert response.status_code == status, response.content
    body = response.json()
    assert body["success"] is False
    return body["error"]["details"]


def test_create_answers_the_prompt_with_its_first_version(editor, organization):
    response = editor.client.post(URL, {**GREETING, "tags": ["a", "b", "a"], "message": "First"})
    assert response.status_code == 201
    data = response.json()["data"]
    assert response.headers["Location"] == f"{URL}/{data['id']}"
    assert response.headers["ETag"] == editor.client.get(f"{URL}/{data['id']}").headers["ETag"]
    assert data == {
        "id": data["id"],
        "organization_id": str(organization.id),
        "slug": "greetings/hello",
        "name": "Hello",
        "description": "",
        "type": "text",
        "version": 1,
        "content": "Hello, {{name}}!",
        "messages": None,
        "format": "simple",
        "model_id": None,
        "parameters": {},
        "tools": [],
        "response_schema": None,
        "variables_schema": None,
        "variables": [{"name": "name", "type": "any", "required": True}],
        "labels": {},
        "tags": ["a", "b"],
        "is_active": True,
        "created_by": str(editor.user.id),
        "created_at": data["created_at"],
        "updated_at": data["updated_at"],
        "deleted_at": None,
    }
    prompt = Prompt.objects.get()
    version = PromptVersion.objects.get()
    assert prompt.current_version == version
    assert (version.version_number, version.message, version.created_by) == (1, "First", editor.user)
    entry = AuditEntry.objects.get(object_pk=str(prompt.pk))
    assert (entry.actor, entry.organization_id) == (editor.user, organization.id)


def test_a_slug_is_made_of_the_name_when_none_is_given(editor):
    response = editor.client.post(URL, {"name": "Étude No. 1!", "content": "x"})
    assert response.json()["data"]["slug"] == "etude-no-1"
    assert set(details(editor.client.post(URL, {"name": "日本", "content": "x"}))) == {"slug"}


def test_chat_prompts_keep_messages_tools_and_schemas_in_their_order(editor):
    parts = [
        {"type": "text", "text": "{{question}}"},
        {"type": "image_url", "image_url": {"url": "https://e.org/a.png"}},
    ]
    schema = {"type": "object", "properties": {"reasoning": {"type": "string"}, "a": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "find", "parameters": schema}}
    body = {
        **CHAT,
        "messages": [*CHAT["messages"], {"role": "user", "content": parts}],
        "parameters": {"top_p": 1.0, "a": 1},
        "tools": [tool],
        "response_schema": schema,
        "variables_schema": {"properties": {"question": {"type": "string"}}},
    }
    created = editor.client.post(URL, body).json()["data"]
    read = editor.client.get(f"{URL}/{created['id']}")
    assert read.json()["data"] == created
    assert created["type"] == "chat"
    assert created["content"] is None
    assert created["variables"] == [{"name": "question", "type": "string", "required": True}]
    assert list(created["response_schema"]["properties"]) == ["reasoning", "a"]
    assert b'"top_p":1.0' in read.content


BAD_BODIES = [
    ({"name": "x"}, {"content"}),
    ({"content": "x"}, {"name"}),
    ({"name": "", "content": "x"}, {"name"}),
    ({"name": 1, "content": "x"}, {"name"}),
    ({"name": "x" * 201, "content": "x"}, {"name"}),
    ({**GREETING, "messages": CHAT["messages"]}, {"messages"}),
    ({**GREETING, "content": 1}, {"content"}),
    ({**GREETING, "content": "Hi {{name"}, {"content"}),
    ({**GREETING, "content": "x" * 200_001}, {"content"}),
    ({**GREETING, "content": "{% for %}", "format": "jinja2"}, {"content"}),
    ({**GREETING, "content": "{% include 'a' %}", "format": "jinja2"}, {"content"}),
    ({**GREETING, "format": "mustache"}, {"format"}),
    ({**GREETING, "type": "chat"}, {"type"}),
    ({**GREETING, "type": "poem"}, {"type"}),
    ({**GREETING, "slug": "Not A Slug"}, {"slug"}),
    ({**GREETING, "slug": "a//b"}, {"slug"}),
    ({**GREETING, "slug": "../a"}, {"slug"}),
    ({**GREETING, "slug": "a/" * 8 + "a"}, {"slug"}),
    ({**GREETING, "slug": "a" * 201}, {"slug"}),
    ({**GREETING, "tags": "a"}, {"tags"}),
    ({**GREETING, "tags": ["", 1]}, {"tags.0", "tags.1"}),
    ({**GREETING, "tags": ["x" * 51]}, {"tags.0"}),
    ({**GREETING, "tags": [str(n) for n in range(21)]}, {"tags"}),
    ({**GREETING, "is_active": "yes"}, {"is_active"}),
    ({**GREETING, "description": None}, {"description"}),
    ({**GREETING, "model_id": "x"}, {"model_id"}),
    ({**GREETING, "model_id": "0198c1f0-0000-7000-8000-000000000000"}, {"model_id"}),
    ({**GREETING, "parameters": []}, {"parameters"}),
    ({**GREETING, "parameters": {"stream": True}}, {"parameters.stream"}),
    ({**GREETING, "parameters": {"x": "y" * 40_000}}, {"parameters"}),
    ({**GREETING, "tools": {}}, {"tools"}),
    ({**GREETING, "tools": [{"type": "web"}]}, {"tools.0"}),
    ({**GREETING, "tools": [{"type": "function", "function": {"name": "a b"}}]}, {"tools.0.function.name"}),
    ({**GREETING, "tools": [{"type": "function", "function": {"name": "a"}}] * 2}, {"tools.1.function.name"}),
    (
        {**GREETING, "tools": [{"type": "function", "function": {"name": "a", "parameters": 1}}]},
        {"tools.0.function.parameters"},
    ),
    ({**GREETING, "response_schema": {"type": "nonsense"}}, {"response_schema.type"}),
    ({**GREETING, "response_schema": []}, {"response_schema"}),
    ({**GREETING, "variables_schema": {"properties": {"nme": {}}}}, {"variables_schema.properties.nme"}),
    (
        {**GREETING, "variables_schema": {"properties": {"name": {"pattern": "x"}}}},
        {"variables_schema.properties.name.pattern"},
    ),
    ({**GREETING, "message": "x" * 501}, {"message"}),
    ({**GREETING, "message": "a\x00"}, {"message"}),
    ({**GREETING, "unknown": 1, "version": 2, "id": "x"}, {"unknown", "version", "id"}),
    ({**GREETING, "content": "{{", "parameters": {"model": "x"}}, {"content", "parameters.model"}),
    ({**CHAT, "messages": {}}, {"messages"}),
    ({**CHAT, "messages": []}, {"messages"}),
    ({**CHAT, "messages": [{"role": "robot", "content": ""}]}, {"messages.0.role"}),
    (
        {**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": "{{"}]}]},
        {"messages.0.content.0.text"},
    ),
]


@pytest.mark.parametrize(("body", "fields"), BAD_BODIES)
def test_bad_bodies_are_refused_by_field_and_nothing_is_written(editor, body, fields):
    assert set(details(editor.client.post(URL, body))) == fields
    assert not Prompt.objects.exists()
    assert not PromptVersion.objects.exists()


@pytest.mark.parametrize(
    "raw", [b'{"name": "\xff"}', b'{"name": "\\ud800"}', b"[" * 100, b'{"name":', b"[]", b"null", b'"x"']
)
def test_bodies_that_are_not_json_objects_are_refused(editor, raw):
    response = editor.client.generic("POST", URL, raw, content_type="application/json")
    assert response.status_code == 400
    assert not Prompt.objects.exists()


def test_a_slug_is_unique_among_the_living_of_one_organization(create, editor, outsider):
    create()
    assert details(editor.client.post(URL, GREETING), 409) == {"slug": "Another prompt has this slug."}
    create(client=outsider.client)
    assert Prompt.objects.count() == 2
    assert PromptVersion.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "version"),
    [
        ({"name": "New", "description": "D", "tags": ["x"], "is_active": False, "slug": "other"}, 1),
        ({"content": "Hello, {{name}}!"}, 1),
        ({"content": "Bye, {{name}}!", "message": "Ruder"}, 2),
        ({"parameters": {"temperature": 0}}, 2),
        ({"format": "jinja2"}, 2),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 2),
        ({"response_schema": {"type": "object"}}, 2),
        ({"variables_schema": {"required": ["name"]}}, 2),
        ({"messages": None}, 1),
        ({"tags": [], "parameters": {}}, 1),
        ({}, 1),
    ],
)
def test_patch_makes_a_version_only_of_what_a_version_says(create, editor, change, version):
    prompt = create()
    response = editor.client.patch(f"{URL}/{prompt['id']}", change)
    assert response.status_code == 200, response.content
    data = response.json()["data"]
    assert data["version"] == version
    assert {name: data[name] for name in change if name != "message"} == {
        n: v for n, v in change.items() if n != "message"
    }
    assert data == editor.client.get(f"{URL}/{prompt['id']}").json()["data"]
    assert PromptVersion.objects.count() == version
    assert PromptVersion.objects.order_by("-version_number")[0].message == change.get("message", "")


def test_put_replaces_everything_but_the_slug(create, editor):
    prompt = create(description="D", tags=["x"], parameters={"temperature": 1})
    response = editor.client.put(f"{URL}/{prompt['id']}", {"name": "N", "content": "Hello, {{name}}!"})
    data = response.json()["data"]
    assert (data["slug"], data["name"], data["description"], data["tags"]) == ("greetings/hello", "N", "", [])
    assert (data["version"], data["parameters"]) == (2, {})
    assert set(details(editor.client.put(f"{URL}/{prompt['id']}", {"name": "N"}))) == {"content"}


@pytest.mark.parametrize(
    ("change", "field", "status"),
    [
        ({"messages": CHAT["messages"]}, "messages", 409),
        ({"content": "{{"}, "content", 400),
        ({"type": "chat"}, "type", 409),
        ({"name": None}, "name", 400),
        ({"x": 1}, "x", 400),
    ],
)
def test_bad_changes_are_refused_whole(create, editor, change, field, status):
    prompt = create()
    url = f"{URL}/{prompt['id']}"
    response = editor.client.patch(url, {"description": "changed", **change})
    assert set(details(response, status)) == {field}
    assert editor.client.get(url).json()["data"] == prompt


def test_a_taken_slug_is_a_conflict_on_update_and_nothing_changes(create, editor):
    create()
    other = create(slug="other")
    response = editor.client.patch(f"{URL}/{other['id']}", {"slug": "greetings/hello", "content": "new"})
    assert set(details(response, 409)) == {"slug"}
    assert editor.client.get(f"{URL}/{other['id']}").json()["data"] == other


def test_if_match_guards_changes_and_if_none_match_saves_reading(create, editor):
    prompt = create()
    url = f"{URL}/{prompt['id']}"
    etag = editor.client.get(url).headers["ETag"]
    assert editor.client.get(url, HTTP_IF_NONE_MATCH=etag).status_code == 304
    assert editor.client.patch(url, {"content": "A"}, HTTP_IF_MATCH=etag).status_code == 200
    assert editor.client.patch(url, {"content": "B"}, HTTP_IF_MATCH=etag).status_code == 412
    assert editor.client.post(f"{url}/versions", {"content": "B"}, HTTP_IF_MATCH=etag).status_code == 412
    assert editor.client.get(url, HTTP_IF_NONE_MATCH=etag).json()["data"]["content"] == "A"
    assert PromptVersion.objects.count() == 2


def test_deleting_frees_the_slug_and_restoring_needs_it_back(create, admin, editor):
    prompt = create()
    url = f"{URL}/{prompt['id']}"
    assert editor.client.delete(url).status_code == 403
    assert admin.client.delete(url).status_code == 204
    for method, path in [
        ("get", ""),
        ("patch", ""),
        ("delete", ""),
        ("get", "/versions"),
        ("post", "/render"),
        ("get", "/labels/a"),
    ]:
        assert getattr(admin.client, method)(url + path).status_code == 404, path
    assert [row["id"] for row in admin.client.get(f"{URL}?deleted=true").json()["data"]] == [prompt["id"]]
    assert admin.client.get(URL).json()["data"] == []
    second = create()
    assert set(details(admin.client.post(f"{url}/restore"), 409)) == {"slug"}
    assert admin.client.delete(f"{URL}/{second['id']}").status_code == 204
    restored = admin.client.post(f"{url}/restore")
    assert restored.status_code == 200
    assert restored.json()["data"]["deleted_at"] is None
    assert editor.client.get(url).json()["data"]["content"] == prompt["content"]


def test_a_duplicate_has_the_current_content_and_a_history_of_its_own(create, editor):
    prompt = create(tags=["x"])
    editor.client.patch(f"{URL}/{prompt['id']}", {"content": "Second {{name}}"})
    response = editor.client.post(f"{URL}/{prompt['id']}/duplicate")
    assert response.status_code == 201
    copy = response.json()["data"]
    assert response.headers["Location"] == f"{URL}/{copy['id']}"
    assert (copy["slug"], copy["name"], copy["content"], copy["version"], copy["tags"], copy["labels"]) == (
        "greetings/hello-copy", "Hello (copy)", "Second {{name}}", 1, ["x"], {},
    )  # fmt: skip
    assert set(details(editor.client.post(f"{URL}/{prompt['id']}/duplicate"), 409)) == {"slug"}
    named = editor.client.post(f"{URL}/{prompt['id']}/duplicate", {"slug": "third", "name": "Third"})
    assert (named.json()["data"]["slug"], named.json()["data"]["name"]) == ("third", "Third")


def test_an_idempotency_key_makes_one_prompt(editor):
    first, second = (editor.client.post(URL, GREETING, HTTP_IDEMPOTENCY_KEY="k") for _ in range(2))
    assert first.json() == second.json()
    assert Prompt.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "content"),
    [
        ({"variables": {"name": "Ann"}}, 200, "Hello, Ann!"),
        ({"variables": {"name": "{{name}}"}, "version": 1}, 200, "Hello, {{name}}!"),
        ({"variables": {"name": {"a": 1}}, "label": "beta"}, 200, 'Hello, {"a":1}!'),
        ({}, 400, {"variables.name"}),
        ({"variables": {"nam": 1}}, 400, {"variables.name", "variables.nam"}),
        ({"variables": []}, 400, {"variables"}),
        ({"variables": {"name": 1}, "version": 1.0, "label": "beta"}, 200, "Hello, 1!"),
        ({"variables": {"name": 1}, "version": 2, "label": "beta"}, 404, {"label"}),
        ({"variables": {"name": 1}, "version": 9}, 404, {"version"}),
        ({"variables": {"name": 1}, "label": "none"}, 404, {"label"}),
        ({"variables": {"name": 1}, "label": "NO"}, 400, {"label"}),
        ({"variables": {"name": 1}, "version": "1"}, 400, {"version"}),
        ({"x": 1}, 400, {"x"}),
    ],
)
def test_render(create, editor, viewer, body, status, content):
    prompt = create()
    editor.client.put(f"{URL}/{prompt['id']}/labels/beta", {"version": 1})
    response = viewer.client.post(f"{URL}/{prompt['id']}/render", body)
    if status != 200:
        assert set(details(response, status)) == content
        return
    data = response.json()["data"]
    assert (data["content"], data["version_number"]) == (content, 1)
    assert data["messages"] == [{"role": "user", "content": content}]


def test_render_of_a_chat_prompt(create, editor):
    prompt = create(**CHAT, content=None)
    data = editor.client.post(f"{URL}/{prompt['id']}/render", {"variables": {"question": "Why?"}}).json()["data"]
    assert data["content"] is None
    assert data["messages"][1] == {"role": "user", "content": "Why?"}


def test_another_organization_sees_nothing(create, outsider):
    prompt = create()
    url = f"{URL}/{prompt['id']}"
    client = outsider.client
    assert client.get(URL).json()["data"] == []
    for method, path in [
        ("get", ""), ("put", ""), ("patch", ""), ("delete", ""), ("post", "/restore"), ("post", "/duplicate"),
        ("post", "/render"), ("get", "/versions"), ("post", "/versions"), ("get", "/versions/1"),
        ("get", "/versions/1/diff?against=1"), ("post", "/versions/1/restore"), ("get", "/labels/a"),
        ("put", "/labels/a"), ("delete", "/labels/a"),
    ]:  # fmt: skip
        response = getattr(client, method)(
            url + path, **({} if method == "get" else {"data": {"version": 1}} if "labels" in path else {"data": {}})
        )
        assert response.status_code == 404, (method, path, response.content)
    assert client.get(f"{URL}/by-slug/greetings/hello").status_code == 404
    assert client.get(f"{URL}/bundle").json()["data"]["prompts"] == {}
    assert client.get(f"{URL}/export").json()["data"]["prompts"] == []
