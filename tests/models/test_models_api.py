import threading
from decimal import Decimal

import pytest
from django.db import connection

from apps.models.models import LLMModel, ModelFallback
from apps.models.services import create_default_models, create_model, create_provider, update_model
from apps.organizations.models import Organization
from apps.organizations.registry import organization_created
from apps.users.models import AuditEntry

pytestmark = pytest.mark.django_db
URL = "/api/v1/models"


@pytest.fixture
def provider(organization, upstream):
    return create_provider(organization_id=organization.pk, kind="openai", name="Local", base_url=upstream.openai_url)


@pytest.fixture
def body(provider):
    return {"provider_id": str(provider.pk), "slug": "gpt-test", "provider_model_name": "gpt-test"}


@pytest.fixture
def make_model(provider):
    def make(slug, **values):
        return create_model(
            organization_id=provider.organization_id, provider=provider, slug=slug, provider_model_name=slug, **values
        )

    return make


def test_a_model_is_created_and_read_back(admin, viewer, body, make_model):
    second, first = make_model("second"), make_model("first")
    body |= {
        "name": "Test",
        "capabilities": ["chat", "tools", "chat"],
        "context_window": 1000,
        "max_output_tokens": 100,
        "default_parameters": {"temperature": 0.5},
        "input_price_usd": "1.5",
        "output_price_usd": "6",
        "max_concurrency": 3,
        "requests_per_minute": 60,
        "tokens_per_minute": 1000,
        "fallback_ids": [str(first.pk), str(second.pk)],
        "is_default": True,
    }
    answer = admin.client.post(URL, body)
    assert answer.status_code == 201, answer.json()
    data = answer.json()["data"]
    assert {name: data[name] for name in body} == body | {
        "capabilities": ["chat", "tools"],
        "input_price_usd": "1.500000",
        "output_price_usd": "6.000000",
    }
    assert data["prices"] == {
        "source": "override",
        "input": "1.500000",
        "cached_input": "1.500000",
        "cache_write": "1.500000",
        "cache_write_1h": "1.500000",
        "output": "6.000000",
        "reasoning": "6.000000",
    }
    assert viewer.client.get(answer["Location"]).json()["data"] == data
    model = LLMModel.objects.get(pk=data["id"])
    assert model.usable_fallbacks() == [first, second]
    assert model.input_price_usd == Decimal("1.5")


def test_the_list_is_two_queries_with_filters_and_search(viewer, make_model, outsider, django_assert_num_queries):
    a = make_model("a", capabilities=["chat"], is_default=True)
    make_model("b", fallbacks=[a], capabilities=["embeddings"], is_active=False)
    viewer.client.get(URL)
    with django_assert_num_queries(2):
        rows = viewer.client.get(URL).json()["data"]
    assert [(row["slug"], row["fallback_ids"]) for row in rows] == [("a", []), ("b", [str(a.pk)])]
    for query, slugs in (
        ({"capability": "chat"}, ["a"]),
        ({"is_active": "false"}, ["b"]),
        ({"is_default": "true"}, ["a"]),
        ({"provider_id": str(a.provider_id)}, ["a", "b"]),
        ({"search": "B"}, ["b"]),
        ({"ordering": "-slug"}, ["b", "a"]),
    ):
        assert [row["slug"] for row in viewer.client.get(URL, query).json()["data"]] == slugs
    for refused in ({"capability": "flying"}, {"provider_id": "x"}, {"is_default": "1"}, {"slug": "a"}):
        assert viewer.client.get(URL, refused).status_code == 400
    assert outsider.client.get(URL).json()["data"] == []


@pytest.mark.parametrize("person", ["editor", "viewer"])
def test_everybody_reads_models_and_only_admins_change_them(person, make_model, body, request):
    client = request.getfixturevalue(person).client
    detail = f"{URL}/{make_model('m').pk}"
    assert [client.get(path).status_code for path in (URL, detail, f"{URL}/catalog")] == [200] * 3
    answers = [
        client.post(URL, body),
        client.put(detail, body),
        client.patch(detail, {"name": "x"}),
        client.delete(detail),
        client.post(f"{detail}/test"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5


def test_another_organizations_model_does_not_exist(outsider, make_model, upstream):
    model = make_model("m")
    detail = f"{URL}/{model.pk}"
    answers = [
        outsider.client.get(detail),
        outsider.client.patch(detail, {"name": "x"}),
        outsider.client.delete(detail),
        outsider.client.post(f"{detail}/test"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert upstream.request_count == 0


def test_ids_of_another_organization_in_a_body_are_unknown(admin, outsider, make_model, body):
    theirs = create_provider(organization_id=outsider.organization.pk, kind="echo", name="Theirs")
    their_model = create_model(
        organization_id=outsider.organization.pk, provider=theirs, slug="t", provider_model_name="t"
    )
    mine = make_model("mine")
    for wrong, path in (
        ({"provider_id": str(theirs.pk)}, "provider_id"),
        ({"fallback_ids": [str(their_model.pk)]}, "fallback_ids.0"),
    ):
        for answer in (
            admin.client.post(URL, body | wrong),
            admin.client.patch(f"{URL}/{mine.pk}", wrong),
        ):
            assert answer.status_code == 400
            assert answer.json()["error"]["details"] == {path: "No such object."}
    assert LLMModel.objects.for_organization(admin.organization.pk).count() == 1
    assert not ModelFallback.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("slug", "Upper", "slug"),
        ("slug", "-a", "slug"),
        ("slug", "a b", "slug"),
        ("slug", "", "slug"),
        ("slug", 5, "slug"),
        ("slug", "x" * 101, "slug"),
        ("name", "", "name"),
        ("provider_model_name", "", "provider_model_name"),
        ("provider_id", "x", "provider_id"),
        ("provider_id", None, "provider_id"),
        ("provider_id", {"a": 1}, "provider_id"),
        ("provider_id", "0199a0a0-0000-7000-8000-000000000000", "provider_id"),
        ("capabilities", ["flying"], "capabilities.0"),
        ("capabilities", "chat", "capabilities"),
        ("capabilities", [["chat"]], "capabilities.0"),
        ("context_window", 0, "context_window"),
        ("context_window", 10**12, "context_window"),
        ("context_window", "5", "context_window"),
        ("context_window", True, "context_window"),
        ("input_price_usd", "-1", "input_price_usd"),
        ("input_price_usd", 1.5, "input_price_usd"),
        ("input_price_usd", " 1", "input_price_usd"),
        ("input_price_usd", "\u0661", "input_price_usd"),
        ("input_price_usd", "NaN", "input_price_usd"),
        ("input_price_usd", "Infinity", "input_price_usd"),
        ("input_price_usd", "1e400", "input_price_usd"),
        ("input_price_usd", "0.0000001", "input_price_usd"),
        ("input_price_usd", [], "input_price_usd"),
        ("default_parameters", [], "default_parameters"),
        ("default_parameters", {"stream": True}, "default_parameters.stream"),
        ("default_parameters", {"temperature": "hot"}, "default_parameters.temperature"),
        ("default_parameters", {"temperature": 3}, "default_parameters.temperature"),
        ("default_parameters", {"max_tokens": 0}, "default_parameters.max_tokens"),
        ("default_parameters", {"a": "x" * 20_000}, "default_parameters"),
        ("max_concurrency", 0, "max_concurrency"),
        ("fallback_ids", "x", "fallback_ids"),
        ("fallback_ids", ["x"], "fallback_ids.0"),
        ("fallback_ids", ["0199a0a0-0000-7000-8000-000000000000"] * 6, "fallback_ids"),
        ("is_default", 1, "is_default"),
        ("prices", {}, "prices"),
        ("id", "0199a0a0-0000-7000-8000-000000000000", "id"),
        ("unknown", 1, "unknown"),
    ],
)
def test_wrong_input_is_refused_by_its_path(admin, body, field, value, path):
    answer = admin.client.post(URL, body | {field: value})
    assert answer.status_code == 400, answer.json()
    assert list(answer.json()["error"]["details"]) == [path]
    assert not LLMModel.objects.exists()


def test_slugs_are_unique_in_an_organization_while_alive(admin, body, make_model):
    model = make_model("gpt-test")
    other = make_model("other")
    answer = admin.client.post(URL, body)
    assert answer.status_code == 409
    assert list(answer.json()["error"]["details"]) == ["slug"]
    assert admin.client.patch(f"{URL}/{other.pk}", {"slug": "gpt-test"}).status_code == 409
    assert admin.client.delete(f"{URL}/{model.pk}").status_code == 204
    assert admin.client.post(URL, body).status_code == 201


def test_one_model_is_the_default(admin, make_model):
    first, second = make_model("first", is_default=True), make_model("second")
    assert admin.client.patch(f"{URL}/{second.pk}", {"is_default": True}).json()["data"]["is_default"]
    first.refresh_from_db()
    assert first.is_default is False
    assert admin.client.patch(f"{URL}/{second.pk}", {"is_default": False}).json()["data"]["is_default"] is False
    assert not LLMModel.objects.filter(is_default=True).exists()


@pytest.mark.django_db(transaction=True)
def test_of_many_models_made_the_default_at_once_one_is(make_model):
    models = [make_model(f"m{number}") for number in range(6)]
    failures = []

    def make_default(model):
        try:
            update_model(model=model, is_default=True)
        except Exception as error:  # noqa: BLE001 - a thread's failure is told to the test
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=make_default, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert LLMModel.objects.filter(is_default=True).count() == 1


def test_fallbacks_are_replaced_as_a_whole_and_in_order(admin, make_model):
    a, b, c = make_model("a"), make_model("b"), make_model("c")
    detail = f"{URL}/{a.pk}"
    for wanted in ([b, c], [c, b], [c], []):
        ids = [str(model.pk) for model in wanted]
        assert admin.client.patch(detail, {"fallback_ids": ids}).json()["data"]["fallback_ids"] == ids
        assert admin.client.get(detail).json()["data"]["fallback_ids"] == ids
        assert a.usable_fallbacks() == wanted
    for wrong in ([str(a.pk)], [str(b.pk), str(b.pk)]):
        answer = admin.client.patch(detail, {"fallback_ids": wrong})
        assert answer.status_code == 400
        assert list(answer.json()["error"]["details"]) == ["fallback_ids"]


def test_changes_of_fallbacks_are_audited(admin, make_model):
    a, b = make_model("a"), make_model("b")
    admin.client.patch(f"{URL}/{a.pk}", {"fallback_ids": [str(b.pk)]})
    admin.client.patch(f"{URL}/{a.pk}", {"fallback_ids": []})
    entries = AuditEntry.objects.get_for_model(ModelFallback).order_by("id")
    assert [(entry.action, entry.actor, entry.organization_id) for entry in entries] == [
        (action, admin.user, admin.organization.pk) for action in (AuditEntry.Action.CREATE, AuditEntry.Action.DELETE)
    ]


def test_what_cannot_be_called_stands_in_for_nothing(admin, make_model):
    a, b, c = make_model("a"), make_model("b"), make_model("c")
    update_model(model=a, fallbacks=[b, c])
    update_model(model=b, is_active=False)
    assert a.usable_fallbacks() == [c]
    assert admin.client.delete(f"{URL}/{c.pk}").status_code == 204
    assert a.usable_fallbacks() == []
    assert admin.client.get(f"{URL}/{a.pk}").json()["data"]["fallback_ids"] == [str(b.pk)]
    assert list(LLMModel.objects.for_organization(a.organization_id).usable()) == [a]


def test_if_match_guards_a_change(admin, make_model):
    detail = f"{URL}/{make_model('m').pk}"
    created_etag = admin.client.get(detail)["ETag"]
    changed = admin.client.patch(detail, {"name": "One"}, HTTP_IF_MATCH=created_etag)
    assert changed.status_code == 200
    assert changed["ETag"] == admin.client.get(detail)["ETag"]
    assert admin.client.delete(detail, HTTP_IF_MATCH=created_etag).status_code == 412


def test_a_test_makes_one_real_small_call(admin, make_model, upstream):
    model = make_model("m", default_parameters={"temperature": 0.2, "max_completion_tokens": 9000})
    data = admin.client.post(f"{URL}/{model.pk}/test").json()["data"]
    assert (data["is_ok"], data["input_tokens"], data["output_tokens"]) == (True, 13, 7)
    assert upstream.request_count == 1
    assert upstream.requests[0].body["max_tokens"] == 16
    assert upstream.requests[0].body["temperature"] == 0.2
    assert "max_completion_tokens" not in upstream.requests[0].body


def test_an_embedding_model_is_tested_by_an_embedding(admin, make_model, upstream):
    model = make_model("e", capabilities=["embeddings"])
    data = admin.client.post(f"{URL}/{model.pk}/test").json()["data"]
    assert (data["is_ok"], data["text"]) == (True, "A vector of 8 dimensions.")
    assert upstream.requests[0].path == "/v1/embeddings"


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [("fault-400", "INVALID_REQUEST", 400), ("fault-429-retry-after-1", "RATE_LIMITED", 429)],
)
def test_a_failed_test_says_why_and_is_not_repeated(admin, make_model, upstream, name, code, status):
    model = make_model("m")
    update_model(model=model, provider_model_name=name)
    data = admin.client.post(f"{URL}/{model.pk}/test").json()["data"]
    assert data["is_ok"] is False
    assert (data["error"]["code"], data["error"]["status"]) == (code, status)
    assert upstream.request_count == 1
    assert admin.client.post(f"{URL}/{model.pk}/test", {"a": 1}).status_code == 400


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_a_provider_is_waited_for(admin, make_model, upstream):
    model = make_model("m")
    update_model(model=model, provider_model_name="fault-delay-300")
    held = []

    def ask():
        admin.client.post(f"{URL}/{model.pk}/test")
        held.append(connection.connection)
        connection.close()

    asking = threading.Thread(target=ask)
    asking.start()
    upstream.wait_for(lambda server: server.request_count == 1)
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        mine = cursor.fetchone()[0]
        cursor.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> %s"
            " and backend_type = 'client backend' and state <> 'idle'",
            [mine],
        )
        assert cursor.fetchone()[0] == 0
    asking.join()
    assert held == [None]


def test_the_catalog_is_paged_and_searched(viewer):
    everything = viewer.client.get(f"{URL}/catalog").json()
    assert everything["meta"]["total"] > 500
    assert len(everything["data"]) == 20
    found = viewer.client.get(f"{URL}/catalog", {"search": "GPT-4.1 mini", "provider": "openai"}).json()["data"]
    assert [(row["provider"], row["model"]) for row in found] == [("openai", "gpt-4.1-mini")]
    assert found[0]["prices"]["source"] == "catalog"
    assert Decimal(found[0]["prices"]["cached_input"]) < Decimal(found[0]["prices"]["input"])
    assert found[0]["context_window"] > 100_000
    assert viewer.client.get(f"{URL}/catalog", {"page": 100_000}).status_code == 400
    assert viewer.client.get(f"{URL}/catalog", {"model": "x"}).status_code == 400
    assert viewer.client.get(f"{URL}/catalog", {"provider": "nobody"}).json()["data"] == []


def test_a_new_organization_has_the_echo_model(settings):
    settings.OPENAI_API_KEY = settings.ANTHROPIC_API_KEY = ""
    organization = Organization.objects.create(name="New", slug="new")
    organization_created(organization)
    (model,) = LLMModel.objects.for_organization(organization.pk).usable()
    assert (model.slug, model.is_default, model.provider.kind) == ("echo", True, "echo")


def test_a_new_organization_has_the_models_of_the_operators_keys(settings):
    settings.OPENAI_API_KEY, settings.ANTHROPIC_API_KEY = "sk-openai", "sk-anthropic"
    organization = Organization.objects.create(name="New", slug="new")
    create_default_models(organization)
    models = LLMModel.objects.for_organization(organization.pk).usable()
    assert {model.provider.kind for model in models} == {"openai", "anthropic", "echo"}
    default = models.get(is_default=True)
    assert default.provider.kind == "openai"
    assert default.provider.reveal_api_key() == "sk-openai"
    assert all(model.context_window for model in models if model.slug != "echo")
