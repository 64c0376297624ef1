"""Files into datasets: every format, what is wrong by row and column, all or nothing, and imports that survive."""

import orjson
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.evaluations.datasets.importing import driver, services
from apps.evaluations.models import (
    Dataset,
    DatasetImport,
    DatasetImportPart,
    DatasetImportRow,
    DatasetItem,
    DatasetVersion,
    ImportStatus,
)
from tests.evaluations.conftest import DATASETS

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset(make_dataset):
    return make_dataset().dataset


@pytest.fixture
def upload(editor, dataset):
    def send(content, name="items.csv", *, status=201, person=editor, into=None, headers=None, **fields):
        body = {"file": SimpleUploadedFile(name, content), **fields}
        url = f"{DATASETS}/{(into or dataset).pk}/import"
        answer = person.client.post(url, body, format="multipart", headers=headers)
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status < 300 else "error"]

    return send


@pytest.fixture
def export(editor, dataset):
    def read(query="?format=jsonl", of=None):
        answer = editor.client.get(f"{DATASETS}/{(of or dataset).pk}/export{query}")
        assert answer.status_code == 200, answer.content
        return b"".join(answer.streaming_content)

    return read


def lines(content):
    return [orjson.loads(line) for line in content.splitlines()]


CSV = b"""\xef\xbb\xbfquestion,expected,metadata.level:json,split,input.n:json,output
What?,4,2,test,1,four
"So, what?",,,,,
"""


def test_csv_by_its_header(upload, export):
    done = upload(CSV)
    assert (done["status"], done["item_count"], done["row_count"], done["version"]) == ("succeeded", 2, 2, 2)
    assert (done["read_bytes"], done["total_bytes"], done["error_code"]) == (len(CSV), len(CSV), None)
    assert lines(export()) == [
        {
            "input": {"question": "What?", "n": 1},
            "expected": "4",
            "output": "four",
            "metadata": {"level": 2},
            "split": "test",
        },
        {"input": {"question": "So, what?"}},
    ]
    assert not DatasetImportPart.objects.exists()
    assert not DatasetImportRow.objects.exists()
    assert DatasetVersion.objects.get(version_number=2).message == "Imported items.csv"


def test_columns_may_be_mapped(upload, export):
    columns = {"Q": "input", "A": "expected:json", "Id": "metadata.id", "Note": None}
    upload(b"Id,Q,A,Note,Rest\n7,What?,[4],x,y\n", columns=orjson.dumps(columns).decode())
    upload(b'{"Id": 8, "Q": {"a": 1}, "A": "[5]", "Other": 1}\n', "i.jsonl", columns=orjson.dumps(columns).decode())
    assert lines(export()) == [
        {"input": "What?", "expected": [4], "metadata": {"id": "7"}},
        {"input": {"a": 1}, "expected": [5], "metadata": {"id": 8}},
    ]


def test_openai_lines_are_conversations_and_their_answers(upload, export):
    user, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    given = [
        {"messages": [user, answer]},
        {"messages": [user, answer, user]},
        {"messages": [user, {"role": "assistant", "content": None, "tool_calls": calls}], "tools": []},
    ]
    upload(b"\n".join(map(orjson.dumps, given)), "ft.jsonl", format="openai")
    assert lines(export()) == [
        {"input": {"messages": [user]}, "expected": "Hello"},
        {"input": {"messages": [user, answer, user]}},
        {"input": {"tools": [], "messages": [user]}, "expected": {"tool_calls": calls}},
    ]


def test_openai_needs_an_answer_in_each_item(upload, export, editor, dataset):
    upload(b'{"input": "Hi", "expected": {"a": 1}}\n{"input": {"x": 1}, "output": "Yes"}\n', "i.jsonl")
    assert lines(export("?format=openai")) == [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": '{"a":1}'}]},
        {"messages": [{"role": "user", "content": '{"x":1}'}, {"role": "assistant", "content": "Yes"}]},
    ]
    upload(b'{"input": "Hm"}', "i.jsonl")
    answer = editor.client.get(f"{DATASETS}/{dataset.pk}/export?format=openai")
    assert answer.status_code == 409
    assert "1 of the items" in answer.json()["error"]["message"]


BAD = b'input,expected:json,split\nok,1,a\nb,{,a\nc,2\n"d",3,' + b"s" * 60 + b"\nfine,5,\n"


def test_errors_are_told_by_row_and_column_and_nothing_is_imported(upload):
    refused = upload(BAD, status=400)
    assert refused["message"] == "3 rows are not valid: nothing was imported."
    assert list(refused["details"]) == ["rows.2.expected:json", "rows.3", "rows.4.split"]
    assert not DatasetItem.objects.exists()
    assert not DatasetImport.objects.exists()


@pytest.mark.parametrize(
    ("content", "name", "columns", "told"),
    [
        (b"Q,question,Data:json\nlong,1,{}\n", "a.csv", None, {"Data:json.x", "Q"}),
        (b"Q,R\nlong,{}\n", "a.csv", {"Q": "input.question", "R": "input.Data:json"}, {"Q", "R.x"}),
        (b"all\n5\n", "a.csv", {"all": "input:json"}, {"all"}),
        (b'{"Q": "long"}', "a.jsonl", {"Q": "input.question"}, {"Q", "input.Data"}),
        (b'[{"Q": "long"}]', "a.json", {"Q": "input.question"}, {"Q", "input.Data"}),
        (b'{"input": {"question": "long", "Data": {"x": 1}}}', "a.jsonl", None, {"input.question"}),
    ],
)
def test_errors_against_the_schema_name_the_columns_of_the_file(upload, dataset, content, name, columns, told):
    part = {"type": "object", "required": ["x"]}
    dataset.input_schema = {
        "type": "object", "properties": {"question": {"maxLength": 3, "type": "string"}, "Data": part},
        "required": ["Data"], "additionalProperties": False,
    }  # fmt: skip
    dataset.save()
    options = {} if columns is None else {"columns": orjson.dumps(columns).decode()}
    refused = upload(content, name, status=400, **options)
    assert set(refused["details"]) == {f"rows.1.{one}" for one in told}


def test_good_rows_may_be_imported_with_a_report(upload):
    done = upload(BAD, on_error="skip")
    assert (done["item_count"], done["error_count"], done["row_count"], done["duplicate_count"]) == (2, 3, 5, 0)
    assert [(error["row"], error["column"]) for error in done["errors"]] == [
        (2, "expected:json"),
        (3, ""),
        (4, "split"),
    ]
    assert DatasetItem.objects.count() == 2


def test_a_dry_run_reports_and_stores_nothing(upload, editor, dataset):
    upload(b"input\nknown\n")
    done = upload(b"input\nknown\nnew\nnew\n" + b"x" * 300_000 + b"\n", dry_run="true")
    assert (done["status"], done["item_count"], done["duplicate_count"], done["error_count"]) == ("succeeded", 1, 2, 1)
    assert (done["version"], DatasetItem.objects.count()) == (None, 1)
    listed = editor.client.get(f"{DATASETS}/{dataset.pk}/imports?status=succeeded").json()
    assert [one["is_dry_run"] for one in listed["data"]] == [True, False]


def test_at_most_a_hundred_errors_are_shown_and_all_are_counted(upload):
    done = upload(b"input,split\n" + b"".join(b"%d,%s\n" % (n, b"s" * 51) for n in range(1500)), on_error="skip")
    assert (len(done["errors"]), done["error_count"], done["item_count"]) == (100, 1500, 0)
    assert (done["version"], DatasetVersion.objects.count()) == (None, 1)


def test_duplicates_within_the_file_and_of_the_dataset(upload):
    upload(b"input\na\n")
    assert upload(b"input\na\nb\nb\n")["duplicate_count"] == 2
    kept = upload(b"input\na\nb\n", on_duplicate="keep")
    assert (kept["item_count"], kept["duplicate_count"], kept["version"]) == (2, 0, 4)
    positions = DatasetItem.objects.current().order_by("position").values_list("input", flat=True)
    assert list(positions) == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("content", "name", "options", "field"),
    [
        (b"", "a.csv", {}, "file"),
        (b"\n", "a.csv", {}, "file"),
        (b"a,a\n1,2\n", "a.csv", {}, "file"),
        (b"expected\n1\n", "a.csv", {}, "file"),
        (b"input,input.a\n1,2\n", "a.csv", {}, "file.input.a"),
        (b"input\n\xff\n", "a.csv", {}, "file"),
        (b'input\n"a\n', "a.csv", {}, "file"),
        (b'input\n"' + b"a\n" * 700_000, "a.csv", {"on_error": "skip"}, "file"),
        (b"input\n1\n", "a.xlsx", {}, "format"),
        (b"input\n1\n", "a.csv", {"format": "xml"}, "format"),
        (b"input\n1\n", "a.csv", {"columns": '{"b": "input"}'}, "columns.b"),
        (b"input\n1\n", "a.csv", {"columns": '{"input": "answer"}'}, "columns.input"),
        (b"input\n1\n", "a.csv", {"columns": "[]"}, "columns"),
        (b"input\n1\n", "a.csv", {"columns": '{"input": "input.\\u0000"}'}, "columns.input"),
        (b"input\n1\n", "a.csv", {"nonsense": "1"}, "nonsense"),
        (b"input\n1\n", "a.csv", {"dry_run": "maybe"}, "dry_run"),
        (b"input\n1\n", "a.csv", {"message": "\x00"}, "message"),
        (b'{"input": 1}', "a.json", {}, "file"),
        (b'[{"input": 1}, {', "a.json", {"on_error": "skip"}, "file"),
        (b'[{"input": 1}] []', "a.json", {"on_error": "skip"}, "file"),
        (b'[{"input": "' + b"a" * 1_300_000, "a.json", {"on_error": "skip"}, "file"),
        (b'{"input": "' + b"a" * 1_300_000, "a.jsonl", {"on_error": "skip"}, "file"),
        (b'{"input": 1}\n', "a.jsonl", {"format": "openai", "columns": '{"a": "input"}'}, "columns"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(upload, run_jobs, content, name, options, field):
    if len(content) > services.SMALL_BYTES:
        found = DatasetImport.objects.get(pk=upload(content, name, status=202, **options)["id"])
        run_jobs()
        found.refresh_from_db()
        assert (found.status, found.error_code, found.errors[0]["column"]) == ("failed", "INVALID_FILE", field)
    else:
        assert list(upload(content, name, status=400, **options)["details"]) == [field]
    assert not DatasetItem.objects.exists()
    assert not DatasetImportPart.objects.exists()


@pytest.mark.parametrize(
    "row",
    [
        b"nonsense",
        b'"\\ud800"',
        b'{"input": "\\ud800"}',
        b'{"input": "a\\u0000"}',
        b'{"input": {"\\u0000": 1}}',
        b'{"\\u0000": 1, "input": 2}',
        b'{"input": NaN}',
        b'{"input": 1e400}',
        b'{"input": 123456789012345678901234567890}',
        b'{"input": ' + b"[" * 100 + b"]" * 100 + b"}",
        b"[1]",
        b'{"input": 1, "x": 2}',
        b'{"input": "' + b"a" * 270_000 + b'"}',
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_a_row_that_cannot_be_stored_is_an_error_of_this_row(upload, run_jobs, row, form):
    if form == "json" and row == b'{"input": "\\ud800"}':
        pytest.skip("yajl reads half of a pair as a question mark")
    content = b'{"input": "good"}\n' + row + b'\n{"input": "too"}\n'
    if form == "json":
        content = b"[" + b",".join(content.splitlines()) + b"]"
    answer = upload_any(upload, content, f"i.{form}")
    if answer["status"] == 400:  # what a parser of a whole list cannot read past
        assert form == "json"
        assert row[:1] != b"{" or b"NaN" in row
        assert list(answer["details"]) == ["file"]
        assert not DatasetItem.objects.exists()
    else:
        assert (answer["error_count"], answer["errors"][0]["row"], answer["item_count"]) == (1, 2, 2)


def test_a_list_that_is_nested_far_too_deeply_takes_no_time(upload):
    deep = b"[" * 400_000 + b"]" * 400_000
    done = upload(b'[{"input": 1}, {"input": ' + deep + b'}, {"input": [[[2]]]}]', "a.json", on_error="skip")
    assert (done["item_count"], done["errors"]) == (
        2, [{"row": 2, "column": "", "message": "Nested deeper than 64 levels."}],
    )  # fmt: skip
    nested = b"[" * 62 + b"]" * 62
    assert upload(b'[{"input": [' + nested + b"]}]", "a.json")["item_count"] == 1


@pytest.mark.parametrize(
    "extra",
    [
        {f"f{n}": "1" for n in range(1500)},
        {f"f{n}": SimpleUploadedFile("a.csv", b"1") for n in range(150)},
        {"message": "m" * 3_000_000},
    ],
    ids=["fields", "files", "length"],
)
def test_a_form_of_too_much_is_refused(upload, extra):
    upload(b"input\na\n", status=400, **extra)


def test_of_very_many_errors_of_a_row_the_first_are_kept(upload):
    row = orjson.dumps({str(key): 1 for key in range(50_000)})
    done = upload(b"\n".join([row, b"7"]), "a.jsonl", on_error="skip")
    assert (done["error_count"], len(done["errors"]), done["errors"][99]["column"]) == (2, 100, "99")


def upload_any(upload, content, name):
    try:
        return upload(content, name, on_error="skip")
    except AssertionError:
        return {**upload(content, name, on_error="skip", status=400), "status": 400}


CHARACTERS = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
TEXT = st.text(CHARACTERS, max_size=20)


def json_values(largest_float):
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63) + 1, 2**63 - 1)
        | st.floats(-largest_float, largest_float)
        | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS, max_size=8), inner, max_size=3),
        max_leaves=8,
    )


JSON = json_values(2.0**62)
# PostgreSQL's jsonb gives larger ones back as whole numbers.
METADATA = st.dictionaries(st.text("abc.:", max_size=3), json_values(2.0**53), min_size=1, max_size=3)
INPUT = st.dictionaries(st.sampled_from(["q", "", "a.b", "n:json", "=x"]), TEXT | JSON, max_size=4)
ITEM = st.fixed_dictionaries(
    {"input": JSON.filter(lambda value: value is not None) | INPUT | TEXT},
    optional={
        "expected": TEXT | JSON,
        "output": TEXT | JSON,
        "metadata": METADATA,
        "split": st.text("abc =,\n'\"", min_size=1, max_size=9),
    },
)


@settings(max_examples=2, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(ITEM, min_size=1, max_size=7))
def test_what_is_exported_is_imported_as_it_was(items, editor, organization):
    def make():
        stamp = Dataset.objects.count()
        return Dataset.objects.create(organization=organization, slug=f"s-{stamp}", name="S")

    def load(into, name, content):
        body = {"file": SimpleUploadedFile(name, content), "on_duplicate": "keep"}
        answer = editor.client.post(f"{DATASETS}/{into.pk}/import", body, format="multipart")
        assert answer.status_code == 201, answer.content
        assert answer.json()["data"]["item_count"] == len(items)
        return into

    def save(of, form):
        return b"".join(editor.client.get(f"{DATASETS}/{of.pk}/export?format={form}").streaming_content)

    first = load(make(), "a.jsonl", b"\n".join(map(orjson.dumps, items)))
    assert lines(save(first, "jsonl")) == items
    for form in ("json", "jsonl", "csv"):
        again = load(make(), f"a.{form}", save(first, form))
        assert lines(save(again, "jsonl")) == items
        hashes = DatasetItem.objects.filter(dataset=again).values_list("content_hash", flat=True)
        assert set(hashes) == set(DatasetItem.objects.filter(dataset=first).values_list("content_hash", flat=True))


def test_formulas_are_escaped_only_when_asked_for(upload, export):
    upload(b"input\n=1+1\n")
    assert export("?format=csv").splitlines()[1] == b"=1+1"
    assert export("?format=csv&escape_formulas=true").splitlines()[1] == b"'=1+1"


def test_an_export_is_of_one_version_and_split(upload, export, editor, dataset):
    upload(b"input,split\na,x\nb,y\n")
    upload(b"input\nc\n")
    assert [item["input"] for item in lines(export())] == ["a", "b", "c"]
    assert [item["input"] for item in lines(export("?version=2&split=y"))] == ["b"]
    assert orjson.loads(export("?format=json&version=1")) == []
    for bad, status in (("?format=xml", 400), ("?version=9", 404), ("?escape_formulas=1", 400)):
        assert editor.client.get(f"{DATASETS}/{dataset.pk}/export{bad}").status_code == status


def many(count, width=40):
    return b"input,expected\n" + b"".join(b"question %d,%s\n" % (n, b"a" * width) for n in range(count))


@pytest.fixture
def large():
    content = many(3000, 400)
    assert len(content) > services.SMALL_BYTES
    return content


def test_a_large_file_is_left_to_a_worker_that_shows_progress(upload, large, editor, dataset, run_jobs):
    queued = upload(large, status=202)
    url = f"{DATASETS}/{dataset.pk}/imports/{queued['id']}"
    assert (queued["status"], queued["read_bytes"], queued["total_bytes"]) == ("queued", 0, len(large))
    assert not DatasetItem.objects.exists()
    assert run_jobs() == ["import_file"]
    done = editor.client.get(url).json()["data"]
    assert (done["status"], done["item_count"], done["read_bytes"], done["version"]) == (
        "succeeded", 3000, len(large), 2,
    )  # fmt: skip
    assert editor.client.post(f"{url}/cancel", {}).status_code == 409
    assert editor.client.post(f"{url}/resume", {}).status_code == 409


def test_a_worker_that_goes_on_reads_no_row_twice(upload, large, editor, dataset, run_jobs):
    queued = upload(large, status=202)
    taken = driver.take(queued["id"])
    assert not driver.drive(taken, until=0)
    half = editor.client.get(f"{DATASETS}/{dataset.pk}/imports/{queued['id']}").json()["data"]
    assert (half["status"], half["row_count"], half["item_count"]) == ("queued", 1000, 0)
    assert 0 < half["read_bytes"] < len(large)
    assert not DatasetItem.objects.exists()
    run_jobs()
    assert DatasetItem.objects.count() == 3000
    assert list(DatasetItem.objects.order_by("position").values_list("input", flat=True)[:2]) == [
        "question 0", "question 1",
    ]  # fmt: skip


def test_an_import_whose_job_has_failed_for_good_gets_another(upload, large, run_jobs):
    queued = upload(large, status=202)
    driver.drive(driver.take(queued["id"]), until=0)
    driver.take(queued["id"])
    jobs = ProcrastinateJob.objects.filter(task_name=services.TASK)
    assert services.call_missing_jobs() == 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE task_name = %s", [services.TASK])
        assert services.call_missing_jobs() == 0
        cursor.execute("UPDATE procrastinate_jobs SET status = 'failed' WHERE task_name = %s", [services.TASK])
    assert services.call_missing_jobs() == 1
    assert services.call_missing_jobs() == 0
    assert jobs.filter(status="todo").count() == 1
    run_jobs()
    assert DatasetImport.objects.get().status == ImportStatus.SUCCEEDED
    assert DatasetItem.objects.count() == 3000
    assert services.call_missing_jobs() == 0


def test_a_cancelled_import_writes_nothing_more_and_can_be_resumed(upload, large, editor, dataset, run_jobs):
    queued = upload(large, status=202)
    url = f"{DATASETS}/{dataset.pk}/imports/{queued['id']}"
    taken = driver.take(queued["id"])
    driver.drive(taken, until=0)
    taken = driver.take(queued["id"])
    assert editor.client.post(f"{url}/resume", {}).status_code == 409
    assert editor.client.post(f"{url}/cancel", {}).json()["data"]["status"] == "cancelled"
    assert driver.drive(taken)
    run_jobs()
    assert (DatasetImportRow.objects.count(), DatasetItem.objects.count()) == (1000, 0)
    assert editor.client.post(f"{url}/cancel", {}).status_code == 409
    assert editor.client.post(f"{url}/resume", {}).json()["data"]["status"] == "queued"
    run_jobs()
    assert DatasetItem.objects.count() == 3000
    assert editor.client.get(url).json()["data"]["status"] == "succeeded"


def test_of_two_workers_only_the_later_one_writes(upload, large):
    queued = upload(large, status=202)
    early, late = driver.take(queued["id"]), driver.take(queued["id"])
    driver.drive(early)
    assert not DatasetImportRow.objects.exists()
    driver.drive(late)
    assert DatasetItem.objects.count() == 3000
    assert driver.take(queued["id"]) is None


def test_rows_are_checked_anew_when_the_schemas_change_meanwhile(upload, large, editor, dataset):
    queued = upload(large, status=202)
    driver.drive(driver.take(queued["id"]), until=0)
    answer = editor.client.patch(f"{DATASETS}/{dataset.pk}", {"input_schema": {"type": "string", "maxLength": 10}})
    assert answer.status_code == 200, answer.content
    driver.drive(driver.take(queued["id"]))
    found = DatasetImport.objects.get()
    assert (found.status, found.error_code, found.error_count) == ("failed", "INVALID_ROWS", 2990)
    assert (found.errors[0]["row"], found.errors[0]["column"]) == (11, "input")
    assert not DatasetItem.objects.exists()


def test_a_deleted_dataset_takes_nothing(upload, large, admin, editor, dataset):
    queued = upload(large, status=202)
    assert admin.client.delete(f"{DATASETS}/{dataset.pk}").status_code == 204
    driver.drive(driver.take(queued["id"]))
    assert DatasetImport.objects.get().error_code == "DATASET_DELETED"
    admin.client.post(f"{DATASETS}/{dataset.pk}/restore", {})
    url = f"{DATASETS}/{dataset.pk}/imports/{queued['id']}"
    assert editor.client.post(f"{url}/resume", {}).status_code == 200
    driver.drive(driver.take(queued["id"]))
    assert DatasetItem.objects.count() == 3000


def test_files_are_kept_for_a_day_and_are_not_too_many(upload, large, editor, dataset):
    queued = upload(large, status=202)
    url = f"{DATASETS}/{dataset.pk}/imports/{queued['id']}"
    editor.client.post(f"{url}/cancel", {})
    assert services.drop_old_files() == 0
    ended = timezone.now() - services.FILES_KEPT * 1.1
    DatasetImport.objects.update(finished_at=ended)
    assert services.drop_old_files() == 1
    assert editor.client.post(f"{url}/resume", {}).status_code == 409
    assert not DatasetImportPart.objects.exists()
    found = DatasetImport.objects.get()
    for _ in range(services.MAX_FILES):
        found.pk, found.has_file, found.status, found.finished_at = None, True, ImportStatus.QUEUED, None
        DatasetImport.objects.bulk_create([DatasetImport(**copied(found))])
    upload(large, status=409)


def copied(found):
    kept = ("organization_id", "dataset_id", "format", "on_error", "on_duplicate", "total_bytes")
    return {name: getattr(found, name) for name in kept}


def test_an_idempotency_key_imports_once(upload):
    first = upload(b"input\na\n", on_duplicate="keep", headers={"Idempotency-Key": "k"})
    again = upload(b"input\na\n", on_duplicate="keep", headers={"Idempotency-Key": "k"})
    assert first == again
    upload(b"input\nb\n", status=409, on_duplicate="keep", headers={"Idempotency-Key": "k"})
    assert DatasetItem.objects.count() == 1


def test_who_is_elsewhere_imports_nothing_here(upload, large, outsider, viewer, editor, dataset):
    queued = upload(large, status=202)
    url = f"{DATASETS}/{dataset.pk}/imports/{queued['id']}"
    upload(b"input\na\n", person=outsider, status=404)
    upload(b"input\na\n", person=viewer, status=403)
    assert outsider.client.get(url).status_code == 404
    assert outsider.client.post(f"{url}/cancel", {}).status_code == 404
    assert ProcrastinateJob.objects.count() == 1


def test_bodies_are_limited(upload, settings):
    settings.LARGER_BODIES = {"/api/v1/datasets/*/import": 1000}
    assert "1000 bytes" in upload(many(100), status=413)["message"]
