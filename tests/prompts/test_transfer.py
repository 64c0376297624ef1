import pytest

from apps.models.models import LLMModel, Provider, ProviderKind
from apps.prompts.models import Prompt, PromptVersion
from tests.prompts.conftest import CHAT, URL

pytestmark = pytest.mark.django_db


def add_model(organization, slug="echo"):
    provider = Provider.objects.create(organization=organization, kind=ProviderKind.ECHO, name=slug)
    return LLMModel.objects.create(
        organization=organization, provider=provider, slug=slug, name=slug, provider_model_name="echo"
    )


@pytest.fixture
def document(create, editor, organization):
    model = add_model(organization)
    hello = create(tags=["a"], model_id=str(model.id))
    editor.client.post(f"{URL}/{hello['id']}/versions", {"content": "Two", "message": "Second"})
    editor.client.put(f"{URL}/{hello['id']}/labels/production", {"version": 1})
    create(**CHAT, content=None)
    return editor.client.get(f"{URL}/export").json()["data"]


def load(client, document, **options):
    return client.post(f"{URL}/import", {"document": document["document"], "prompts": document["prompts"], **options})


def test_what_was_exported_can_be_imported_elsewhere(document, outsider):
    add_model(outsider.organization)
    response = load(outsider.client, document)
    assert response.status_code == 200, response.content
    assert [row["outcome"] for row in response.json()["data"]["prompts"]] == ["created", "created"]
    assert outsider.client.get(f"{URL}/export").json()["data"] == document
    hello = outsider.client.get(f"{URL}/by-slug/greetings/hello").json()["data"]
    assert (hello["version"], hello["labels"], hello["content"]) == (1, {"production": 1}, "Hello, {{name}}!")


def test_export_chooses_by_folder_and_tag(document, editor):
    def slugs(query):
        return [prompt["slug"] for prompt in editor.client.get(f"{URL}/export{query}").json()["data"]["prompts"]]

    assert slugs("") == ["greetings/hello", "support/reply"]
    assert slugs("?folder=support") == ["support/reply"]
    assert slugs("?tag=a") == ["greetings/hello"]


def test_taken_slugs_are_refused_skipped_or_get_a_version(document, editor):
    refused = load(editor.client, document)
    assert refused.status_code == 409
    assert set(refused.json()["error"]["details"]) == {"prompts.0.slug"}
    skipped = load(editor.client, document, on_conflict="skip")
    assert {row["outcome"] for row in skipped.json()["data"]["prompts"]} == {"skipped"}
    same = load(editor.client, document, on_conflict="version")
    assert {row["outcome"] for row in same.json()["data"]["prompts"]} == {"unchanged"}
    document["prompts"][0]["versions"][-1]["content"] = "Three"
    changed = load(editor.client, document, on_conflict="version")
    assert [row["outcome"] for row in changed.json()["data"]["prompts"]] == ["updated", "unchanged"]
    hello = Prompt.objects.get(slug="greetings/hello")
    assert (hello.current_version.version_number, hello.current_version.content) == (3, "Three")


def spoil(document, path, value):
    *steps, last = path.split(".")
    target = document
    for step in steps:
        target = target[int(step) if step.isdigit() else step]
    target[last] = value


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("prompts.1.versions.0.messages", [{"role": "x", "content": ""}], "prompts.1.versions.0.messages.0.role"),
        ("prompts.0.versions.1.content", "{{", "prompts.0.versions.1.content"),
        ("prompts.0.versions.0.model", "none", "prompts.0.versions.0.model"),
        ("prompts.0.labels", {"production": 9}, "prompts.0.labels.production"),
        ("prompts.0.labels", {"production": "1"}, "prompts.0.labels.production"),
        ("prompts.0.labels", {"Bad": 1}, "prompts.0.labels"),
        ("prompts.0.versions", [], "prompts.0.versions"),
        ("prompts.0.slug", "support/reply", "prompts.1.slug"),
        ("prompts.1.x", 1, "prompts.1.x"),
        ("document", "other", "document"),
        ("prompts", [], "prompts"),
        ("prompts", {}, "prompts"),
    ],
)
def test_a_document_that_is_not_right_is_refused_whole_and_by_place(document, outsider, path, value, field):
    add_model(outsider.organization)
    spoil(document, path, value)
    response = load(outsider.client, document)
    assert response.status_code in {400, 409}, response.content
    assert set(response.json()["error"]["details"]) == {field}
    mine = Prompt.objects.for_organization(outsider.organization.id)
    assert not mine.exists()
    assert not PromptVersion.objects.for_organization(outsider.organization.id).exists()


def test_protected_labels_are_imported_by_admins_only(document, outsider, organization, editor, admin):
    organization.protected_labels = ["production"]
    organization.save()
    document["prompts"][0]["slug"] = "copy"
    document["prompts"] = document["prompts"][:1]
    assert load(editor.client, document).status_code == 403
    assert not Prompt.objects.filter(slug="copy").exists()
    assert load(admin.client, document).status_code == 200
