import pytest
from django.db import DatabaseError, transaction

from apps.prompts.models import Prompt, PromptVersion
from tests.prompts.conftest import CHAT, URL

pytestmark = pytest.mark.django_db


def add(client, prompt, **fields):
    response = client.post(f"{URL}/{prompt['id']}/versions", fields)
    assert response.status_code == 201, response.content
    return response


def test_versions_are_numbered_inherit_and_become_current(create, editor):
    prompt = create(parameters={"temperature": 1})
    response = add(editor.client, prompt, content="Bye, {{name}} {{x}}!", message="Why")
    data = response.json()["data"]
    assert response.headers["Location"] == f"{URL}/{prompt['id']}/versions/2"
    assert data == {
        "id": data["id"],
        "prompt_id": prompt["id"],
        "version_number": 2,
        "content": "Bye, {{name}} {{x}}!",
        "messages": None,
        "format": "simple",
        "model_id": None,
        "parameters": {"temperature": 1},
        "tools": [],
        "response_schema": None,
        "variables_schema": None,
        "variables": [
            {"name": "name", "type": "any", "required": True},
            {"name": "x", "type": "any", "required": True},
        ],
        "message": "Why",
        "created_by": str(editor.user.id),
        "created_at": data["created_at"],
    }
    assert editor.client.get(response.headers["Location"]).json()["data"] == data
    assert editor.client.get(f"{URL}/{prompt['id']}").json()["data"]["version"] == 2
    add(editor.client, prompt)
    listed = editor.client.get(f"{URL}/{prompt['id']}/versions?per_page=2").json()
    assert [row["version_number"] for row in listed["data"]] == [3, 2]
    assert listed["meta"] == {"page": 1, "per_page": 2, "total": 3, "total_pages": 2}


@pytest.mark.parametrize(
    ("body", "field", "status"),
    [
        ({"content": "{{"}, "content", 400),
        ({"messages": CHAT["messages"]}, "messages", 409),
        ({"name": "x"}, "name", 400),
        ({"parameters": None}, "parameters", 400),
    ],
)
def test_bad_versions_are_refused_and_none_is_made(create, editor, body, field, status):
    prompt = create()
    response = editor.client.post(f"{URL}/{prompt['id']}/versions", body)
    assert response.status_code == status
    assert set(response.json()["error"]["details"]) == {field}
    assert PromptVersion.objects.count() == 1


def test_restoring_makes_a_new_version_with_the_old_words(create, editor):
    prompt = create()
    add(editor.client, prompt, content="Second", parameters={"seed": 1})
    response = editor.client.post(f"{URL}/{prompt['id']}/versions/1/restore")
    assert response.status_code == 201
    data = response.json()["data"]
    assert (data["version_number"], data["content"], data["parameters"]) == (3, "Hello, {{name}}!", {})
    assert data["message"] == "Restored version 1"
    assert response.headers["Location"] == f"{URL}/{prompt['id']}/versions/3"
    assert editor.client.post(f"{URL}/{prompt['id']}/versions/9/restore").status_code == 404


@pytest.mark.parametrize("number", ["0", "9", "99999999999999999999"])
def test_versions_that_are_not_there_are_not_found(create, editor, number):
    prompt = create()
    assert editor.client.get(f"{URL}/{prompt['id']}/versions/{number}").status_code == 404


def test_versions_cannot_change_in_python_or_in_the_database(create):
    create()
    version = PromptVersion.objects.get()
    version.content = "changed"
    for attempt in (version.save, version.delete, PromptVersion.objects.all().delete):
        with pytest.raises(TypeError):
            attempt()
    with pytest.raises(TypeError):
        PromptVersion.objects.update(content="changed")
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        PromptVersion._base_manager.update(content="changed")
    assert PromptVersion.objects.get().content == "Hello, {{name}}!"


def test_an_author_who_is_deleted_leaves_the_versions(create, editor):
    create()
    editor.user.delete()
    assert PromptVersion.objects.get().created_by is None
    assert Prompt.objects.get().created_by is None


def test_an_organization_is_deleted_with_its_prompts(create, editor, organization):
    prompt = create()
    editor.client.put(f"{URL}/{prompt['id']}/labels/beta", {"version": 1})
    organization.delete()
    assert not PromptVersion.objects.exists()


def test_diff_shows_each_field_line_by_line(create, editor):
    prompt = create(content="one\ntwo\nthree", parameters={"a": 1})
    add(
        editor.client,
        prompt,
        content="one\n2\nthree",
        parameters={},
        tools=[{"type": "function", "function": {"name": "f"}}],
    )
    url = f"{URL}/{prompt['id']}/versions/2/diff"
    data = editor.client.get(url).json()["data"]
    assert (data["from_version"], data["to_version"]) == (1, 2)
    assert [(change["field"], change["change"]) for change in data["changes"]] == [
        ("content", "changed"),
        ("parameters", "removed"),
        ("tools", "added"),
    ]
    assert data["changes"][0]["hunks"] == [
        {
            "from_line": 1,
            "from_count": 3,
            "to_line": 1,
            "to_count": 3,
            "lines": [
                {"op": " ", "text": "one"},
                {"op": "-", "text": "two"},
                {"op": "+", "text": "2"},
                {"op": " ", "text": "three"},
            ],
        }
    ]
    assert editor.client.get(f"{url}?against=2").json()["data"]["changes"] == []
    assert editor.client.get(f"{URL}/{prompt['id']}/versions/1/diff?against=2").json()["data"]["from_version"] == 2


def test_diff_of_messages_is_one_change_a_message(create, editor):
    prompt = create(**CHAT, content=None)
    messages = [{"role": "system", "content": "Be brief."}, CHAT["messages"][1], {"role": "assistant", "content": "So"}]
    add(editor.client, prompt, messages=messages)
    changes = editor.client.get(f"{URL}/{prompt['id']}/versions/2/diff").json()["data"]["changes"]
    assert [(change["field"], change["change"]) for change in changes] == [
        ("messages.0.content", "changed"),
        ("messages.2.role", "added"),
        ("messages.2.content", "added"),
    ]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("2/diff?against=9", 404),
        ("9/diff?against=1", 404),
        ("0/diff", 404),
        ("2/diff?against=0", 400),
        ("2/diff?x=1", 400),
    ],
)
def test_bad_diffs(create, editor, query, status):
    prompt = create()
    add(editor.client, prompt)
    assert editor.client.get(f"{URL}/{prompt['id']}/versions/{query}").status_code == status


def test_the_first_version_is_compared_with_nothing(create, editor):
    prompt = create()
    data = editor.client.get(f"{URL}/{prompt['id']}/versions/1/diff").json()["data"]
    assert (data["from_version"], data["to_version"]) == (None, 1)
    assert {change["change"] for change in data["changes"]} == {"added"}
