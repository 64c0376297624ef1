import pytest

from apps.models.models import LLMModel, Provider, ProviderKind
from apps.prompts.models import Prompt
from apps.users.models import AuditEntry
from tests.prompts.conftest import CHAT, URL

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(organization):
    provider = Provider.objects.create(organization=organization, kind=ProviderKind.ECHO, name="Echo")
    return LLMModel.objects.create(
        organization=organization, provider=provider, slug="echo", name="Echo", provider_model_name="echo"
    )


@pytest.fixture
def prompts(create, editor, admin, model):
    hello = create(tags=["a", "b"], description="Greets people", model_id=str(model.id))
    reply = create(**CHAT, content=None, tags=["b"], client=admin.client)
    off = create(slug="greetings/old", name="Old", is_active=False)
    gone = create(slug="gone")
    editor.client.put(f"{URL}/{hello['id']}/labels/beta", {"version": 1})
    admin.client.delete(f"{URL}/{gone['id']}")
    return {"hello": hello, "reply": reply, "off": off, "gone": gone}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["off", "reply", "hello"]),
        ("?type=chat", ["reply"]),
        ("?tag=b", ["reply", "hello"]),
        ("?tag=", ["off", "reply", "hello"]),
        ("?folder=greetings", ["off", "hello"]),
        ("?folder=greet", []),
        ("?label=beta", ["hello"]),
        ("?label=other", []),
        ("?is_active=false", ["off"]),
        ("?is_active=true", ["reply", "hello"]),
        ("?deleted=true", ["gone"]),
        ("?deleted=false", ["off", "reply", "hello"]),
        ("?search=greets PEOPLE", ["hello"]),
        ("?search=reply", ["reply"]),
        ("?ordering=name", ["hello", "off", "reply"]),
        ("?ordering=-slug", ["reply", "off", "hello"]),
        ("?per_page=1&page=2", ["reply"]),
        ("?page=9", []),
    ],
)
def test_filters(prompts, viewer, query, found):
    response = viewer.client.get(URL + query)
    assert response.status_code == 200, response.content
    assert [row["id"] for row in response.json()["data"]] == [prompts[name]["id"] for name in found]


def test_filters_by_model_and_author(prompts, viewer, admin, model):
    def found(query):
        return [row["id"] for row in viewer.client.get(URL + query).json()["data"]]

    assert found(f"?model_id={model.id}") == [prompts["hello"]["id"]]
    assert found(f"?created_by={admin.user.id}") == [prompts["reply"]["id"]]


def test_rows_are_the_prompts_as_read_one_by_one(prompts, viewer):
    for row in viewer.client.get(URL).json()["data"]:
        assert row == viewer.client.get(f"{URL}/{row['id']}").json()["data"]


@pytest.mark.parametrize(
    "query",
    [
        "type=poem",
        "is_active=yes",
        "is_active=True",
        "deleted=1",
        "model_id=x",
        "created_by=1",
        "label=A",
        "page=0",
        "page=x",
        "page=99999999999999999999",
        "per_page=101",
        "ordering=content",
        "ordering=",
        "x=1",
        "search=a%00",
        "tag=a%00",
        "type=text&type=chat",
        "tag=" + "x" * 51,
        "folder=" + "x" * 201,
    ],
)
def test_bad_parameters_are_refused_by_name(viewer, query):
    response = viewer.client.get(f"{URL}?{query}")
    assert response.status_code == 400, response.content
    assert set(response.json()["error"]["details"]) == {query.split("=")[0]}


def test_a_list_is_two_queries_and_a_prompt_one(prompts, viewer, django_assert_num_queries):
    viewer.client.get(URL)
    with django_assert_num_queries(2):
        viewer.client.get(f"{URL}?tag=b&label=beta&search=hello")
    with django_assert_num_queries(1):
        viewer.client.get(f"{URL}/{prompts['hello']['id']}")
    with django_assert_num_queries(3):
        viewer.client.get(f"{URL}/{prompts['hello']['id']}/versions")


def test_creating_is_one_statement(editor, django_assert_num_queries):
    editor.client.post(URL, {"slug": "first", "name": "A", "content": "x"})
    with django_assert_num_queries(3) as seen:
        assert editor.client.post(URL, {"slug": "a", "name": "A", "content": "x"}).status_code == 201
    before, _, after = [query["sql"] for query in seen.captured_queries]  # what is prepared has no text here
    assert (before.split()[0], after.split()[0]) == ("SAVEPOINT", "RELEASE")
    prompt = Prompt.objects.get(slug="a")
    assert (prompt.versions.count(), AuditEntry.objects.filter(object_pk=str(prompt.pk)).count()) == (1, 1)
