"""Items made of executions, and the pages of datasets in the admin."""

import pytest
from django.test import Client

from apps.evaluations.datasets.serializers import ExecutionCriteriaSerializer
from apps.evaluations.models import DatasetImport, DatasetItem
from apps.executions.filters import ExecutionFilter
from apps.executions.models import Execution
from apps.users.models import ApiKey, User
from tests.evaluations.conftest import DATASETS

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def dataset(make_dataset):
    return make_dataset().dataset


@pytest.fixture
def take(editor, dataset):
    def send(status=200, client=None, **body):
        url = f"{DATASETS}/{dataset.pk}/items/from-executions"
        answer = (client or editor.client).post(url, body)
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status == 200 else "error"]

    return send


def test_executions_become_items_oldest_first(take, prompt, execute):
    for name in ("Ada", "Bob", "Cleo"):
        execute(prompt, variables={"name": name})
    done = take(filter={"prompt_id": prompt["id"], "status": "succeeded"}, limit=2, expected="output", split="test")
    assert (done["changed_count"], done["version"], done["item_count"]) == (2, 2, 2)
    bob, cleo = DatasetItem.objects.order_by("position")
    assert (bob.input, cleo.input, bob.split) == ({"name": "Bob"}, {"name": "Cleo"}, "test")
    assert bob.output == bob.expected == "You said: Hello, Bob!"
    assert bob.source_execution_id == Execution.objects.order_by("id")[1].id
    assert take(limit=2, expected="output")["duplicate_count"] == 2
    assert take(filter={"source": "batch"})["changed_count"] == 0
    plain = take(
        with_output=False, filter={"min_cost_usd": 0, "is_streamed": False, "created_after": "2020-01-01T00:00Z"}
    )
    assert plain["changed_count"] == 3
    assert not DatasetItem.objects.get(input__isnull=False, has_output=False, position=2).has_expected


def test_without_a_prompt_the_messages_are_the_input(take, prompt, execute):
    execute(prompt)
    Execution.objects.update(prompt_id=None)
    take()
    assert DatasetItem.objects.get().input == {"messages": [{"role": "user", "content": "Hello, Ada!"}]}


def test_executions_fit_the_schemas_and_nobody_elses_are_taken(take, prompt, execute, dataset, editor, outsider):
    execute(prompt)
    editor.client.patch(f"{DATASETS}/{dataset.pk}", {"input_schema": {"type": "string"}})
    assert list(take(status=400)["details"]) == ["items.0.input"]
    theirs = outsider.client.post(DATASETS, {"name": "Theirs"}).json()["data"]["id"]
    answer = outsider.client.post(f"{DATASETS}/{theirs}/items/from-executions", {"filter": {"prompt_id": prompt["id"]}})
    assert answer.json()["data"]["changed_count"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"filter": {"nonsense": 1}}, "filter.nonsense"),
        ({"filter": {"status": "lost"}}, "filter.status"),
        ({"filter": {"prompt_id": 7}}, "filter.prompt_id"),
        ({"filter": {"created_after": "yesterday"}}, "filter.created_after"),
        ({"filter": {"min_latency_ms": -1}}, "filter.min_latency_ms"),
        ({"limit": 10_001}, "limit"),
        ({"expected": "all"}, "expected"),
    ],
)
def test_bad_filters_are_named(take, body, field):
    assert list(take(status=400, **body)["details"]) == [field]


def test_the_filters_are_those_of_the_list():
    assert set(ExecutionCriteriaSerializer().fields) == set(ExecutionFilter.base_filters)


def test_a_key_that_may_not_read_executions_takes_none(take, editor):
    key = ApiKey(organization=editor.organization, user=editor.user, name="k", scopes=["datasets:update"])
    secret = key.give_secret()
    key.save()
    take(status=403, client=type(editor.client)(HTTP_AUTHORIZATION=f"Bearer {secret}"))


def test_the_admin_shows_datasets_versions_items_and_imports(make_dataset, organization):
    User.objects.create_superuser(email="op@example.com", password="operator password")
    pages = Client()
    pages.force_login(User.objects.get(email="op@example.com"))
    version = make_dataset([{"input": EVIL, "expected": {"a": EVIL}}], description=EVIL, input_schema={"title": EVIL})
    item = DatasetItem.objects.get()
    found = DatasetImport.objects.create(
        organization=organization, dataset=version.dataset, file_name=EVIL, format="csv", on_error="skip",
        on_duplicate="skip", total_bytes=1, errors=[{"row": 1, "column": EVIL, "message": EVIL}],
    )  # fmt: skip
    for path in (
        "dataset/",
        f"dataset/{version.dataset_id}/change/",
        "datasetversion/",
        f"datasetversion/{version.pk}/change/",
        "datasetitem/?q=x",
        "datasetitem/",
        f"datasetitem/{item.pk}/change/",
        "datasetimport/",
        f"datasetimport/{found.pk}/change/",
    ):
        answer = pages.get(f"/admin/evaluations/{path}")
        assert answer.status_code == 200, path
        assert EVIL not in answer.content.decode(), path
