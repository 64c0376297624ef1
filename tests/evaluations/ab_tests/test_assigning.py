"""Variants for programs that call models themselves."""

import pytest

from apps.executions.models import Execution
from apps.prompts.models import ABAssignment, ABVariant
from tests.evaluations.ab_tests.conftest import AB_TESTS


@pytest.fixture
def running(make_ab_test, prompt):
    return make_ab_test(prompt)


@pytest.fixture
def assign(editor):
    def post(test, *, status=200, client=None, **body):
        response = (client or editor.client).post(f"{AB_TESTS}/{test.id}/assign", body)
        assert response.status_code == status, response.content
        return response.json()["data" if status == 200 else "error"]

    return post


def test_a_unit_is_told_all_that_it_takes_to_call_the_model(running, prompt, make_model, assign):
    other = make_model("gpt-5")
    ABVariant.objects.filter(test=running, name="candidate-1").update(model=other, parameters={"temperature": 0.3})
    found = {unit: assign(running, unit_id=unit) for unit in "abcdefghij"}
    for unit, told in found.items():
        is_control = told["variant"] == "control"
        assert told == {
            "test_id": str(running.id),
            "variant": told["variant"],
            "phase": 1,
            "is_exposed": True,
            "prompt_id": prompt["id"],
            "slug": prompt["slug"],
            "type": "text",
            "version_number": 1 if is_control else 2,
            "version_id": str(running.variants.get(name=told["variant"]).version_id),
            "content": "Hello, {{name}}!" if is_control else "Dear {{name}},",
            "messages": None,
            "format": "simple",
            "model_id": None if is_control else str(other.id),
            "parameters": {} if is_control else {"temperature": 0.3},
            "tools": [],
            "response_schema": None,
            "variables_schema": None,
            "variables": [{"name": "name", "type": "any", "required": True}],
        }
        assert assign(running, unit_id=unit) == told
    assert {told["variant"] for told in found.values()} == {"control", "candidate-1"}
    assert not Execution.objects.exists()


def test_the_platform_and_other_programs_give_a_unit_the_same(running, prompt, assign, execute):
    for unit in "abcdef":
        assert execute(prompt, unit_id=unit)["ab_test"]["variant"] == assign(running, unit_id=unit)["variant"]


def test_a_known_unit_costs_no_query(running, assign, django_assert_num_queries):
    assign(running, unit_id="ada")
    with django_assert_num_queries(0):
        assign(running, unit_id="ada")


def test_who_does_not_take_part_gets_what_there_is_without_the_test(make_ab_test, prompt, assign):
    rule = {"key": "plan", "operator": "equals", "value": "pro"}
    test = make_ab_test(prompt, weights=(0, 1), segments={"include": [rule]})
    assert assign(test, unit_id="ada", metadata={"plan": "pro"})["variant"] == "candidate-1"
    told = assign(test, unit_id="ada", metadata={"plan": "free"})
    assert (told["variant"], told["phase"], told["is_exposed"], told["version_number"]) == (None, None, False, 1)


def test_while_it_is_paused_everybody_gets_the_control_and_is_not_exposed(make_ab_test, prompt, assign):
    test = make_ab_test(prompt, weights=(0, 1), status="paused")
    told = assign(test, unit_id="ada")
    assert (told["variant"], told["phase"], told["is_exposed"], told["version_number"]) == ("control", 1, False, 1)
    assert not ABAssignment.objects.exists()


@pytest.mark.parametrize("status", ["draft", "stopped"])
def test_what_does_not_run_assigns_nobody(make_ab_test, prompt, assign, status):
    test = make_ab_test(prompt, status="running")
    test.status = status
    if status == "draft":
        test.started_at, test.phase = None, 0
    else:
        test.stopped_at = test.started_at
    test.save()
    assert assign(test, unit_id="ada", status=409)["details"] == {"status": status}


def test_neither_does_one_that_is_deleted_or_whose_prompt_is_off(
    running, prompt, assign, editor, django_capture_on_commit_callbacks
):
    path = f"/api/v1/prompts/{prompt['id']}"
    assert editor.client.patch(path, {"is_active": False}).status_code == 200
    assign(running, unit_id="ada", status=409)
    assert editor.client.patch(path, {"is_active": True}).status_code == 200
    assign(running, unit_id="ada")
    with django_capture_on_commit_callbacks(execute=True):
        running.soft_delete()
    assign(running, unit_id="ada", status=404)


def test_only_the_organizations_own(running, assign, outsider, viewer):
    assign(running, unit_id="ada", client=outsider.client, status=404)
    assign(running, unit_id="ada", client=viewer.client, status=403)
    assert not ABAssignment.objects.exists()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "unit_id"),
        ({"unit_id": ""}, "unit_id"),
        ({"unit_id": 5}, "unit_id"),
        ({"unit_id": "x" * 201}, "unit_id"),
        ({"unit_id": "a\x00b"}, "unit_id"),
        ({"unit_id": "a", "metadata": []}, "metadata"),
        ({"unit_id": "a", "metadata": {"k": "x" * 20_000}}, "metadata"),
        ({"unit_id": "a", "version": 1}, "version"),
    ],
    ids=lambda said: str(said)[:40],
)
def test_bad_wishes_are_named(running, assign, body, path):
    assert list(assign(running, status=400, **body)["details"]) == [path]
