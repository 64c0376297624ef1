"""Datasets over HTTP: versions that never change, items that come, change and go."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from apps.evaluations.models import Dataset, DatasetItem, DatasetVersion
from apps.prompts.rendering.schema import Checker
from apps.users.models import AuditEntry
from tests.evaluations.conftest import DATASETS
from tests.prompts.test_concurrency import at_once

pytestmark = pytest.mark.django_db

QUESTION = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}


@pytest.fixture
def create(editor):
    def make(*, person=editor, status=201, **fields):
        answer = person.client.post(DATASETS, {"name": "Questions", **fields})
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status == 201 else "error"]

    return make


@pytest.fixture
def dataset(create):
    return create()


@pytest.fixture
def add(editor, dataset):
    def send(*items, of=None, status=200, headers=None, **options):
        answer = editor.client.post(
            f"{DATASETS}/{(of or dataset)['id']}/items", {"items": items, **options}, headers=headers
        )
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status == 200 else "error"]

    return send


@pytest.fixture
def items(editor, dataset):
    def read(query=""):
        answer = editor.client.get(f"{DATASETS}/{dataset['id']}/items{query}")
        assert answer.status_code == 200, answer.content
        return answer.json()["data"]

    return read


def q(text, **more):
    return {"input": {"q": text}, **more}


def test_a_dataset_is_made_read_changed_deleted_and_brought_back(create, editor, admin):
    made = create(description="Of the shop", tags=["shop", "shop"])
    assert (made["slug"], made["tags"], made["version"], made["item_count"]) == ("questions", ["shop"], None, 0)
    url = f"{DATASETS}/{made['id']}"
    read = editor.client.get(url)
    assert read.json()["data"] == made
    assert editor.client.get(url, headers={"If-None-Match": read["ETag"]}).status_code == 304
    changed = editor.client.patch(url, {"name": "Other"}, headers={"If-Match": read["ETag"]})
    assert changed.json()["data"]["name"] == "Other"
    assert editor.client.patch(url, {"name": "Late"}, headers={"If-Match": read["ETag"]}).status_code == 412
    assert editor.client.put(url, {"name": "Whole"}).json()["data"]["description"] == ""
    assert editor.client.delete(url).status_code == 403
    assert admin.client.delete(url).status_code == 204
    assert editor.client.get(url).status_code == 404
    assert [one["id"] for one in editor.client.get(f"{DATASETS}?deleted=true").json()["data"]] == [made["id"]]
    assert admin.client.post(f"{url}/restore", {}).status_code == 200
    assert editor.client.get(f"{DATASETS}?search=whole&ordering=-name&tag=none").json()["data"] == []
    assert not DatasetVersion.objects.exists()


def test_slugs_are_unique_and_an_idempotency_key_makes_one(create, editor):
    create(slug="one")
    assert create(slug="one", status=409)["details"] == {"slug": "Another dataset has this slug."}
    answers = [editor.client.post(DATASETS, {"name": "Two"}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert Dataset.objects.count() == 2


def test_each_write_makes_one_version_and_a_write_of_nothing_none(add, items, dataset, editor, admin):
    first = add(q("one"), q("two", expected=None, metadata={"n": 1}, split="test"), message="Begin")
    assert first == {"version": 1, "changed_count": 2, "duplicate_count": 0, "item_count": 2}
    assert add(q("one"))["version"] == 1
    one, two = items()
    assert ("expected" in one, two["expected"], two["metadata"], two["split"]) == (False, None, {"n": 1}, "test")
    url = f"{DATASETS}/{dataset['id']}/items"
    changed = editor.client.patch(f"{url}/{one['id']}", {"expected": 4}).json()["data"]
    assert (changed["input"], changed["expected"], changed["since_version"]) == ({"q": "one"}, 4, 2)
    assert editor.client.patch(f"{url}/{changed['id']}", {"expected": 4}).json()["data"] == changed
    assert [item["id"] for item in items()] == [changed["id"], two["id"]]
    assert [item["id"] for item in items("?version=1")] == [one["id"], two["id"]]
    assert editor.client.get(f"{url}/{one['id']}").json()["data"]["until_version"] == 2
    assert editor.client.patch(f"{url}/{one['id']}", {"expected": 5}).status_code == 409
    replaced = editor.client.put(f"{url}/{changed['id']}", q("uno")).json()["data"]
    assert "expected" not in replaced
    assert editor.client.delete(f"{url}/{two['id']}").status_code == 204
    gone = editor.client.post(f"{url}/delete", {"ids": [one["id"], two["id"]]}).json()["data"]
    assert gone == {"version": 4, "changed_count": 0, "duplicate_count": 0, "item_count": 1}
    versions = editor.client.get(f"{DATASETS}/{dataset['id']}/versions").json()["data"]
    assert [(one["version_number"], one["item_count"], one["message"]) for one in versions] == [
        (4, 1, "Deleted an item"),
        (3, 2, "Changed an item"),
        (2, 2, "Changed an item"),
        (1, 2, "Begin"),
    ]
    for version in DatasetVersion.objects.all():
        assert DatasetItem.objects.of_version(version).count() == version.item_count
    told = AuditEntry.objects.filter(content_type__model="datasetversion", actor=editor.user)
    assert told.count() == 4


def test_duplicates_are_left_out_or_kept(add):
    assert add(q("a"), q("a"), {"input": {"q": "a"}, "expected": None})["duplicate_count"] == 1
    assert add({"input": {"q": "b", "r": 1}})["changed_count"] == 1
    assert add({"input": {"r": 1, "q": "b"}})["duplicate_count"] == 1
    assert add(q("a"), on_duplicate="keep") == {
        "version": 3, "changed_count": 1, "duplicate_count": 0, "item_count": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ("text", "items.0"),
        ({}, "items.0.input"),
        ({"input": None}, "items.0.input"),
        ({"input": 1, "metadata": []}, "items.0.metadata"),
        ({"input": 1, "split": 7}, "items.0.split"),
        ({"input": 1, "split": "s" * 51}, "items.0.split"),
        ({"input": 1, "answer": 2}, "items.0.answer"),
        ({"input": "x" * 300_000}, "items.0"),
    ],
)
def test_bad_items_are_refused_by_their_place(add, item, path):
    assert list(add(item, status=400)["details"]) == [path]
    assert not DatasetVersion.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b'{"items":[{"input":"a\\u0000"}]}',
        b'{"items":[{"input":"\\ud800"}]}',
        b'{"items":[{"input":NaN}]}',
        b'{"items":[{"input":1e400}]}',
        b'{"items":[{"input":' + b"[" * 100 + b"]" * 100 + b"}]}",
        b'{"items":[]}',
        b'{"items":{"input":1}}',
        b'{"items":[{"input":1}],"on_duplicate":"maybe"}',
    ],
)
def test_what_cannot_be_stored_is_refused(editor, dataset, body):
    answer = editor.client.post(f"{DATASETS}/{dataset['id']}/items", body, content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert not DatasetItem.objects.exists()


def test_items_fit_the_schemas_and_other_schemas_fit_the_items(create, add, editor):
    made = create(slug="strict", input_schema=QUESTION, expected_schema={"type": "number"})
    refused = add(q("a", expected="four"), {"input": {"r": 1}}, of=made, status=400)
    assert set(refused["details"]) == {"items.0.expected", "items.1.input.q", "items.1.input.r"}
    assert add(q("a", expected=4), q("b"), of=made)["version"] == 1
    url = f"{DATASETS}/{made['id']}"
    answer = editor.client.patch(url, {"input_schema": {"type": "string"}, "name": "No"})
    assert set(answer.json()["error"]["details"]) == {"items.0.input", "items.1.input"}
    assert editor.client.get(url).json()["data"]["name"] == "Questions"
    changed = editor.client.patch(url, {"expected_schema": None}).json()["data"]
    assert (changed["version"], changed["item_count"]) == (2, 2)
    assert editor.client.patch(url, {"expected_schema": None}).json()["data"]["version"] == 2
    first = editor.client.get(f"{url}/versions/1").json()["data"]
    assert (first["expected_schema"], first["input_schema"]) == ({"type": "number"}, QUESTION)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ([], "input_schema"),
        ({"type": "nonsense"}, "input_schema.type"),
        ({"properties": {"a": {"pattern": "(a+)+"}}}, "input_schema.properties.a.pattern"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "input_schema.$defs.a"),
    ],
)
def test_a_schema_that_is_none_or_costs_too_much_is_refused(create, schema, path):
    assert list(create(input_schema=schema, status=400)["details"]) == [path]


def test_lists_filter_search_and_page_by_position(add, items, editor, dataset):
    add(*[q(f"question {n}", expected=f"answer {n}", split="test" if n % 2 else "train") for n in range(7)])
    assert [item["input"]["q"] for item in items("?split=test")] == ["question 1", "question 3", "question 5"]
    assert [item["input"]["q"] for item in items("?search=ANSWER%203")] == ["question 3"]
    url, seen, cursor = f"{DATASETS}/{dataset['id']}/items?per_page=3", [], ""
    while cursor is not None:
        answer = editor.client.get(f"{url}&cursor={cursor}" if cursor else url).json()
        seen += [item["input"]["q"] for item in answer["data"]]
        cursor = answer["meta"]["next_cursor"]
    assert seen == [f"question {n}" for n in range(7)]
    assert [item["input"]["q"] for item in items("?per_page=2&page=4")] == ["question 6"]
    for bad in ("?cursor=x", "?cursor=1&page=1", "?version=0", "?nonsense=1"):
        assert editor.client.get(f"{DATASETS}/{dataset['id']}/items{bad}").status_code == 400
    assert editor.client.get(f"{DATASETS}/{dataset['id']}/items?version=9").status_code == 404


def test_a_diff_counts_and_pages_what_was_added_removed_and_changed(add, items, editor, dataset):
    add(q("a"), q("b"), q("c"))
    a, b, _ = items()
    url = f"{DATASETS}/{dataset['id']}"
    editor.client.patch(f"{url}/items/{a['id']}", {"expected": 1})
    editor.client.delete(f"{url}/items/{b['id']}")
    add(q("d"), q("e"))

    def diff(query):
        answer = editor.client.get(f"{url}/versions/4/diff{query}")
        assert answer.status_code == 200, answer.content
        return answer.json()["data"]

    whole = diff("?with=1")
    assert whole["counts"] == {"added": 2, "removed": 1, "changed": 1}
    assert [change["change"] for change in whole["changes"]] == ["changed", "removed", "added", "added"]
    changed = whole["changes"][0]
    assert ("expected" in changed["before"], changed["after"]["expected"]) == (False, 1)
    assert [one["after"]["input"]["q"] for one in diff("?with=1&change=added&per_page=1&page=2")["changes"]] == ["e"]
    assert diff("")["counts"] == {"added": 2, "removed": 0, "changed": 0}
    first = editor.client.get(f"{url}/versions/1/diff").json()["data"]
    assert (first["from_version"], first["counts"]["added"]) == (None, 3)
    backwards = editor.client.get(f"{url}/versions/1/diff?with=4").json()["data"]
    assert backwards["counts"] == {"added": 1, "removed": 2, "changed": 1}
    for bad, status in (("?with=9", 404), ("?change=other", 400), ("?with=x", 400)):
        assert editor.client.get(f"{url}/versions/1/diff{bad}").status_code == status


def test_splits_follow_the_content_and_stay_when_items_are_added(add, items, editor, dataset):
    add(*[q(f"{n}") for n in range(400)])
    url = f"{DATASETS}/{dataset['id']}/splits"
    body = {"shares": {"train": 0.8, "test": 0.2}, "seed": "s"}
    done = editor.client.post(url, body).json()["data"]
    assert done == {"version": 2, "changed_count": 400, "duplicate_count": 0, "item_count": 400}
    assert editor.client.post(url, body).json()["data"] == {**done, "changed_count": 0}

    def splits():
        return {
            item.input["q"]: item.split
            for item in DatasetItem.objects.filter(dataset_id=dataset["id"]).current().order_by("position")
        }

    before = splits()
    # Three standard deviations of a binomial of 400 and 0.8: 24.
    assert 296 <= sum(split == "train" for split in before.values()) <= 344
    assert list(before) == [f"{n}" for n in range(400)]
    add(*[q(f"new {n}") for n in range(50)])
    assert editor.client.post(url, {**body, "shares": {"train": 80, "test": 20}}).json()["data"]["changed_count"] == 50
    assert splits().items() >= before.items()
    for bad in ({}, {"train": 0}, {"train": True}, {"": 1}, {"t" * 51: 1}, {"train": -1}, []):
        assert editor.client.post(url, {"shares": bad}).status_code == 400


def test_a_write_may_demand_the_state_it_knows(add, items, editor, dataset):
    url = f"{DATASETS}/{dataset['id']}"
    tag = editor.client.get(url)["ETag"]
    add(q("a"), headers={"If-Match": tag})
    add(q("b"), headers={"If-Match": tag}, status=412)
    one = f"{url}/items/{items()[0]['id']}"
    own = editor.client.get(one)["ETag"]
    assert editor.client.patch(one, {"split": "x"}, headers={"If-Match": '"other"'}).status_code == 412
    assert editor.client.patch(one, {"split": "x"}, headers={"If-Match": own}).status_code == 200


def test_items_of_another_dataset_or_organization_are_unknown(add, items, create, editor, outsider, dataset):
    add(q("a"))
    item = items()[0]["id"]
    other = create(slug="other")
    assert editor.client.get(f"{DATASETS}/{other['id']}/items/{item}").status_code == 404
    gone = editor.client.post(f"{DATASETS}/{other['id']}/items/delete", {"ids": [item]}).json()["data"]
    assert gone["changed_count"] == 0
    for method, path in (("get", ""), ("get", f"/{item}"), ("delete", f"/{item}"), ("post", "")):
        answer = getattr(outsider.client, method)(
            f"{DATASETS}/{dataset['id']}/items{path}", *([{"items": [q("z")]}] if method == "post" else [])
        )
        assert answer.status_code == 404
    assert len(items()) == 1


PARTS = {
    "$defs": {
        "name": {"type": "string", "maxLength": 3},
        "any": {"anyOf": [{"$ref": "#/$defs/name"}, {"type": "null"}]},
    },
    "type": "object",
    "properties": {
        "a": {"$ref": "#/$defs/name"},
        "b": {"type": "array", "prefixItems": [{"const": 1}], "items": {"$ref": "#/$defs/any"}},
        "c": {"$schema": "https://json-schema.org/draft/2020-12/schema", "not": {"type": "string"}},
        "d": False,
    },
    "if": {"required": ["a"]},
    "then": {"required": ["b"]},
    "additionalProperties": {"oneOf": [{"minimum": 5, "type": "integer"}, {"maximum": 7, "type": "integer"}]},
}  # fmt: skip
_SAID = st.sampled_from(["abc", "long", 1, 6, None, [1, "abc"], [2, "long", None], {}])


@settings(max_examples=40)
@given(values=st.lists(st.dictionaries(st.sampled_from("abcde"), _SAID, max_size=4) | _SAID, min_size=2, max_size=6))
def test_a_checker_of_many_values_says_of_each_what_the_library_says(values):
    checker, stock = Checker(PARTS), Draft202012Validator(PARTS)
    for value in values:
        assert bool(checker.problems(value, "at")) is not stock.is_valid(value)
        assert checker.problems(value, "at") == Checker(PARTS).problems(value, "at")


def test_what_a_checker_does_is_counted_anew_for_each_value():
    checker = Checker({"items": {"enum": ["x" * 60_000, 1]}})  # each one is priced as 1,200 checks of 300,000
    for _ in range(3):
        assert not checker.problems([1] * 200, "input")
    assert list(checker.problems([1] * 300, "input")) == ["input"]
    assert not checker.problems([1], "input")


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_make_a_version_each(create, editor):
    made = create()
    url = f"{DATASETS}/{made['id']}"

    def write(client, n):
        if n % 3 == 0:
            file = SimpleUploadedFile("items.csv", b"q\n%d\nboth\n" % n)
            return client.post(f"{url}/import", {"file": file}, format="multipart")
        if n % 3 == 1:
            return client.post(f"{url}/items", {"items": [q(f"{n}"), q("both")]})
        return client.patch(url, {"input_schema": {"type": "object", "maxProperties": n}})

    codes = at_once(editor, 9, write)
    assert (codes.count(200), codes.count(201)) == (6, 3)
    versions = list(DatasetVersion.objects.order_by("version_number"))
    assert [version.version_number for version in versions] == list(range(1, len(versions) + 1))
    for version in versions:
        assert DatasetItem.objects.of_version(version).count() == version.item_count
    items = list(DatasetItem.objects.current().order_by("position"))
    assert sorted(item.input["q"] for item in items) == sorted(["0", "3", "6", "1", "4", "7", "both"])
    assert len({item.position for item in items}) == len(items)
