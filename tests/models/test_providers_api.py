import json
import logging

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from apps.models.models import LLMModel, Provider
from apps.models.services import adapter_for, create_provider
from apps.users.models import AuditEntry
from tests.upstream.server import REFUSED_KEY

pytestmark = pytest.mark.django_db
URL = "/api/v1/providers"
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def provider(organization, upstream):
    return create_provider(
        organization_id=organization.pk, kind="openai", name="OpenAI", base_url=upstream.openai_url, api_key=KEY
    )


def test_a_provider_is_created_and_its_key_is_never_read_back(admin, upstream):
    body = {"kind": "openai", "name": "OpenAI", "base_url": upstream.openai_url + "/", "api_key": KEY}
    answer = admin.client.post(URL, body)
    assert answer.status_code == 201
    data = answer.json()["data"]
    assert data["has_api_key"] is True
    assert data["api_key_set_at"] is not None
    assert data["base_url"] == upstream.openai_url
    assert "api_key" not in data
    provider = Provider.objects.get(pk=data["id"])
    assert provider.organization == admin.organization
    assert provider.reveal_api_key() == KEY
    assert KEY.encode() not in bytes(provider.encrypted_api_key)
    assert answer["Location"] == f"{URL}/{provider.pk}"
    assert admin.client.get(answer["Location"]).json()["data"] == data


def test_the_key_is_in_no_answer_log_or_audit_entry(admin, provider, upstream, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    detail = f"{URL}/{provider.pk}"
    other = f"{KEY}-two"
    answers = [
        admin.client.patch(detail, {"api_key": other}),
        admin.client.get(detail),
        admin.client.get(URL),
        admin.client.post(f"{detail}/test", {"model": "m"}),
        admin.client.post(f"{detail}/test", {"model": "fault-hang-up"}),
        admin.client.patch(detail, {"name": 5, "api_key": other}),
        admin.client.get("/api/v1/audit-logs"),
        admin.client.delete(detail),
    ]
    shown = b"".join(answer.content for answer in answers).decode() + caplog.text + "".join(capsys.readouterr())
    stored = json.dumps(
        list(AuditEntry.objects.values("changes", "additional_data", "serialized_data", "object_repr")), default=str
    )
    assert AuditEntry.objects.exists()
    sealed = bytes(Provider.objects.get(pk=provider.pk).encrypted_api_key or b"").decode()
    assert sealed == ""
    for secret in (KEY, other, bytes(provider.encrypted_api_key).decode()):
        assert secret not in shown + stored
    changed = AuditEntry.objects.filter(changes__has_key="encrypted_api_key").first()
    assert changed is not None
    assert set(changed.changes["encrypted_api_key"]) == {"***"}


def test_the_list_and_its_filters(admin, provider, outsider, django_assert_num_queries):
    create_provider(organization_id=admin.organization.pk, kind="echo", name="Echo")
    create_provider(organization_id=outsider.organization.pk, kind="echo", name="Theirs")
    admin.client.get(URL)
    with django_assert_num_queries(2):
        answer = admin.client.get(URL)
    assert [row["name"] for row in answer.json()["data"]] == ["Echo", "OpenAI"]
    assert [row["name"] for row in admin.client.get(URL, {"kind": "echo"}).json()["data"]] == ["Echo"]
    assert [row["name"] for row in admin.client.get(URL, {"search": "open"}).json()["data"]] == ["OpenAI"]
    assert admin.client.get(URL, {"is_active": "false"}).json()["meta"]["total"] == 0
    for refused in ({"kind": "gemini"}, {"is_active": "yes"}, {"colour": "red"}):
        answer = admin.client.get(URL, refused)
        assert answer.status_code == 400
        assert list(answer.json()["error"]["details"]) == list(refused)


@pytest.mark.parametrize("person", ["editor", "viewer"])
def test_only_those_who_manage_models_see_providers(person, provider, request):
    client = request.getfixturevalue(person).client
    detail = f"{URL}/{provider.pk}"
    body = {"kind": "echo", "name": "Echo"}
    answers = [
        client.get(URL),
        client.post(URL, body),
        client.get(detail),
        client.put(detail, body),
        client.patch(detail, body),
        client.delete(detail),
        client.post(f"{detail}/test"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 7


def test_another_organizations_provider_does_not_exist(outsider, provider):
    detail = f"{URL}/{provider.pk}"
    answers = [
        outsider.client.get(detail),
        outsider.client.patch(detail, {"name": "Mine"}),
        outsider.client.delete(detail),
        outsider.client.post(f"{detail}/test", {"model": "m"}),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    provider.refresh_from_db()
    assert (provider.name, provider.deleted_at) == ("OpenAI", None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "gemini"),
        ("kind", None),
        ("name", ""),
        ("name", 7),
        ("name", "x" * 101),
        ("base_url", "not a url"),
        ("base_url", "ftp://example.com"),
        ("base_url", "http://user:pw@example.com"),
        ("base_url", 5),
        ("base_url", None),
        ("base_url", "http://example.com/" + "a" * 600),
        ("api_key", "sk\n1"),
        ("api_key", "sk-\N{FIRE}"),
        ("api_key", ["sk"]),
        ("api_key", "k" * 501),
        ("is_active", "true"),
        ("has_api_key", True),
        ("encrypted_api_key", "x"),
        ("organization_id", "0199a0a0-0000-7000-8000-000000000000"),
    ],
)
def test_wrong_input_is_refused_by_its_name(admin, field, value):
    answer = admin.client.post(URL, {"kind": "echo", "name": "Echo", field: value})
    assert answer.status_code == 400
    assert list(answer.json()["error"]["details"]) == [field]
    assert not Provider.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://localhost/v1",
        "http://169.254.169.254/latest",
        "http://[::ffff:10.0.0.1]/",
        "http://2130706433/",
    ],
)
def test_an_address_inside_the_network_is_refused_unless_allowed(admin, settings, url):
    settings.ALLOW_PRIVATE_PROVIDER_URLS = False
    body = {"kind": "openai", "name": "Inside", "base_url": url}
    answer = admin.client.post(URL, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"] == {"base_url": "The host is not on the public internet."}
    provider = create_provider(organization_id=admin.organization.pk, kind="openai", name="Outside")
    for write in (admin.client.patch, admin.client.put):
        assert write(f"{URL}/{provider.pk}", body).status_code == 400
    settings.ALLOW_PRIVATE_PROVIDER_URLS = True
    assert admin.client.post(URL, body).status_code == 201


def test_an_address_inside_the_network_is_refused_when_called(admin, provider, upstream, settings):
    """As when a name that was outside leads inside now, or the setting has been taken back."""
    settings.ALLOW_PRIVATE_PROVIDER_URLS = False
    data = admin.client.post(f"{URL}/{provider.pk}/test", {"model": "m"}).json()["data"]
    assert (data["is_ok"], data["error"]["code"]) == (False, "BLOCKED_ADDRESS")
    assert upstream.request_count == 0


def test_a_key_is_not_sent_to_an_address_that_it_was_not_given_for(admin, provider, upstream):
    detail = f"{URL}/{provider.pk}"
    for change in ({"base_url": "https://thief.example/v1"}, {"kind": "anthropic"}):
        answer = admin.client.patch(detail, change)
        assert answer.status_code == 400
        assert list(answer.json()["error"]["details"]) == ["api_key"]
    provider.refresh_from_db()
    assert (provider.kind, provider.base_url) == ("openai", upstream.openai_url)
    assert admin.client.patch(detail, {"base_url": upstream.openai_url, "name": "Same"}).status_code == 200
    answer = admin.client.patch(detail, {"base_url": upstream.url, "kind": "anthropic", "api_key": "another"})
    assert answer.status_code == 200
    assert admin.client.post(f"{detail}/test", {"model": "m"}).json()["data"]["is_ok"]
    assert upstream.requests[-1].headers["x-api-key"] == "another"


def test_a_key_is_replaced_kept_and_taken_away(admin, provider, upstream):
    detail = f"{URL}/{provider.pk}"
    assert admin.client.patch(detail, {"name": "Renamed"}).json()["data"]["has_api_key"] is True
    adapter_for(provider)
    admin.client.patch(detail, {"api_key": "replaced"})
    admin.client.post(f"{detail}/test", {"model": "m"})
    assert upstream.requests[-1].headers["authorization"] == "Bearer replaced"
    data = admin.client.patch(detail, {"api_key": ""}).json()["data"]
    assert (data["has_api_key"], data["api_key_set_at"]) == (False, None)
    admin.client.post(f"{detail}/test", {"model": "m"})
    assert "authorization" not in upstream.requests[-1].headers


def test_names_are_unique_in_an_organization_while_alive(admin, outsider, provider):
    body = {"kind": "echo", "name": "OpenAI"}
    answer = admin.client.post(URL, body)
    assert answer.status_code == 409
    assert list(answer.json()["error"]["details"]) == ["name"]
    other = create_provider(organization_id=admin.organization.pk, kind="echo", name="Echo")
    assert admin.client.patch(f"{URL}/{other.pk}", {"name": "OpenAI"}).status_code == 409
    assert outsider.client.post(URL, body).status_code == 201
    assert admin.client.delete(f"{URL}/{provider.pk}").status_code == 204
    assert admin.client.post(URL, body).status_code == 201


def test_a_provider_with_models_is_not_deleted(admin, provider):
    model = LLMModel.objects.create(
        organization=admin.organization, provider=provider, slug="m", name="m", provider_model_name="m"
    )
    detail = f"{URL}/{provider.pk}"
    assert admin.client.delete(detail).status_code == 409
    model.soft_delete()
    assert admin.client.delete(detail).status_code == 204
    assert admin.client.get(detail).status_code == 404
    provider.refresh_from_db()
    assert provider.is_deleted
    assert not provider.has_api_key


def test_if_match_guards_a_change(admin, provider):
    detail = f"{URL}/{provider.pk}"
    etag = admin.client.get(detail)["ETag"]
    assert admin.client.get(detail, HTTP_IF_NONE_MATCH=etag).status_code == 304
    assert admin.client.patch(detail, {"name": "One"}, HTTP_IF_MATCH=etag).status_code == 200
    assert admin.client.patch(detail, {"name": "Two"}, HTTP_IF_MATCH=etag).status_code == 412


def test_a_test_makes_one_real_small_call(admin, provider, upstream):
    detail = f"{URL}/{provider.pk}"
    answer = admin.client.post(f"{detail}/test")
    assert answer.status_code == 400
    assert list(answer.json()["error"]["details"]) == ["model"]
    LLMModel.objects.create(
        organization=admin.organization, provider=provider, slug="m", name="m", provider_model_name="first-model"
    )
    data = admin.client.post(f"{detail}/test").json()["data"]
    assert data == {
        "is_ok": True,
        "model": "first-model",
        "latency_ms": data["latency_ms"],
        "text": "You said: Answer with the single word: ready",
        "input_tokens": 13,
        "output_tokens": 7,
        "error": None,
    }
    assert upstream.request_count == 1
    assert upstream.requests[0].body["max_tokens"] == 16


def test_a_failed_test_says_what_the_provider_said(admin, organization, upstream):
    body = {"kind": "anthropic", "name": "Claude", "base_url": upstream.url, "api_key": REFUSED_KEY}
    detail = admin.client.post(URL, body)["Location"]
    answer = admin.client.post(f"{detail}/test", {"model": "m"})
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert data["is_ok"] is False
    assert data["error"] == {
        "code": "AUTHENTICATION",
        "message": "Incorrect API key provided: ***.",
        "status": 401,
    }


@pytest.mark.parametrize("body", [{"model": ""}, {"model": 5}, {"models": "m"}, [], "m"])
def test_a_test_with_a_wrong_body_is_refused(admin, provider, upstream, body):
    assert admin.client.post(f"{URL}/{provider.pk}/test", body).status_code == 400
    assert upstream.request_count == 0


def test_keys_of_encryption_are_rotated(provider, settings, capsys):
    new = Fernet.generate_key().decode()
    old = settings.ENCRYPTION_KEYS
    before = bytes(provider.encrypted_api_key)
    settings.ENCRYPTION_KEYS = [new, *old]
    call_command("rotate_encryption_keys")
    assert "1 keys encrypted again." in capsys.readouterr().out
    settings.ENCRYPTION_KEYS = [new]
    provider.refresh_from_db()
    assert bytes(provider.encrypted_api_key) != before
    assert provider.reveal_api_key() == KEY
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CommandError, match="OpenAI"):
        call_command("rotate_encryption_keys")


def test_a_provider_whose_key_cannot_be_opened_fails_as_a_provider(admin, provider, settings):
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    data = admin.client.post(f"{URL}/{provider.pk}/test", {"model": "m"}).json()["data"]
    assert data["error"]["code"] == "AUTHENTICATION"
