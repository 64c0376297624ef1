"""Files say what the answers say, with columns that do not depend on what there is."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from apps.prompts.models import Prompt
from tests.analytics.making import START, make_executions, make_scores, make_world

pytestmark = pytest.mark.django_db

DAYS = timedelta(days=3)
RANGE = {"from": START.isoformat(), "to": (START + DAYS).isoformat(), "compare": "previous"}
TIMES, TEXTS = {"from", "to", "start", "end"}, {"period", "local_start", "score", "prompt", "prompt_name"}
ENDPOINTS = [
    ("overview", {}),
    ("timeseries", {"interval": "day", "group_by": "prompt", "limit": 2}),
    ("breakdown", {"group_by": "prompt", "limit": 2}),
    ("latency", {"group_by": "prompt"}),
    ("latency", {}),
    ("costs", {"group_by": "prompt"}),
    ("costs", {"interval": "day"}),
    ("quality", {"interval": "day"}),
    ("quality", {"group_by": "prompt"}),
    ("top", {"by": "latency_p95_ms"}),
]


@pytest.fixture
def executions(admin):
    found = make_executions(admin, make_world(admin), count=120, start=START, length=DAYS)
    make_scores(admin, found)
    return found


def download(person, path: str, file_format: str, **parameters: Any) -> Any:
    given = {**RANGE, **parameters, "format": file_format}
    if path == "latency":
        del given["compare"]
    answer = person.client.get(f"/api/v1/analytics/{path}", given)
    assert answer.status_code == 200, answer.getvalue()
    return answer


def read_csv(answer: Any) -> list[dict[str, str]]:
    assert answer.headers["Content-Type"] == "text/csv"
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))


def read_parquet(answer: Any) -> pa.Table:
    assert answer.headers["Content-Type"] == "application/vnd.apache.parquet"
    return pq.read_table(io.BytesIO(answer.getvalue()))


def as_text(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def test_both_kinds_of_files_have_the_same_rows(admin, executions, subtests):
    for path, parameters in ENDPOINTS:
        with subtests.test(path, **parameters):
            rows = read_csv(download(admin, path, "csv", **parameters))
            table = read_parquet(download(admin, path, "parquet", **parameters))
            assert rows
            assert table.column_names == list(rows[0])
            for row, typed in zip(rows, table.to_pylist(), strict=True):
                for name, value in typed.items():
                    if name.endswith("_usd"):
                        assert (Decimal(row[name]) if row[name] else None) == value, name
                    else:
                        assert row[name] == as_text(value), name


def test_columns_and_their_types_do_not_depend_on_what_there_is(admin, viewer, executions, subtests):
    for path, parameters in ENDPOINTS:
        with subtests.test(path, **parameters):
            full = read_parquet(download(admin, path, "parquet", **parameters)).schema
            nothing = {"from": "2026-01-01", "to": "2026-01-02"}
            empty = read_parquet(download(viewer, path, "parquet", **{**parameters, **nothing})).schema
            assert full.equals(empty)
            for column in full:
                if column.name.endswith("_usd"):
                    assert column.type == pa.decimal128(38, 12)
                elif column.name in TIMES:
                    assert column.type == pa.timestamp("us", tz="UTC")
                elif column.name in TEXTS:
                    assert column.type == pa.string()
                else:
                    assert column.type in {pa.int64(), pa.float64()}, column


def test_a_file_says_what_the_answer_says(admin, executions):
    given = {"interval": "day", "group_by": "prompt", "limit": 2}
    answer = admin.client.get("/api/v1/analytics/timeseries", {**RANGE, **given}).json()["data"]
    rows = read_csv(download(admin, "timeseries", "csv", **given))
    current = [row for row in rows if row["period"] == "current"]
    points = [(series["group"][0], point) for series in answer["series"] for point in series["points"]]
    assert len(current) == len(points) + len(answer["rest"])
    for row, (part, point) in zip(current, points, strict=False):
        assert (row["prompt"], row["prompt_name"]) == (part["value"] or "", part["name"] or "")
        assert (row["start"], row["local_start"]) == (point["start"], point["local_start"])
        assert (int(row["requests"]), row["cost_usd"]) == (point["requests"], point["cost_usd"])
        assert row["latency_p95_ms"] == str(point["latency"]["p95_ms"])
        assert row["success_rate_low"] == str(point["success_rate"]["low"])
    assert {row["prompt_name"] for row in current[len(points) :]} == {"(rest)"}
    assert sum(int(row["requests"]) for row in current) == len(executions)
    assert len(rows) == 2 * len(current)


def test_names_are_no_formulas(admin, executions):
    Prompt.objects.filter(slug="prompt-0").update(slug="=1+1")
    rows = read_csv(download(admin, "breakdown", "csv"))
    assert "'=1+1" in {row["prompt_name"] for row in rows}
    table = read_parquet(download(admin, "breakdown", "parquet"))
    assert "=1+1" in table.column("prompt_name").to_pylist()


def test_a_file_has_a_name(admin, executions):
    answer = download(admin, "overview", "parquet")
    expected = 'attachment; filename="overview-20261020T0000-20261023T0000.parquet"'
    assert answer.headers["Content-Disposition"] == expected
