"""Every way to execute a prompt goes through its live A/B test."""

import json

import pytest

from apps.executions.models import Batch, Execution, Status
from apps.executions.orchestrator.background import run_queued
from apps.prompts.labelling import move_label
from apps.prompts.models import ABAssignment, Prompt, PromptVersion
from tests.evaluations.ab_tests.conftest import make_ab_test  # noqa: F401 (a fixture)
from tests.executions.conftest import EXECUTIONS, PROMPTS
from tests.upstream import Behaviour

BATCH = f"{EXECUTIONS}/batch"
SAID = {"control": "Hello, Ada!", "candidate-1": "Dear Ada,"}


@pytest.fixture
def running(make_ab_test, prompt):  # noqa: F811
    """A running test of the prompt, half and half."""
    return make_ab_test(prompt)


@pytest.fixture
def change(django_capture_on_commit_callbacks):
    def save(row, **fields):
        for name, value in fields.items():
            setattr(row, name, value)
        with django_capture_on_commit_callbacks(execute=True):
            row.save()

    return save


def pause(change, test):
    change(test, status="paused", paused_at=test.started_at)


def stop(change, test):
    change(test, status="stopped", stopped_at=test.started_at)


def sent(upstream):
    return upstream.requests[-1].body["messages"][-1]["content"]


def told(test, execution):
    """What the answer says, which is what was stored; else None."""
    stored = Execution.objects.get(id=execution["id"])
    said = execution["ab_test"]
    if said is None:
        assert (stored.ab_test_id, stored.ab_variant, stored.ab_phase) == (None, "", None)
        return None
    assert said == {"id": str(test.id), "variant": stored.ab_variant, "phase": stored.ab_phase}
    assert stored.ab_test_id == test.id
    number = test.variants.get(name=said["variant"]).version.version_number
    assert execution["version_number"] == stored.version_number == number
    return said["variant"]


def events_of(response):
    text = b"".join(response.streaming_content).decode()
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def by_wait(editor, prompt, body):
    return editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body).json()["data"]


def by_slug(editor, prompt, body):
    return editor.client.post(f"{PROMPTS}/by-slug/{prompt['slug']}/execute", body).json()["data"]


def by_stream(editor, prompt, body):
    events = events_of(editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**body, "stream": True}))
    assert events[0]["ab_test"] == events[-1]["ab_test"]
    return events[-1]


def in_background(editor, prompt, body):
    queued = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", {**body, "mode": "async"}).json()["data"]
    run_queued(editor.organization.id)
    done = editor.client.get(f"{EXECUTIONS}/{queued['id']}").json()["data"]
    assert done["ab_test"] == queued["ab_test"]
    return done


def in_a_batch(editor, prompt, body):
    response = editor.client.post(BATCH, {"prompt_id": prompt["id"], "rows": [body]})
    assert response.status_code == 201, response.content
    run_queued(editor.organization.id)
    listed = editor.client.get(f"{EXECUTIONS}?batch_id={response.json()['data']['id']}").json()["data"]
    return listed[0]


WAYS = [by_wait, by_slug, by_stream, in_background, in_a_batch]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
def test_each_way_serves_the_units_variant_and_says_so(way, running, prompt, editor, upstream):
    found = {}
    for number in range(12):
        unit = f"user-{number}"
        body = {"variables": {"name": "Ada"}, "unit_id": unit}
        found[unit] = told(running, way(editor, prompt, body))
        assert sent(upstream) == SAID[found[unit]]
    assert set(found.values()) == set(SAID)
    rows = ABAssignment.objects.filter(test=running).values_list("unit_id", "variant")
    assert dict(rows) == found
    again = {unit: by_wait(editor, prompt, {"variables": {"name": "Ada"}, "unit_id": unit}) for unit in found}
    assert {unit: execution["ab_test"]["variant"] for unit, execution in again.items()} == found


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", [way for way in WAYS if way is not in_a_batch])
def test_an_exact_version_or_label_passes_the_test_by(way, running, prompt, editor):
    for named in ({"version": 2}, {"label": "production"}):
        body = {"variables": {"name": "Ada"}, "unit_id": "ada", **named}
        assert told(running, way(editor, prompt, body)) is None
    assert not ABAssignment.objects.exists()


def test_a_request_without_a_unit_is_a_unit_of_its_own(running, prompt, execute):
    variants = {told(running, execute(prompt)) for _ in range(30)}
    assert variants == set(SAID)
    assert not ABAssignment.objects.exists()


def test_a_variant_has_its_own_model_and_parameters(make_ab_test, make_model, prompt, execute, upstream):  # noqa: F811
    test = make_ab_test(prompt, weights=(0, 1))
    other = make_model("gpt-5", default_parameters={"top_p": 0.5, "temperature": 0.1})
    variant = test.variants.get(name="candidate-1")
    variant.model, variant.parameters = other, {"temperature": 0.7}
    variant.save()
    execution = execute(prompt, unit_id="ada")
    assert execution["model_id"] == str(other.id)
    assert execution["parameters"] == {"top_p": 0.5, "temperature": 0.7}
    assert upstream.requests[-1].body["model"] == "gpt-5"


def test_what_the_request_names_goes_first_and_is_an_exposure_all_the_same(
    make_ab_test, make_model, model, prompt, execute  # noqa: F811
):  # fmt: skip
    test = make_ab_test(prompt, weights=(0, 1))
    test.variants.filter(name="candidate-1").update(model=make_model("gpt-5"), parameters={"temperature": 0.7})
    execution = execute(prompt, unit_id="ada", model_id=str(model.id), parameters={"temperature": 0.2})
    assert told(test, execution) == "candidate-1"
    assert (execution["model_id"], execution["parameters"]) == (str(model.id), {"temperature": 0.2})


def test_a_fallback_changes_nothing_of_the_variant(make_ab_test, make_model, make_prompt, execute, upstream):  # noqa: F811
    fallback = make_model("gpt-5-nano")
    first = make_model("gpt-5", is_default=True, fallbacks=[fallback])
    test = make_ab_test(make_prompt(), weights=(0, 1))
    upstream.script([Behaviour(status=401), Behaviour(text="Saved")])
    prompt = {"id": str(test.prompt_id)}
    execution = execute(prompt, unit_id="ada")
    assert [attempt["model_id"] for attempt in execution["attempts"]] == [str(first.id), str(fallback.id)]
    assert told(test, execution) == "candidate-1"


def test_a_failure_is_recorded_for_the_variant_and_its_retry_for_none(running, prompt, execute, editor, upstream):
    upstream.script([Behaviour(status=400)])
    error = execute(prompt, unit_id="ada", status=502)
    failed = Execution.objects.get(id=error["details"]["execution_id"])
    assert (failed.status, failed.ab_test_id, failed.ab_phase) == (Status.FAILED, running.id, 1)
    again = editor.client.post(f"{EXECUTIONS}/{failed.id}/retry").json()["data"]
    assert told(running, again) is None
    assert (again["version_number"], again["unit_id"]) == (failed.version_number, "ada")


def test_a_repeated_key_answers_with_the_first_variant(running, prompt, execute):
    headers = {"Idempotency-Key": "once"}
    first = execute(prompt, headers=headers)
    for _ in range(8):
        assert execute(prompt, headers=headers)["ab_test"] == first["ab_test"]
    assert Execution.objects.count() == 1


def test_an_answer_from_the_cache_counts_for_the_variant(running, prompt, execute, upstream):
    answers = [execute(prompt, unit_id="ada", cache_ttl_s=60) for _ in range(2)]
    assert [answer["is_cached"] for answer in answers] == [False, True]
    assert len({told(running, answer) for answer in answers}) == len(upstream.requests) == 1


@pytest.mark.django_db(transaction=True)
def test_what_was_queued_before_a_stop_is_called_as_it_was_assigned(make_ab_test, prompt, editor, change, upstream):  # noqa: F811
    test = make_ab_test(prompt, weights=(0, 1))
    body = {"variables": {"name": "Ada"}, "unit_id": "ada", "mode": "async"}
    queued = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body).json()["data"]
    stop(change, test)
    run_queued(editor.organization.id)
    done = editor.client.get(f"{EXECUTIONS}/{queued['id']}").json()["data"]
    assert (done["status"], told(test, done), sent(upstream)) == ("succeeded", "candidate-1", SAID["candidate-1"])


def test_segments_decide_by_metadata(make_ab_test, prompt, execute, upstream):  # noqa: F811
    rule = {"key": "plan", "operator": "equals", "value": "pro"}
    test = make_ab_test(prompt, weights=(0, 1), segments={"include": [rule]})
    assert told(test, execute(prompt, unit_id="ada", metadata={"plan": "pro"})) == "candidate-1"
    for metadata in ({}, {"plan": "free"}, {"plan": ["pro"]}):
        assert told(test, execute(prompt, unit_id="ada", metadata=metadata)) is None
        assert sent(upstream) == SAID["control"]


def test_who_is_not_covered_gets_what_there_is_without_the_test(make_ab_test, prompt, execute, change):  # noqa: F811
    test = make_ab_test(prompt, weights=(0, 1), exposed_share=0)
    assert told(test, execute(prompt, unit_id="ada")) is None
    change(test, exposed_share=1)
    assert told(test, execute(prompt, unit_id="ada")) == "candidate-1"
    change(test, exposed_share=0)
    execution = execute(prompt, unit_id="ada")
    assert told(test, execution) is None
    assert execution["version_number"] == 1


def test_a_paused_test_gives_everybody_the_control_as_it_was_pinned(
    running, prompt, execute, change, django_capture_on_commit_callbacks
):
    variants = {unit: told(running, execute(prompt, unit_id=unit)) for unit in "abcdefgh"}
    pause(change, running)
    owner = Prompt.objects.get(id=prompt["id"])
    with django_capture_on_commit_callbacks(execute=True):
        newest = PromptVersion.objects.get(prompt=owner, version_number=2)
        move_label(owner=owner, name="production", version=newest, moved_by=None, may_move_protected=True)
    for unit in variants:
        execution = execute(prompt, unit_id=unit)
        assert told(running, execution) is None
        assert execution["version_number"] == 1
    change(running, status="running")
    assert {unit: told(running, execute(prompt, unit_id=unit)) for unit in variants} == variants
    stop(change, running)
    execution = execute(prompt, unit_id="a")
    assert told(running, execution) is None
    assert execution["version_number"] == 2


def test_a_change_of_weights_is_seen_by_the_next_new_unit(running, prompt, execute, change):
    first = told(running, execute(prompt, unit_id="ada"))
    for variant in running.variants.all():
        change(variant, weight=float(variant.name != first))
    change(running, phase=2)
    other = ({*SAID} - {first}).pop()
    for unit in "bcde":
        execution = execute(prompt, unit_id=unit)
        assert (told(running, execution), execution["ab_test"]["phase"]) == (other, 2)
    again = execute(prompt, unit_id="ada")
    assert (told(running, again), again["ab_test"]["phase"]) == (first, 1)


def test_a_known_unit_costs_no_query_more(running, prompt, execute, django_assert_num_queries, change):
    execute(prompt, unit_id="ada")
    with django_assert_num_queries(2):
        execute(prompt, unit_id="ada")
    with django_assert_num_queries(3):
        execute(prompt, unit_id="bob")
    stop(change, running)
    execute(prompt, unit_id="ada")
    with django_assert_num_queries(2):
        execute(prompt, unit_id="ada")


@pytest.mark.parametrize("unit", [1, "x" * 201, "a\x00b", ["a"], None, {"a": 1}], ids=repr)
def test_bad_units_are_refused_by_name(running, prompt, editor, unit):
    body = {"variables": {"name": "Ada"}, "unit_id": unit}
    response = editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body)
    assert response.status_code == 400
    assert list(response.json()["error"]["details"]) == ["unit_id"]
    rows = editor.client.post(BATCH, {"prompt_id": prompt["id"], "rows": [body]})
    assert rows.status_code == 400
    assert list(rows.json()["error"]["details"]) == ["rows.0.unit_id"]
    assert not ABAssignment.objects.exists()


def test_rows_of_a_batch_have_their_own_variants(running, prompt, editor, execute):
    known = told(running, execute(prompt, unit_id="user-3"))
    rows = [{"variables": {"name": "Ada"}, "unit_id": f"user-{number % 30}"} for number in range(60)]
    batch = editor.client.post(BATCH, {"slug": prompt["slug"], "rows": rows}).json()["data"]
    assert (batch["version_number"], batch["row_count"]) == (None, 60)
    assert batch["model_id"] is not None
    made = Execution.objects.filter(batch_id=batch["id"]).select_related("payload").order_by("batch_row")
    variants = {}
    for execution in made:
        assert execution.ab_test_id == running.id
        assert variants.setdefault(execution.unit_id, execution.ab_variant) == execution.ab_variant
        assert execution.payload.messages == [{"role": "user", "content": SAID[execution.ab_variant]}]
        assert execution.version_number == 1 + (execution.ab_variant == "candidate-1")
    assert set(variants.values()) == set(SAID)
    assert variants["user-3"] == known
    assert dict(ABAssignment.objects.filter(test=running).values_list("unit_id", "variant")) == variants


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", [by_wait, in_a_batch])
def test_spaces_around_a_unit_are_not_part_of_it(way, running, prompt, editor):
    way(editor, prompt, {"variables": {"name": "Ada"}, "unit_id": " ada\u2003"})
    assert editor.client.get(f"{PROMPTS}/by-slug/{prompt['slug']}?unit_id=%20ada").json()["data"]["ab_test"]
    assert ABAssignment.objects.get().unit_id == "ada"
    assert Execution.objects.get().unit_id == "ada"


def test_a_batch_that_is_refused_names_its_rows(make_ab_test, prompt, editor):  # noqa: F811
    make_ab_test(prompt, ("Dear {{name}} of {{town}}",), weights=(0, 1))
    rows = [{"variables": {"name": "Ada", "town": "Bath"}, "unit_id": "ada"}, {"variables": {"name": "Bob"}}]
    response = editor.client.post(BATCH, {"prompt_id": prompt["id"], "rows": rows})
    assert response.status_code == 400
    assert list(response.json()["error"]["details"]) == ["rows.1.town"]
    assert not Batch.objects.exists()
    assert not ABAssignment.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_failed_rows_of_several_models_are_retried_with_their_own(
    make_ab_test, make_model, model, prompt, editor, upstream  # noqa: F811
):  # fmt: skip
    test = make_ab_test(prompt)
    other = make_model("gpt-5")
    test.variants.filter(name="candidate-1").update(model=other)
    rows = [{"variables": {"name": "Ada"}, "unit_id": f"user-{number}"} for number in range(12)]
    upstream.script([Behaviour(status=400)] * 12)
    batch = editor.client.post(BATCH, {"prompt_id": prompt["id"], "rows": rows}).json()["data"]
    assert batch["model_id"] is None
    run_queued(editor.organization.id)
    Batch.objects.update(finished_at=test.started_at)
    again = editor.client.post(f"{EXECUTIONS}/batches/{batch['id']}/retry").json()["data"]
    asked = {"control": model, "candidate-1": other}
    old = Execution.objects.filter(batch_id=batch["id"])
    retried = {each.retry_of_id: each for each in Execution.objects.filter(batch_id=again["id"])}
    assert len(retried) == 12
    for execution in old:
        new = retried[execution.id]
        assert (new.model_id, new.version_number) == (asked[execution.ab_variant].id, execution.version_number)
        assert (new.ab_test_id, new.ab_variant, new.ab_phase) == (None, "", None)


def test_executions_are_found_by_test_and_variant(running, prompt, execute, editor, outsider):
    units = {unit: told(running, execute(prompt, unit_id=unit)) for unit in "abcdefgh"}
    execute(prompt, unit_id="a", version=1)
    found = editor.client.get(f"{EXECUTIONS}?ab_test_id={running.id}").json()["data"]
    assert {each["unit_id"] for each in found} == set(units)
    of_one = editor.client.get(f"{EXECUTIONS}?ab_test_id={running.id}&ab_variant=control").json()["data"]
    assert {each["unit_id"] for each in of_one} == {unit for unit, name in units.items() if name == "control"}
    assert outsider.client.get(f"{EXECUTIONS}?ab_test_id={running.id}").json()["data"] == []
    assert editor.client.get(f"{EXECUTIONS}?ab_test_id=x").status_code == 400


def test_a_prompt_may_be_called_execute(make_prompt, model, editor, viewer, outsider):
    make_prompt(slug="greet")
    made = make_prompt(slug="greet/execute", content="Run, {{name}}!")
    path = f"{PROMPTS}/by-slug/greet/execute"
    assert viewer.client.get(path).json()["data"]["id"] == made["id"]
    body = {"variables": {"name": "Ada"}}
    assert editor.client.post(path, body).json()["data"]["output"] == "You said: Hello, Ada!"
    assert editor.client.post(f"{path}/execute", body).json()["data"]["output"] == "You said: Run, Ada!"
    assert viewer.client.get(f"{path}/execute").status_code == 405
    assert editor.client.put(path, body).status_code == 405
    assert viewer.client.post(path, body).status_code == 403
    assert outsider.client.post(path, body).status_code == 404
    assert editor.client.post(f"{PROMPTS}/by-slug/No Slug/execute", body).status_code == 404
