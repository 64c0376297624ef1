"""What the endpoints answer is what the executions themselves add up to."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from apps.analytics.rollups.cubes import cube_of
from apps.executions.models import Execution
from apps.models.models import LLMModel
from apps.prompts.models import Prompt
from apps.users.models import ApiKey
from tests.analytics.making import START, make_executions, make_scores, make_world

pytestmark = pytest.mark.django_db

DAYS = timedelta(days=10)
RANGE = {"from": START.isoformat(), "to": (START + DAYS).isoformat()}
COUNTS = (
    "requests", "errors", "cancelled", "cached", "unpriced", "input_tokens", "cached_input_tokens",
    "cache_write_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip
SUMS = """
    count(*), count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'cancelled'),
    count(*) FILTER (WHERE is_cached),
    count(*) FILTER (WHERE cost_usd IS NULL AND input_tokens IS NOT NULL AND NOT is_cached),
    coalesce(sum(input_tokens), 0), coalesce(sum(cached_input_tokens), 0), coalesce(sum(cache_write_tokens), 0),
    coalesce(sum(output_tokens), 0), coalesce(sum(reasoning_tokens), 0),
    coalesce(sum(cost_usd), 0), coalesce(sum(saved_cost_usd), 0), avg(latency_ms), count(first_token_ms),
    percentile_disc(array[0.5, 0.9, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms)
"""
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu"]


@pytest.fixture
def world(admin):
    return make_world(admin)


@pytest.fixture
def executions(admin, world):
    return make_executions(admin, world, count=600, start=START, length=DAYS)


def ask(person, path: str, **parameters: Any) -> Any:
    answer = person.client.get(f"/api/v1/analytics/{path}", {**RANGE, **parameters})
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


def direct(person, start: datetime, end: datetime, condition: str = "true", values: tuple = ()) -> dict[str, Any]:
    """The same sums from the executions themselves."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {SUMS} FROM executions_execution "  # noqa: S608 (our own words)
            f"WHERE organization_id = %s AND created_at >= %s AND created_at < %s AND {condition}",
            [person.organization.id, start, end, *values],
        )
        row = cursor.fetchone()
    found = dict(zip(COUNTS, row, strict=False))
    found |= {"cost_usd": row[10], "saved_cost_usd": row[11], "mean_ms": row[12], "first_tokens": row[13]}
    return found | {"percentiles": row[14]}


def check(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {name: found[name] for name in COUNTS} == {name: expected[name] for name in COUNTS}
    assert Decimal(found["cost_usd"]) == expected["cost_usd"]
    assert Decimal(found["saved_cost_usd"]) == expected["saved_cost_usd"]
    assert found["succeeded"] == expected["requests"] - expected["errors"] - expected["cancelled"]
    assert found["first_token"]["n"] == expected["first_tokens"]
    latency = found["latency"]
    if not expected["requests"]:
        assert latency == {"n": 0, "mean_ms": None, "p50_ms": None, "p90_ms": None, "p95_ms": None, "p99_ms": None}
        return
    assert latency["mean_ms"] == pytest.approx(float(expected["mean_ms"]))
    shown = [latency[f"p{share}_ms"] for share in (50, 90, 95, 99)]
    assert shown == pytest.approx(expected["percentiles"], rel=0.02)


def test_the_overview_sums_up_a_range_and_the_one_before(admin, executions):
    middle = START + timedelta(days=5)
    answer = ask(admin, "overview", **{"from": middle.isoformat(), "compare": "previous"})
    now, before = direct(admin, middle, START + DAYS), direct(admin, START, middle)
    check(answer["totals"], now)
    check(answer["previous"], before)
    assert (answer["previous_from"], answer["previous_to"]) == ("2026-10-20T00:00:00Z", "2026-10-25T00:00:00Z")
    assert answer["percentile_error"] == 0.02
    assert answer["change"]["requests"] == pytest.approx(now["requests"] / before["requests"] - 1)
    assert answer["change"]["cost_usd"] == pytest.approx(float(now["cost_usd"] / before["cost_usd"]) - 1)


def test_a_success_rate_knows_its_noise(admin, world, executions):
    rate = ask(admin, "overview")["totals"]["success_rate"]
    expected = direct(admin, START, START + DAYS)
    n = expected["requests"] - expected["cancelled"]
    assert (rate["n"], rate["value"]) == (n, pytest.approx(1 - expected["errors"] / n))
    assert 0 < rate["low"] < rate["value"] < rate["high"] < 1
    assert rate["high"] - rate["low"] == pytest.approx(
        2 * 1.96 * (rate["value"] * (1 - rate["value"]) / n) ** 0.5, 0.05
    )


def test_nothing_is_zero_requests_and_no_percentile(admin):
    totals = ask(admin, "overview", compare="previous")
    check(totals["totals"], direct(admin, START, START + DAYS))
    assert totals["totals"]["success_rate"] == {"n": 0, "value": None, "low": None, "high": None}
    assert set(totals["change"].values()) == {None}
    assert ask(admin, "breakdown")["groups"] == []
    assert ask(admin, "quality")["scores"] == []
    assert ask(admin, "latency")["latency"]["bars"] == []


@pytest.mark.parametrize("interval", ["hour", "day", "week", "month"])
def test_every_interval_is_there_with_its_own_executions(admin, executions, subtests, interval):
    for zone in ZONES:
        with subtests.test(zone):
            answer = ask(admin, "timeseries", interval=interval, timezone=zone)
            assert answer["interval"] == interval
            (series,) = answer["series"]
            points = series["points"]
            starts = [datetime.fromisoformat(point["start"]) for point in points]
            assert starts[0] == START
            assert datetime.fromisoformat(points[-1]["end"]) == START + DAYS
            assert all(one["end"] == following["start"] for one, following in pairwise(points))
            assert sum(point["requests"] for point in points) == len(executions)
            some = points if interval != "hour" else points[:: len(points) // 20]
            for point in some:
                check(point, direct(admin, point["start"], point["end"]))
                local = datetime.fromisoformat(point["local_start"])
                assert local == datetime.fromisoformat(point["start"])
                assert local.utcoffset() == local.astimezone(ZoneInfo(zone)).utcoffset()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Berlin", "2026-10-25", 25), ("America/New_York", "2026-11-01", 25), ("Asia/Kolkata", "2026-10-25", 24)],
)
def test_the_hours_of_a_day_on_which_the_clock_changes(admin, executions, zone, day, hours):
    following = (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
    answer = ask(admin, "timeseries", interval="hour", timezone=zone, to=following, **{"from": day})
    assert len(answer["series"][0]["points"]) == hours
    (whole,) = ask(admin, "timeseries", interval="day", timezone=zone, to=following, **{"from": day})["series"][0][
        "points"
    ]
    assert whole["requests"] == sum(point["requests"] for point in answer["series"][0]["points"])


def test_minutes_and_odd_ends_come_from_the_executions_themselves(admin, executions):
    start, end = START + timedelta(days=1, minutes=7, seconds=13), START + timedelta(days=1, hours=5, seconds=59)
    answer = ask(admin, "timeseries", interval="minute", to=end.isoformat(), **{"from": start.isoformat()})
    points = answer["series"][0]["points"]
    assert sum(point["requests"] for point in points) == direct(admin, start, end)["requests"] > 0
    for point in points:
        if point["requests"]:
            check(point, direct(admin, point["start"], point["end"]))


COLUMNS = {
    "prompt": "prompt_id", "version": "prompt_version_id", "model": "model_id", "status": "status",
    "source": "source", "user": "created_by_id", "api_key": "api_key_id", "ab_test": "ab_test_id",
    "ab_variant": "nullif(ab_variant, '')", "workflow": "workflow_id",
}  # fmt: skip


def test_groups_are_those_of_the_executions(admin, executions, subtests):
    for dimension, column in COLUMNS.items():
        with subtests.test(dimension):
            answer = ask(admin, "breakdown", group_by=dimension, limit=100)
            assert answer["rest"] is None
            assert answer["group_count"] == len(answer["groups"]) > 1
            for row in answer["groups"]:
                (part,) = row["group"]
                expected = direct(
                    admin, START, START + DAYS, f"{column}::text IS NOT DISTINCT FROM %s", (part["value"],)
                )
                check(row, expected)
                assert row["request_share"] == pytest.approx(row["requests"] / 600)
            check(answer["totals"], direct(admin, START, START + DAYS))


def test_two_dimensions_and_the_rest(admin, executions):
    answer = ask(admin, "breakdown", group_by=["model", "status"], limit=2, compare="previous")
    assert (answer["group_count"], len(answer["groups"])) == (9, 2)
    shown, rest = answer["groups"], answer["rest"]
    assert shown[0]["requests"] >= shown[1]["requests"]
    assert sum(row["requests"] for row in [*shown, rest]) == 600
    assert sum(Decimal(row["cost_usd"]) for row in [*shown, rest]) == Decimal(answer["totals"]["cost_usd"])
    assert [part["dimension"] for part in shown[0]["group"]] == ["model", "status"]
    assert shown[0]["previous"]["requests"] == 0
    check(
        shown[0],
        direct(
            admin, START, START + DAYS, "model_id = %s AND status = %s", tuple(p["value"] for p in shown[0]["group"])
        ),
    )


def test_providers_and_tags_are_those_of_models_and_prompts(admin, world, executions):
    by_provider = ask(admin, "breakdown", group_by="provider")["groups"]
    for row in by_provider:
        models = list(LLMModel.objects.filter(provider_id=row["group"][0]["value"]).values_list("id", flat=True))
        check(row, direct(admin, START, START + DAYS, "model_id = ANY(%s)", (models,)))
    answer = ask(admin, "breakdown", group_by="tag", limit=100)
    found = {row["group"][0]["value"]: row["requests"] for row in answer["groups"]}
    of = {prompt.slug: sum(e.prompt_id == prompt.id for e in executions) for prompt in world.prompts}
    assert found == {
        "support": of["prompt-0"] + of["prompt-1"],
        "german": of["prompt-0"],
        None: 600 - of["prompt-0"] - of["prompt-1"],
    }
    assert answer["totals"]["requests"] == 600


def test_the_top_is_ordered_by_its_measure(admin, executions, subtests):
    for measure in ("requests", "errors", "cost_usd", "tokens", "latency_p95_ms", "error_rate"):
        with subtests.test(measure):
            answer = ask(admin, "top", group_by=["source"], by=measure, limit=3, compare="previous")
            assert answer["group_count"] == 6
            assert [row["rank"] for row in answer["groups"]] == [1, 2, 3]
            values = [row["value"] for row in answer["groups"]]
            assert measure == "error_rate" or values == sorted(values, reverse=True)
            for row in answer["groups"]:
                expected = direct(admin, START, START + DAYS, "source = %s", (row["group"][0]["value"],))
                assert row["requests"] == expected["requests"]
                if measure == "tokens":
                    assert row["value"] == sum(expected[name] for name in COUNTS if name.endswith("_tokens"))
                elif measure == "latency_p95_ms":
                    assert row["value"] == pytest.approx(expected["percentiles"][2], rel=0.02)
                elif measure != "error_rate":
                    assert row["value"] == pytest.approx(float(expected[measure]))
            assert all(row["previous_value"] in {0, None} and row["change"] is None for row in answer["groups"])


def test_one_failure_of_one_request_is_no_top(admin, world):
    rare, often = world.prompts[0].id, world.prompts[1].id
    kinds = [(often, "failed", 30), (often, "succeeded", 20), (rare, "failed", 1), (rare, "cancelled", 5)]
    for seed, (prompt_id, status, count) in enumerate(kinds, 1):
        given = {"prompt_id": prompt_id, "status": status, "error_code": "X" if status == "failed" else ""}
        make_executions(admin, world, count=count, start=START, length=DAYS, seed=seed, **given)
    rows = ask(admin, "top", by="error_rate")["groups"]
    assert [(row["group"][0]["name"], row["value"]) for row in rows] == [("prompt-1", 0.6), ("prompt-0", 1.0)]


def test_latencies_have_bars_that_count_each_once(admin, executions):
    answer = ask(admin, "latency", group_by="status")
    expected = direct(admin, START, START + DAYS)
    bars = answer["latency"]["bars"]
    assert sum(bar["count"] for bar in bars) == answer["latency"]["n"] == 600
    assert sum(bar["count"] for bar in answer["first_token"]["bars"]) == expected["first_tokens"]
    for bar in bars:
        exact = sum(bar["from_ms"] < e.latency_ms <= bar["to_ms"] for e in executions)
        near = sum(bar["from_ms"] * 0.999 < e.latency_ms <= bar["to_ms"] * 1.001 for e in executions)
        assert exact <= bar["count"] <= near or bar["from_ms"] == bar["to_ms"] == 0
    assert answer["latency"]["p95_ms"] == pytest.approx(expected["percentiles"][2], rel=0.02)
    for row in answer["groups"]:
        one = direct(admin, START, START + DAYS, "status = %s", (row["group"][0]["value"],))
        assert row["latency"]["p99_ms"] == pytest.approx(one["percentiles"][3], rel=0.02)


def test_costs_by_day_and_by_key(admin, executions):
    answer = ask(admin, "costs", interval="day", group_by="api_key", timezone="Europe/Berlin", compare="previous")
    expected = direct(admin, START, START + DAYS)
    for name in ("requests", "unpriced", "cached", "input_tokens"):
        assert answer["totals"][name] == expected[name]
    assert Decimal(answer["totals"]["cost_usd"]) == expected["cost_usd"]
    assert Decimal(answer["totals"]["saved_cost_usd"]) == expected["saved_cost_usd"] > 0
    mean = expected["cost_usd"] / (expected["requests"] - expected["unpriced"])
    assert Decimal(answer["totals"]["mean_cost_usd"]) == pytest.approx(mean, abs=Decimal("1e-12"))
    assert sum(Decimal(point["cost_usd"]) for point in answer["points"]) == expected["cost_usd"]
    for point in answer["points"]:
        assert Decimal(point["cost_usd"]) == direct(admin, point["start"], point["end"])["cost_usd"]
    found = {row["group"][0]["value"]: Decimal(row["cost_usd"]) for row in answer["groups"]}
    assert found[None] == direct(admin, START, START + DAYS, "api_key_id IS NULL")["cost_usd"]
    assert sum(found.values()) == expected["cost_usd"]
    assert Decimal(answer["groups"][0]["cost_usd"]) == max(found.values())
    assert answer["groups"][0]["cost_share"] == pytest.approx(float(max(found.values()) / expected["cost_usd"]))
    assert answer["previous"]["cost_usd"].strip("0.") == ""


def test_the_month_is_expected_to_end_as_it_began(admin, world):
    now = datetime.now(UTC)
    assert ask(admin, "costs")["forecast"] is None
    make_executions(admin, world, count=2000, start=now - timedelta(days=25), length=timedelta(days=25))
    found = ask(admin, "costs", timezone="Asia/Kathmandu")["forecast"]
    amounts = [Decimal(found[name]) for name in ("spent_usd", "low_usd", "expected_usd", "high_usd")]
    assert amounts == sorted(amounts)
    start, end = datetime.fromisoformat(found["from"]), datetime.fromisoformat(found["to"])
    assert start.astimezone(ZoneInfo("Asia/Kathmandu")).isoformat().endswith("-01T00:00:00+05:45")
    assert amounts[0] == direct(admin, start, now + timedelta(seconds=1))["cost_usd"]
    per_day = direct(admin, START - timedelta(days=999), now)["cost_usd"] / 25
    to_come = (end - now) / timedelta(days=1)
    assert float(amounts[2] - amounts[0]) == pytest.approx(float(per_day) * to_come, rel=0.25)


def test_scores_have_means_with_intervals(admin, world, executions):
    scores = make_scores(admin, executions)
    answer = ask(admin, "quality", interval="week", group_by="prompt", compare="previous")
    found = {score["name"]: score for score in answer["scores"]}
    assert list(found) == ["helpful", "quality"]
    for name, score in found.items():
        numbers = [one.number for one in scores if one.name == name]
        mean = sum(numbers) / len(numbers)
        deviation = (sum((number - mean) ** 2 for number in numbers) / (len(numbers) - 1)) ** 0.5
        assert (score["n"], score["value"]) == (len(numbers), pytest.approx(mean))
        assert score["deviation"] == pytest.approx(deviation)
        assert score["high"] - score["low"] == pytest.approx(2 * 1.968 * deviation / len(numbers) ** 0.5, rel=0.001)
        assert sum(point["n"] for point in score["points"]) == len(numbers)
        assert score["previous"]["n"] == 0
    of_prompt = {e.id for e in executions if e.prompt_id == world.prompts[1].id}
    row = next(row for row in answer["groups"] if row["group"][0]["name"] == "prompt-1")
    numbers = [one.number for one in scores if one.execution_id in of_prompt and one.name == "quality"]
    (quality,) = [score for score in row["scores"] if score["name"] == "quality"]
    assert (quality["n"], quality["value"]) == (len(numbers), pytest.approx(sum(numbers) / len(numbers)))
    assert row["success_rate"]["n"] > row["scores"][0]["n"]
    assert [score["name"] for score in ask(admin, "quality", score="quality")["scores"]] == ["quality"]


def test_filters_take_any_of_their_values(admin, world, executions):
    first, second = world.prompts[:2]
    answer = ask(admin, "overview", prompt=[first.id, second.id], status="failed", ab_variant="control")
    condition = "prompt_id = ANY(%s) AND status = 'failed' AND ab_variant = 'control'"
    expected = direct(admin, START, START + DAYS, condition, ([first.id, second.id],))
    check(answer["totals"], expected)
    assert expected["requests"] > 0
    without = direct(admin, START, START + DAYS, "prompt_id IS NULL")
    check(ask(admin, "overview", prompt="none")["totals"], without)
    assert ask(admin, "overview", tag="german", prompt=str(second.id))["totals"]["requests"] == 0
    provider = world.models[0].provider_id
    models = list(LLMModel.objects.filter(provider_id=provider).values_list("id", flat=True))
    check(
        ask(admin, "overview", provider=provider)["totals"],
        direct(admin, START, START + DAYS, "model_id = ANY(%s)", (models,)),
    )


def test_a_viewer_reads_without_the_addresses_of_others(admin, viewer, editor, world):
    world.users.append(viewer.user.id)
    make_executions(admin, world, count=60, start=START, length=DAYS)

    def names(person) -> set[str | None]:
        return {row["group"][0]["name"] for row in ask(person, "breakdown", group_by="user")["groups"]}

    assert names(admin) == {admin.user.email, viewer.user.email, None}
    assert names(viewer) == {viewer.user.email, None}
    assert names(editor) == {None}


def test_what_was_deleted_keeps_its_name(admin, world, executions):
    Prompt.objects.get(id=world.prompts[0].id).soft_delete()
    rows = ask(admin, "breakdown")["groups"]
    assert {row["group"][0]["name"] for row in rows} == {"prompt-0", "prompt-1", "prompt-2", None}
    (version,) = {
        row["group"][0]["name"]
        for row in ask(admin, "breakdown", group_by="version", prompt=world.prompts[1].id)["groups"]
    }
    assert version == "prompt-1 v1"


def test_another_organization_sees_nothing_and_no_names(admin, outsider, world, executions):
    key = ApiKey(organization=admin.organization, user=admin.user, name="secret key", scopes=[])
    key.give_secret()
    key.save()
    assert ask(outsider, "overview", prompt=world.prompts[0].id)["totals"]["requests"] == 0
    foreign = make_executions(outsider, world, count=30, start=START, length=DAYS, seed=2)
    Execution.objects.filter(id__in=[e.id for e in foreign]).update(api_key_id=key.id, created_by_id=admin.user.id)
    for dimension in ("prompt", "version", "model", "provider", "user", "api_key", "ab_test", "workflow", "tag"):
        answer = ask(outsider, "breakdown", group_by=dimension)
        assert sum(row["requests"] for row in answer["groups"]) == 30
        assert {row["group"][0]["name"] for row in answer["groups"]} == {None}
    assert {row["group"][0]["value"] for row in ask(outsider, "breakdown", group_by="tag")["groups"]} == {None}
    assert ask(admin, "overview")["totals"]["requests"] == 600


@pytest.mark.parametrize(
    ("path", "parameters", "named"),
    [
        ("overview", {"from": "yesterday"}, "from"),
        ("overview", {"from": "2026-W01-1"}, "from"),
        ("overview", {"from": "20261101T000000Z"}, "from"),
        ("overview", {"to": "2026-02-30"}, "to"),
        ("overview", {"to": "1999-12-31T23:59:59Z"}, "to"),
        ("overview", {"to": "9999-12-31T23:59:59-14:00"}, "to"),
        ("overview", {"from": "0001-01-01T00:00:00+14:00"}, "from"),
        ("overview", {"from": "2026-10-31"}, "from"),
        ("overview", {"from": ""}, "from"),
        ("overview", {"timezone": "Europe/Bonn"}, "timezone"),
        ("overview", {"timezone": "../../etc/passwd"}, "timezone"),
        ("overview", {"format": "xml"}, "format"),
        ("overview", {"compare": "next"}, "compare"),
        ("overview", {"from": "2000-01-02", "compare": "previous"}, "compare"),
        ("overview", {"prompt": "hello"}, "prompt.0"),
        ("overview", {"prompt": ["none", ""]}, "prompt.1"),
        ("overview", {"status": "done"}, "status.0"),
        ("overview", {"tag": "x" * 1000}, "tag.0"),
        ("overview", {"tag": "a\0b"}, "tag"),
        ("overview", {"tag": [str(n) for n in range(101)]}, "tag"),
        ("overview", {"interval": "day"}, "interval"),
        ("overview", {"limit": "5"}, "limit"),
        ("overview", {"from": ["2026-10-21", "2026-10-22"]}, "from"),
        ("timeseries", {"interval": "second"}, "interval"),
        ("timeseries", {"interval": "minute"}, "interval"),
        ("timeseries", {"interval": "hour", "from": "2026-01-01"}, "interval"),
        ("timeseries", {"group_by": ["prompt", "model", "status"]}, "group_by"),
        ("timeseries", {"group_by": ["prompt", "prompt"]}, "group_by"),
        ("timeseries", {"group_by": "prompt,model"}, "group_by.0"),
        ("timeseries", {"group_by": "prompt", "limit": "1000", "interval": "hour"}, "limit"),
        ("breakdown", {"limit": "0"}, "limit"),
        ("breakdown", {"limit": "1e3"}, "limit"),
        ("breakdown", {"limit": "1_0"}, "limit"),
        ("breakdown", {"limit": "9" * 30}, "limit"),
        ("breakdown", {"by": "name"}, "by"),
        ("quality", {"score": ""}, "score.0"),
    ],
)
def test_bad_input_is_named(admin, path, parameters, named):
    answer = admin.client.get(f"/api/v1/analytics/{path}", {**RANGE, **parameters})
    assert answer.status_code == 400, answer.content
    assert list(answer.json()["error"]["details"]) == [named]


@pytest.mark.parametrize("given", ["2026-10-20T02:00:00+02:00", "2026-10-20T02:00:00 02:00", "2026-10-20T02:00"])
def test_times_may_have_an_offset_or_be_of_the_time_zone(admin, given):
    answer = ask(admin, "overview", timezone="Europe/Berlin", **{"from": given})
    assert answer["from"] == "2026-10-20T00:00:00Z"


def test_the_last_day_is_meant_when_nothing_is_said(admin):
    answer = admin.client.get("/api/v1/analytics/timeseries").json()["data"]
    start, end = datetime.fromisoformat(answer["from"]), datetime.fromisoformat(answer["to"])
    assert timedelta(days=1) <= end - start < timedelta(days=1, hours=1)
    assert (start.minute, start.second, answer["interval"]) == (0, 0, "hour")
    assert abs(datetime.now(UTC) - end) < timedelta(minutes=1)


def test_more_cells_than_fit_into_memory_are_refused(admin, world):
    """Of 2,000 hours and 30 users each hour: the limit of what is shown does not make it less to add up."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_executionrollup (organization_id, cube, grain, starts_at, key, created_by_id,"
            " status, requests, cached, unpriced, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,"
            " reasoning_tokens, cost_usd, saved_cost_usd, latency_sum_ms, first_token_sum_ms, latency, first_token)"
            " SELECT %s, %s, 60, %s::timestamptz + h * interval '1 hour', md5(h || '|' || u)::uuid, md5(u::text)::uuid,"
            " 'succeeded', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\\x0101'::bytea, '\\x0101'::bytea"
            " FROM generate_series(0, 1919) h, generate_series(1, 30) u",
            [admin.organization.id, cube_of(["user"]).number, START],
        )
    given = {"interval": "hour", "group_by": "user", "limit": 5, "from": START.isoformat()}
    path = "/api/v1/analytics/timeseries"
    answer = admin.client.get(path, {**given, "to": (START + timedelta(hours=1920)).isoformat()})
    assert answer.status_code == 400, answer.content
    assert list(answer.json()["error"]["details"]) == ["group_by"]
    assert admin.client.get(path, {**given, "to": (START + timedelta(hours=20)).isoformat()}).status_code == 200


def test_what_is_late_and_what_changes_is_in_the_next_answer(admin, world, executions):
    ask(admin, "overview")
    late = make_executions(admin, world, count=5, start=START, length=timedelta(hours=1), seed=3)
    assert ask(admin, "overview")["totals"]["requests"] == 605
    Execution.objects.filter(id=late[0].id).update(cost_usd=Decimal(1000), price={})
    check(ask(admin, "overview")["totals"], direct(admin, START, START + DAYS))
