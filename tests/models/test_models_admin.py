import pytest

from apps.models.models import LLMModel, ModelFallback, Provider
from apps.models.services import create_model, create_provider
from apps.organizations.models import Organization
from apps.users.models import User

pytestmark = pytest.mark.django_db
KEY = "sk-very-secret-0123456789"
PROVIDERS, MODELS = "/admin/models/provider/", "/admin/models/llmmodel/"
NO_FALLBACKS = {"fallback_rows-TOTAL_FORMS": "0", "fallback_rows-INITIAL_FORMS": "0"}


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("op@example.com", "correct horse battery"))
    return client


@pytest.fixture
def provider(organization, upstream):
    return create_provider(
        organization_id=organization.pk, kind="openai", name="OpenAI", base_url=upstream.openai_url, api_key=KEY
    )


@pytest.fixture
def model(provider):
    return create_model(
        organization_id=provider.organization_id, provider=provider, slug="m", provider_model_name="m", is_default=True
    )


def provider_form(provider, **changes):
    fields = ("kind", "name", "base_url")
    values = {name: getattr(provider, name) for name in fields}
    return {"organization": str(provider.organization_id), "is_active": "on", "api_key": "", **values, **changes}


def model_form(model, **changes):
    fields = ("slug", "name", "provider_model_name")
    values = {name: getattr(model, name) for name in fields}
    keys = {"organization": str(model.organization_id), "provider": str(model.provider_id)}
    return (
        {**keys, **values, "capabilities": "chat", "default_parameters": "{}", "is_active": "on"}
        | NO_FALLBACKS
        | changes
    )


@pytest.mark.parametrize(
    "path", [PROVIDERS, PROVIDERS + "add/", MODELS, MODELS + "add/", MODELS + "?q=m", PROVIDERS + "?q=o"]
)
def test_pages_open_and_show_no_key(operator, model, path):
    answer = operator.get(path)
    assert answer.status_code == 200
    assert KEY not in answer.text


def test_a_key_is_written_kept_and_removed_and_never_shown(operator, provider):
    page = f"{PROVIDERS}{provider.pk}/change/"
    sealed = bytes(provider.encrypted_api_key).decode()
    for changes, key in (
        ({"name": "Renamed"}, KEY),
        ({"api_key": "another"}, "another"),
        ({"remove_api_key": "on"}, ""),
    ):
        answer = operator.get(page)
        assert answer.status_code == 200
        assert KEY not in answer.text
        assert sealed not in answer.text
        assert operator.post(page, provider_form(provider, **changes)).status_code == 302
        provider.refresh_from_db()
        assert provider.reveal_api_key() == key
    assert KEY not in operator.get(f"{PROVIDERS}{provider.pk}/history/").text


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"base_url": "http://127.0.0.1:1/v1", "api_key": "x"}, "base_url"),
        ({"base_url": "ftp://example.com", "api_key": "x"}, "base_url"),
        ({"base_url": "https://8.8.8.8/v1"}, "api_key"),
        ({"kind": "anthropic"}, "api_key"),
        ({"api_key": "sk-\N{FIRE}"}, "api_key"),
        ({"name": "Taken"}, "__all__"),
    ],
)
def test_what_the_api_refuses_the_admin_refuses(operator, provider, settings, changes, field):
    create_provider(organization_id=provider.organization_id, kind="echo", name="Taken")
    Provider.objects.filter(pk=provider.pk).update(base_url="https://1.1.1.1/v1")
    provider.refresh_from_db()
    settings.ALLOW_PRIVATE_PROVIDER_URLS = False
    answer = operator.post(f"{PROVIDERS}{provider.pk}/change/", provider_form(provider, **changes))
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]
    provider.refresh_from_db()
    assert (provider.kind, provider.name, provider.base_url) == ("openai", "OpenAI", "https://1.1.1.1/v1")
    assert provider.reveal_api_key() == KEY


def test_a_model_is_changed_with_its_fallbacks(operator, model):
    other = create_model(
        organization_id=model.organization_id, provider=model.provider, slug="o", provider_model_name="o"
    )
    fallback = {
        "fallback_rows-TOTAL_FORMS": "1",
        "fallback_rows-0-position": "0",
        "fallback_rows-0-fallback": str(other.pk),
        "fallback_rows-0-model": str(model.pk),
    }
    page = f"{MODELS}{model.pk}/change/"
    answer = operator.post(page, model_form(model, name="New", **fallback))
    assert answer.status_code == 302, answer.context["errors"]
    model.refresh_from_db()
    assert model.name == "New"
    assert model.usable_fallbacks() == [other]
    assert operator.get(page).status_code == 200


def test_rows_of_another_organization_are_refused(operator, model):
    other = Organization.objects.create(name="Other", slug="other")
    theirs = create_provider(organization_id=other.pk, kind="echo", name="Theirs")
    their_model = create_model(organization_id=other.pk, provider=theirs, slug="t", provider_model_name="t")
    page = f"{MODELS}{model.pk}/change/"
    fallback = {
        "fallback_rows-TOTAL_FORMS": "1",
        "fallback_rows-0-position": "0",
        "fallback_rows-0-fallback": str(their_model.pk),
        "fallback_rows-0-model": str(model.pk),
    }
    for changes in (
        {"provider": str(theirs.pk)},
        fallback,
        {"default_parameters": "[]"},
        {"default_parameters": '{"n": 2}'},
    ):
        answer = operator.post(page, model_form(model, **changes))
        assert answer.status_code == 200
        assert answer.context["errors"]
    model.refresh_from_db()
    assert model.provider.organization_id == model.organization_id
    assert not ModelFallback.objects.exists()


def test_a_second_default_is_refused(operator, model):
    other = create_model(
        organization_id=model.organization_id, provider=model.provider, slug="o", provider_model_name="o"
    )
    answer = operator.post(f"{MODELS}{other.pk}/change/", model_form(other, is_default="on"))
    assert answer.status_code == 200
    assert answer.context["errors"]
    assert LLMModel.objects.get(is_default=True) == model


def test_nothing_is_deleted_for_good(operator, model):
    assert operator.post(f"{MODELS}{model.pk}/delete/", {"post": "yes"}).status_code == 403
    assert operator.post(f"{PROVIDERS}{model.provider_id}/delete/", {"post": "yes"}).status_code == 403
