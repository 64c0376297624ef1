"""The response cache: by wish, of one organization, of exactly the same question."""

from decimal import Decimal

import orjson
import pytest
from django_redis import get_redis_connection

from apps.executions.models import Execution
from tests.executions.conftest import EXECUTIONS, PROMPTS
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
DAY = 86_400
BUCKETS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


def test_the_second_answer_comes_from_the_cache_and_costs_nothing(execute, prompt, upstream, editor):
    first = execute(prompt, cache_ttl_s=DAY)
    second = execute(prompt, cache_ttl_s=DAY)
    assert upstream.request_count == 1
    assert (first["is_cached"], first["saved_cost_usd"], first["cache_ttl_s"]) == (False, None, DAY)
    assert (second["is_cached"], second["status"], second["output"]) == (True, "succeeded", first["output"])
    assert second["id"] != first["id"]
    assert Decimal(second["cost_usd"]) == 0
    assert Decimal(second["saved_cost_usd"]) == Decimal(first["cost_usd"]) > 0
    assert {name: second[name] for name in BUCKETS} == dict.fromkeys(BUCKETS, 0)
    assert (second["attempts"], second["attempt_count"], second["finish_reason"]) == ([], 0, "stop")
    assert second["price"]["source"] == "cached"
    assert editor.client.get(f"{EXECUTIONS}/{second['id']}").json()["data"] == second
    found = editor.client.get(EXECUTIONS, {"is_cached": "true"}).json()["data"]
    assert [row["id"] for row in found] == [second["id"]]


def test_it_is_off_by_default_for_reading_and_for_keeping(execute, prompt, upstream):
    execute(prompt)
    execute(prompt, cache_ttl_s=DAY)
    assert execute(prompt)["is_cached"] is False
    assert upstream.request_count == 3


@pytest.mark.parametrize(
    "change",
    [
        {"variables": {"name": "Bob"}},
        {"parameters": {"temperature": 0.5}},
        {"append_messages": [{"role": "user", "content": "More."}]},
        {"model_id": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_question_is_asked(execute, prompt, make_model, upstream, change):
    execute(prompt, cache_ttl_s=DAY)
    if "model_id" in change:
        change = {"model_id": str(make_model().id)}
    assert execute(prompt, cache_ttl_s=DAY, **change)["is_cached"] is False
    assert upstream.request_count == 2


def test_the_order_of_parameters_does_not_matter(execute, prompt, upstream):
    execute(prompt, cache_ttl_s=DAY, parameters={"temperature": 1, "seed": 2})
    assert execute(prompt, cache_ttl_s=DAY, parameters={"seed": 2, "temperature": 1})["is_cached"] is True


def test_a_new_version_with_a_schema_is_another_question(execute, prompt, editor, upstream):
    execute(prompt, cache_ttl_s=DAY)
    upstream.answer_always(Behaviour(text='"fine"'))
    version = {"content": "Hello, {{name}}!", "response_schema": {"type": "string"}}
    assert editor.client.post(f"{PROMPTS}/{prompt['id']}/versions", version).status_code == 201
    assert execute(prompt, cache_ttl_s=DAY)["is_cached"] is False
    second = execute(prompt, cache_ttl_s=DAY)
    assert (second["is_cached"], second["output_json"]) == (True, "fine")


def test_organizations_never_share(execute, prompt, make_prompt, make_model, outsider, upstream):
    execute(prompt, cache_ttl_s=DAY)
    make_model(of=outsider.organization, is_default=True)
    theirs = make_prompt(outsider)
    assert execute(theirs, client=outsider.client, cache_ttl_s=DAY)["is_cached"] is False
    assert upstream.request_count == 2


def test_a_shorter_wish_does_not_take_an_older_answer(execute, prompt, upstream):
    execute(prompt, cache_ttl_s=DAY)
    redis = get_redis_connection("default")
    (name,) = redis.keys("eq:answers:*")
    from everquant.encryption import decrypt, encrypt

    entry = orjson.loads(decrypt(redis.get(name)))
    redis.set(name, encrypt(orjson.dumps({**entry, "made_at": entry["made_at"] - 100})))
    assert execute(prompt, cache_ttl_s=200)["is_cached"] is True
    assert execute(prompt, cache_ttl_s=50)["is_cached"] is False


def test_redis_holds_neither_question_nor_answer_in_clear_and_forgets_in_time(execute, prompt):
    execute(prompt, cache_ttl_s=60)
    redis = get_redis_connection("default")
    (name,) = redis.keys("eq:answers:*")
    assert b"Ada" not in name + redis.get(name)
    assert 0 < redis.ttl(name) <= 60


def test_an_answer_that_was_cut_or_failed_is_not_kept(execute, prompt, upstream):
    upstream.script([Behaviour(finish_reason="length"), Behaviour(finish_reason="content_filter"), "fault-400"])
    for status in (200, 200, 502):
        execute(prompt, status=status, cache_ttl_s=DAY)
    assert execute(prompt, cache_ttl_s=DAY)["is_cached"] is False


def test_an_answer_that_is_too_large_is_not_kept(execute, prompt, settings):
    settings.RESPONSE_CACHE_MAX_BYTES = 100
    assert [execute(prompt, cache_ttl_s=DAY)["is_cached"] for _ in range(2)] == [False, False]


def test_without_redis_nothing_is_found(execute, prompt, redis_away, upstream):
    assert [execute(prompt, cache_ttl_s=DAY)["is_cached"] for _ in range(2)] == [False, False]
    assert upstream.request_count == 2


@pytest.mark.parametrize("value", [0, -1, 2_592_001, "60", 1.5, True, []])
def test_a_wrong_ttl_is_named(execute, prompt, value):
    assert list(execute(prompt, status=400, cache_ttl_s=value)["details"]) == ["cache_ttl_s"]
    assert not Execution.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_stream_gets_it_in_one_piece(execute, prompt, editor, upstream):
    execute(prompt, cache_ttl_s=DAY)
    body = {"variables": {"name": "Ada"}, "stream": True, "cache_ttl_s": DAY}
    response = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body)
    events = b"".join(response.streaming_content).decode().strip().split("\n\n")
    kinds = [event.split("event: ")[1].split("\n")[0] for event in events]
    assert kinds == ["execution.started", "execution.delta", "execution.completed"]
    assert orjson.loads(events[1].split("data: ")[1])["text"] == "You said: Hello, Ada!"
    assert orjson.loads(events[2].split("data: ")[1])["is_cached"] is True
    assert upstream.request_count == 1


@pytest.mark.django_db(transaction=True)
def test_background_executions_use_it_too(execute, prompt, editor, upstream, run_jobs):
    execute(prompt, cache_ttl_s=DAY)
    body = {"variables": {"name": "Ada"}, "mode": "async", "cache_ttl_s": DAY}
    queued = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body).json()["data"]
    run_jobs()
    done = editor.client.get(f"{EXECUTIONS}/{queued['id']}").json()["data"]
    assert (done["is_cached"], done["status"], done["cost_usd"]) == (True, "succeeded", "0.000000000000")
    assert upstream.request_count == 1
