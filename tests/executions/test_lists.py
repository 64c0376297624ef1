"""Lists of executions: filters by everything recorded, paging by key, and scores."""

from datetime import timedelta
from itertools import cycle
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from apps.executions import pagination
from apps.executions.keys import id_bound, time_of
from apps.executions.models import Execution, Score
from apps.executions.partitions import ensure_partitions_between
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


FILTERED_COLUMNS = [
    "prompt_id", "prompt_version_id", "model_id", "provider_model", "api_key_id", "unit_id", "status", "source",
    "finish_reason",
]  # fmt: skip


def test_filters_by_a_value(two, ids, subtests):
    for name in FILTERED_COLUMNS:
        with subtests.test(name):
            first = Execution.objects.get(id=two[0])
            assert ids(**{name: str(getattr(first, name))}) == [two[0]]


FILTERS = [
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
]


def test_filters(two, ids, subtests):
    for query, found in FILTERS:
        with subtests.test(str(query)):
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


def test_statements_of_a_list_are_two_where_the_month_fills_the_page(
    execute, prompt, editor, django_assert_num_queries
):
    for _ in range(3):
        execute(prompt)
    with django_assert_num_queries(2):
        editor.client.get(EXECUTIONS, {"per_page": 2})
    with django_assert_num_queries(4):
        editor.client.get(EXECUTIONS)


@pytest.fixture
def of_all_times(organization):
    """Keys of executions of a decade, newest first; most of them in no month's partition."""
    this_month = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ensure_partitions_between(this_month - timedelta(days=100), this_month)
    times = [
        timezone.now() + timedelta(days=4000),
        timezone.now(),
        this_month,
        *(this_month - timedelta(milliseconds=1), this_month - timedelta(days=45), this_month - timedelta(days=99)),
        *(this_month - timedelta(days=days) for days in (400, 2000, 3650)),
    ]
    keys = [UUID(int=id_bound(time).int + number) for number, time in enumerate(times)]
    Execution.objects.bulk_create(
        Execution(
            id=key,
            organization_id=organization.id,
            created_at=time_of(key),
            unit_id="u",
            status=status,
            finished_at=None if status == "queued" else time_of(key),
            error_code="TIMEOUT" * (status == "failed"),
        )
        for key, status in zip(keys, cycle(["queued", "failed", "cancelled"]), strict=False)
    )
    return keys


@pytest.mark.parametrize("per_page", [1, 2, 4, 8])
@pytest.mark.parametrize(("query", "step"), [({}, 1), ({"status": "failed"}, 3), ({"min_attempt_count": "0"}, 1)])
def test_pages_go_through_all_months_in_order(of_all_times, listed, query, step, per_page):
    wanted = [str(key) for key in of_all_times][1 if step == 3 else 0 :: step]
    seen, meta = [], {"next_cursor": None}
    while not seen or meta["next_cursor"]:
        body = listed(**query, per_page=per_page, **({"cursor": meta["next_cursor"]} if seen else {}))
        meta = body["meta"]
        seen += [row["id"] for row in body["data"]]
        assert len(body["data"]) == per_page or meta["next_cursor"] is None
    assert seen == wanted
    assert (meta["total"], meta["total_is_exact"]) == (len(wanted), True)


def test_pages_by_number_are_the_same_as_by_cursor(of_all_times, ids):
    assert ids(per_page=2, page=3) == [str(key) for key in of_all_times[4:6]]


def test_what_several_filters_leave_is_told_as_far_as_it_was_seen(of_all_times, listed):
    query = {"unit_id": "u", "min_attempt_count": "0"}
    first = listed(**query, per_page=4)["meta"]
    assert (first["total"], first["total_is_exact"], first["total_pages"]) == (5, False, 2)
    second = listed(**query, per_page=4, cursor=first["next_cursor"])["meta"]
    assert (second["total"], second["total_is_exact"]) == (9, False)
    last = listed(**query, per_page=4, cursor=second["next_cursor"])["meta"]
    assert (last["total"], last["total_is_exact"], last["next_cursor"]) == (9, True, None)
    assert listed(**query, status="running")["meta"]["total_is_exact"]


def test_one_filter_is_counted_on_the_first_page_up_to_a_limit(of_all_times, listed, monkeypatch):
    first = listed(unit_id="u", per_page=2)["meta"]
    second = listed(unit_id="u", per_page=2, cursor=first["next_cursor"])["meta"]
    for meta in (first, second):
        assert (meta["total"], meta["total_is_exact"]) == (9, True)
    monkeypatch.setattr(pagination, "COUNT_LIMIT", 6)
    first = listed(unit_id="u", per_page=2)["meta"]
    assert (first["total"], first["total_is_exact"]) == (6, False)
    seen = first
    for total in (6, 7, 9):
        seen = listed(unit_id="u", per_page=2, cursor=seen["next_cursor"])["meta"]
        assert seen["total"] == total


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
