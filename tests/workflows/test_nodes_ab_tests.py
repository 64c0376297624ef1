"""Prompt nodes that go through a live A/B test."""

from dataclasses import replace

import pytest

from apps.executions.models import Execution
from apps.prompts.models import ABAssignment
from apps.workflows.nodes.base import NodeFailure, RunInfo
from apps.workflows.nodes.registry import kinds
from tests.evaluations.ab_tests.conftest import make_ab_test  # noqa: F401 (a fixture)
from tests.workflows.conftest import definition, template
from tests.workflows.nodes import Attempts, Pinner

pytestmark = pytest.mark.django_db(transaction=True)
SAID = {"control": "You said: Hello, Ada!", "candidate-1": "You said: Dear Ada,"}
CONFIG = {"prompt": "greet", "ab_test": True, "variables": {"name": "Ada"}}


@pytest.fixture
def attempts(make_version, start, editor):
    run = start(make_version(definition([template("a")])), created_by_id=editor.user.id)
    return Attempts(RunInfo(run.id, run.organization_id, run.workflow_id, run.created_by_id, run.api_key_id))


@pytest.fixture
def prompt(make_prompt, model):
    return make_prompt(slug="greet")


@pytest.fixture
def pin(prompt, organization):
    """As it was published before the test began."""
    pinner = Pinner(organization.id)
    found = kinds()["prompt"].pin(CONFIG, pinner)
    assert pinner.problems == []
    return found


def ran(attempts, pin, config=CONFIG, **more):
    """The variant that was recorded, of which the output must be; and its unit."""
    result = attempts.run("prompt", config, pin=pin, **more)
    execution = Execution.objects.get(id=result.execution_id)
    variant = execution.ab_variant or None
    assert result.output == SAID[variant or "control"]
    return variant, execution.unit_id


def test_the_unit_of_the_run_has_its_variant(attempts, pin, prompt, make_ab_test, editor):  # noqa: F811
    test = make_ab_test(prompt)
    found = {}
    for number in range(8):
        inputs = {"unit_id": f"user-{number}", "who": number}
        found[f"user-{number}"], unit = ran(attempts, pin, roots={"inputs": inputs}, attempt=number + 1)
        assert unit == f"user-{number}"
    assert set(found.values()) == set(SAID)
    assert dict(ABAssignment.objects.filter(test=test).values_list("unit_id", "variant")) == found
    body = {"variables": {"name": "Ada"}, "unit_id": "user-5"}
    execution = editor.client.post(f"/api/v1/prompts/{prompt['id']}/execute", body).json()["data"]
    assert execution["ab_test"]["variant"] == found["user-5"]


@pytest.mark.parametrize(
    ("more", "inputs", "unit"),
    [
        ({"unit": "{{inputs.customer}}"}, {"customer": "c-1", "unit_id": "u"}, "c-1"),
        ({"unit": {"$ref": "inputs.customer"}}, {"customer": 17}, "17"),
        ({}, {"unit_id": 5}, "5"),
        ({}, {}, "run"),
        ({}, {"unit_id": ""}, "run"),
        ({}, {"unit_id": ["a"]}, "run"),
        ({}, {"unit_id": "x" * 201}, "run"),
    ],
    ids=str,
)
def test_whom_a_node_is_for(attempts, pin, prompt, make_ab_test, more, inputs, unit):  # noqa: F811
    make_ab_test(prompt)
    expected = str(attempts.info.id) if unit == "run" else unit
    assert ran(attempts, pin, {**CONFIG, **more}, roots={"inputs": inputs})[1] == expected


@pytest.mark.parametrize("unit", ["", "x" * 201, True, None, ["a"], "a\x00b"], ids=repr)
def test_a_configured_unit_that_is_none_is_a_failure(attempts, pin, prompt, make_ab_test, unit):  # noqa: F811
    make_ab_test(prompt)
    with pytest.raises(NodeFailure) as caught:
        attempts.run("prompt", {**CONFIG, "unit": {"$ref": "inputs.who"}}, pin=pin, roots={"inputs": {"who": unit}})
    assert caught.value.code == "INVALID_CONFIG"
    assert not Execution.objects.exists()


def test_without_a_live_test_and_without_the_wish_the_pinned_version_is_called(
    attempts, pin, prompt, make_ab_test, editor  # noqa: F811
):  # fmt: skip
    assert ran(attempts, pin) == (None, str(attempts.info.id))
    test = make_ab_test(prompt, weights=(0, 1))
    plain = {key: value for key, value in CONFIG.items() if key != "ab_test"}
    assert ran(attempts, pin, plain, attempt=2)[0] is None
    assert ran(attempts, pin, attempt=3)[0] == "candidate-1"
    test.exposed_share = 0
    test.save()
    path = f"/api/v1/prompts/{prompt['id']}/labels/production"
    assert editor.client.put(path, {"version": 2}).status_code == 200
    assert ran(attempts, pin, attempt=4)[0] is None


def test_segments_look_at_the_metadata_of_the_run(attempts, pin, prompt, make_ab_test):  # noqa: F811
    rule = {"key": "plan", "operator": "equals", "value": "pro"}
    make_ab_test(prompt, weights=(0, 1), segments={"include": [rule]})
    assert ran(attempts, pin)[0] is None
    attempts.info = replace(attempts.info, metadata={"plan": "pro"})
    assert ran(attempts, pin, attempt=2)[0] == "candidate-1"


def test_a_node_that_is_called_again_for_the_same_attempt_is_one_exposure(
    attempts, pin, prompt, make_ab_test  # noqa: F811
):  # fmt: skip
    make_ab_test(prompt)
    assert ran(attempts, pin) == ran(attempts, pin)
    assert Execution.objects.exclude(ab_test_id=None).count() == 1


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"prompt": "greet", "ab_test": True, "version": 1}, "version"),
        ({"prompt": "greet", "ab_test": True, "label": "beta"}, "label"),
        ({"prompt": "greet", "unit": "a"}, "unit"),
        ({"prompt": "greet", "ab_test": False, "unit": "a"}, "unit"),
    ],
    ids=str,
)
def test_what_does_not_go_together(config, where):
    assert [(code, at) for code, _, at in kinds()["prompt"].check(config)] == [("INVALID_CONFIG", where)]
