"""Lists of executions: filters by everything recorded, paging by key, and scores."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from apps.executions.keys import time_of
from apps.executions.models import Execution, Score
from tests.executions.conftest import EXECUTIONS

pytestmark = pytest.mark.django_db


@pytest.fixture
def listed(editor):
    def get(**query):
        response = editor.client.get(EXECUTIONS, query)
        assert response.status_code == 200, response.content
        return response.json()

    return get


@pytest.fixture
def ids(listed):
    return lambda **query: [row["id"] for row in listed(**query)["data"]]


def test_a_list_has_what_is_small_and_is_newest_first(execute, prompt, listed):
    answers = [execute(prompt) for _ in range(2)]
    body = listed()
    assert [row["id"] for row in body["data"]] == [answer["id"] for answer in reversed(answers)]
    large = {
        "variables",
        "messages",
        "parameters",
        "tools",
        "response_schema",
        "output",
        "tool_calls",
        "cache_ttl_s",
        "output_json",
        "attempts",
        "is_payload_purged",
    }
    assert set(answers[0]) - set(body["data"][0]) == large
    assert body["data"][1] == {name: value for name, value in answers[0].items() if name not in large}
    assert body["meta"] == {
        "page": 1,
        "per_page": 20,
        "total": 2,
        "total_pages": 1,
        "total_is_exact": True,
        "next_cursor": None,
    }


def test_pages_by_cursor_have_no_gap_and_no_repetition_while_rows_come(execute, prompt, listed):
    before = [execute(prompt)["id"] for _ in range(7)]
    seen, cursor = [], {}
    while True:
        body = listed(per_page=2, **cursor)
        seen += [row["id"] for row in body["data"]]
        execute(prompt)
        if body["meta"]["next_cursor"] is None:
            break
        cursor = {"cursor": body["meta"]["next_cursor"]}
    assert seen == before[::-1]


@pytest.fixture
def two(execute, make_prompt, make_model, model, editor):
    """Two executions that differ in everything that can be filtered by, and the values of the first."""
    failing = make_model("fault-400")
    prompt = make_prompt(model_id=str(model.id))
    first = execute(prompt, unit_id="u-1", metadata={"customer": "acme", "tier": 3, "beta": True})
    error = execute(make_prompt(model_id=str(failing.id)), status=502, unit_id="u-2", metadata={"customer": "other"})
    Execution.objects.filter(id=first["id"]).update(latency_ms=1000, api_key_id=uuid4(), source="batch")
    return first["id"], error["details"]["execution_id"]


@pytest.mark.parametrize(
    "name",
    [
        "prompt_id", "prompt_version_id", "model_id", "provider_model", "api_key_id", "unit_id", "status", "source",
        "finish_reason",
    ],
)  # fmt: skip
def test_filters_by_a_value(two, ids, name):
    first = Execution.objects.get(id=two[0])
    assert ids(**{name: str(getattr(first, name))}) == [two[0]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"error_code": "INVALID_REQUEST"}, [1]),
        ({"status": "failed"}, [1]),
        ({"min_latency_ms": "1000"}, [0]),
        ({"max_latency_ms": "999"}, [1]),
        ({"min_cost_usd": "0.000000001"}, [0]),
        ({"max_cost_usd": "0.5"}, [0]),
        ({"min_cost_usd": "0.5"}, []),
        ({"version_number": "1"}, [1, 0]),
        ({"version_number": "2"}, []),
        ({"min_attempt_count": "2"}, []),
        ({"is_streamed": "false"}, [1, 0]),
        ({"is_streamed": "true"}, []),
        ({"metadata": "customer:acme"}, [0]),
        ({"metadata": "tier:3"}, [0]),
        ({"metadata": "beta:true"}, [0]),
        ({"metadata": "beta"}, [0]),
        ({"metadata": "customer"}, [1, 0]),
        ({"metadata": "nothing"}, []),
    ],
    ids=str,
)
def test_filters(two, ids, query, found):
    assert ids(**query) == [two[index] for index in found]


def test_filters_by_time_and_author(two, ids, editor, admin):
    first, second = (time_of(UUID(each)) for each in two)
    assert ids(created_after=second.isoformat()) == [two[1]]
    assert ids(created_before=second.isoformat()) == [two[0]]
    assert (
        ids(created_after=first.isoformat(), created_before=(second + timedelta(seconds=1)).isoformat()) == [*two][::-1]
    )
    assert ids(created_after="0001-01-01T00:00:00Z", created_before="9999-12-31T00:00:00Z") == [*two][::-1]
    assert ids(created_by=str(editor.user.id)) == [*two][::-1]
    assert ids(created_by=str(admin.user.id)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "lost"),
        ("prompt_id", "1"),
        ("min_cost_usd", "free"),
        ("min_cost_usd", "NaN"),
        ("min_cost_usd", "1e400"),
        ("min_latency_ms", "-1"),
        ("version_number", "99999999999"),
        ("version_number", "1.5"),
        ("created_after", "yesterday"),
        ("is_streamed", "maybe"),
        ("cursor", "x"),
        ("unknown", "1"),
        ("unit_id", "a\0b"),
    ],
)
def test_filters_that_do_not_parse_are_named(editor, name, value):
    response = editor.client.get(EXECUTIONS, {name: value})
    assert response.status_code == 400, response.content
    assert list(response.json()["error"]["details"]) == [name]


def test_statements_of_a_list_are_two(execute, prompt, editor, django_assert_num_queries):
    for _ in range(3):
        execute(prompt)
    with django_assert_num_queries(2):
        editor.client.get(EXECUTIONS)


@pytest.mark.parametrize(
    ("body", "type_", "value"),
    [
        ({"value": 0.5}, "numeric", 0.5),
        ({"value": 3}, "numeric", 3.0),
        ({"value": True}, "boolean", True),
        ({"value": False}, "boolean", False),
        ({"value": "good"}, "categorical", "good"),
        ({"value": "It was kind.", "type": "text"}, "text", "It was kind."),
    ],
    ids=str,
)
def test_scores(execute, prompt, editor, viewer, body, type_, value):
    url = f"{EXECUTIONS}/{execute(prompt)['id']}/scores"
    response = editor.client.post(url, {"name": "quality", "comment": "so", **body})
    assert response.status_code == 201, response.content
    score = response.json()["data"]
    assert (score["type"], score["value"], score["source"]) == (type_, value, "human")
    assert score["created_by"] == str(editor.user.id)
    assert viewer.client.get(url).json()["data"] == [score]
    assert viewer.client.post(url, {"name": "quality", **body}).status_code == 403


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"value": None}, "value"),
        ({"value": []}, "value"),
        ({"value": ""}, "value"),
        ({"value": "x" * 5001}, "value"),
        ({"value": 1, "type": "boolean"}, "type"),
        ({"value": True, "type": "numeric"}, "type"),
        ({"value": 1, "type": "stars"}, "type"),
        ({"value": 1, "name": ""}, "name"),
        ({"value": 1, "source": "evaluator"}, "source"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_scores_that_are_wrong(execute, prompt, editor, body, name):
    url = f"{EXECUTIONS}/{execute(prompt)['id']}/scores"
    response = editor.client.post(url, {"name": "quality", **body})
    assert response.status_code == 400, response.content
    assert list(response.json()["error"]["details"]) == [name]
    assert not Score.objects.exists()


def test_scores_of_others_and_of_nothing(execute, prompt, editor, outsider):
    url = f"{EXECUTIONS}/{execute(prompt)['id']}/scores"
    assert outsider.client.post(url, {"name": "q", "value": 1}).status_code == 404
    assert editor.client.get(f"{EXECUTIONS}/{uuid4()}/scores").status_code == 404
    assert not Score.objects.exists()
