"""Programs that call models themselves tell of exposures, and anybody of values that become known later."""

import pytest
from rest_framework.test import APIClient

from apps.evaluations.ab_tests.collecting import collect
from apps.evaluations.models import ABArm, ABArmMeasure, ABObservation
from apps.prompts.models import ABAssignment, ABTest
from tests.evaluations.ab_tests.conftest import AB_TESTS, SUCCESS
from tests.evaluations.ab_tests.exposing import expose

USEFUL = {"name": "useful", "measure": "score:useful", "aggregation": "mean", "direction": "increase"}
REVENUE = {"name": "revenue", "measure": "custom:revenue", "aggregation": "sum", "direction": "increase"}
WHOLE = {
    "success": True,
    "latency_ms": 812.5,
    "first_token_ms": 90,
    "cost_usd": "0.0021",
    "output_tokens": 55,
    "schema_valid": False,
    "scores": {"useful": 0.5},
    "custom": {"revenue": 12},
}


@pytest.fixture
def test(prompt, make_ab_test):
    return make_ab_test(prompt, metrics=(SUCCESS, USEFUL, REVENUE), weights=[1, 0])


@pytest.fixture
def post(editor):
    def send(test, kind, rows, *, status=200, client=None, headers=None):
        answer = (client or editor.client).post(f"{AB_TESTS}/{test.id}/{kind}", {kind: rows}, headers=headers)
        assert answer.status_code == status, answer.content
        return answer.json()["data" if status == 200 else "error"]

    return send


def sums(test):
    rows = ABArmMeasure.objects.filter(test=test, units__gt=0).order_by("measure")
    return {row.measure: round(row.sum_s, 9) for row in rows}


def test_an_exposure_has_all_that_is_measured(test, post):
    assert post(test, "exposures", [{"unit_id": "ada", "variant": "control", **WHOLE}]) == {"recorded": 1}
    collect(test)
    assert sums(test) == {
        "success": 1, "latency_ms": 812.5, "first_token_ms": 90, "cost_usd": 0.0021, "output_tokens": 55,
        "schema_valid": 0, "score:useful": 0.5, "custom:revenue": 12,
    }  # fmt: skip
    row = ABObservation.objects.get()
    assert (row.variant, row.phase, row.is_exposure) == ("control", 1, True)
    assert ABAssignment.objects.get(test=test, unit_id="ada").variant == "control"


@pytest.mark.parametrize("scope", ["prompts:execute", "abtests:execute"])
def test_a_program_needs_the_right_to_execute_prompts_and_can_begin_nothing(scope, test, editor, post):
    key = editor.client.post("/api/v1/api-keys", {"name": "program", "scopes": [scope]}).json()["data"]["secret"]
    program = APIClient(HTTP_AUTHORIZATION=f"Bearer {key}")
    is_program = scope == "prompts:execute"
    url, status = f"{AB_TESTS}/{test.id}", 200 if is_program else 403
    assert program.post(f"{url}/assign", {"unit_id": "ada"}).status_code == status
    post(test, "exposures", [{"unit_id": "ada"}], status=status, client=program)
    post(test, "observations", [{"unit_id": "ada", "values": {"revenue": 3}}], status=status, client=program)
    for action in ("start", "pause", "resume", "stop"):
        refused = program.post(f"{url}/{action}", {"reason": "Mine."}).status_code == 403
        assert refused == is_program, action


def test_what_is_not_known_is_left_out(test, post):
    post(test, "exposures", [{"unit_id": "ada"}])
    post(test, "exposures", [{"unit_id": "bob", "success": False, "latency_ms": 5, "cost_usd": "0.5"}])
    collect(test)
    assert sums(test) == {"success": 0, "cost_usd": 0.5}
    assert ABArm.objects.get(test=test).units == 2


def test_spaces_around_a_units_id_are_not_part_of_it_here_either(test, post):
    post(test, "exposures", [{"unit_id": " ada"}, {"unit_id": "ada "}])
    post(test, "observations", [{"unit_id": " ada ", "values": {"revenue": 3}}])
    collect(test)
    assert ABAssignment.objects.get(test=test).unit_id == "ada"
    assert (ABArm.objects.get(test=test).units, sums(test)) == (1, {"custom:revenue": 3})
    assert "exposures.0.unit_id" in post(test, "exposures", [{"unit_id": " "}], status=400)["details"]


def test_a_unit_keeps_the_variant_that_it_got_first(test, post):
    ABAssignment.objects.create(test=test, unit_id="eve", variant="candidate-1", phase=1)
    rows = [{"unit_id": "ada"}, {"unit_id": "bob", "variant": "candidate-1"}, {"unit_id": "eve", "variant": "x"}]
    error = post(test, "exposures", rows, status=409)
    assert error["details"] == {
        "exposures.1.variant": "The unit has the variant control.",
        "exposures.2.variant": "The unit has the variant candidate-1.",
    }
    assert ABObservation.objects.count() == 0
    post(test, "exposures", [{"unit_id": "eve", "variant": "candidate-1"}])
    assert ABObservation.objects.get().variant == "candidate-1"


@pytest.mark.parametrize("status", ["draft", "paused", "stopped"])
def test_exposures_are_for_tests_that_run(prompt, make_ab_test, post, status):
    ended = {"stopped_at": "2026-01-01T00:00:00Z"} if status == "stopped" else {}
    test = make_ab_test(prompt, status=status, **ended)
    assert post(test, "exposures", [{"unit_id": "ada"}], status=409)["details"] == {"status": status}
    assert ABObservation.objects.count() == 0


def test_of_two_tests_of_a_prompt_only_the_live_one_takes_exposures(prompt, make_ab_test, post):
    old = make_ab_test(prompt, status="stopped", stopped_at="2026-01-01T00:00:00Z")
    make_ab_test(prompt)
    post(old, "exposures", [{"unit_id": "ada"}], status=409)


def test_units_that_take_no_part_are_named(prompt, make_ab_test, post):
    segments = {"include": [{"key": "plan", "operator": "equals", "value": "pro"}]}
    test = make_ab_test(prompt, segments=segments)
    ABAssignment.objects.create(test=test, unit_id="ada", variant="control", phase=1)
    error = post(test, "exposures", [{"unit_id": "ada"}, {"unit_id": "bob"}], status=400)
    assert set(error["details"]) == {"exposures.1.unit_id"}
    post(test, "exposures", [{"unit_id": "ada"}])


def test_the_same_key_records_once(test, post):
    headers = {"Idempotency-Key": "one"}
    for _ in range(2):
        assert post(test, "exposures", [{"unit_id": "ada"}], headers=headers) == {"recorded": 1}
    assert ABObservation.objects.count() == 1


def test_a_thousand_cost_as_many_queries_as_one(test, post, django_assert_max_num_queries):
    post(test, "exposures", [{"unit_id": "first"}])
    with django_assert_max_num_queries(12):
        post(test, "exposures", [{"unit_id": f"unit {number}", "success": True} for number in range(1000)])
    post(test, "exposures", [{"unit_id": str(number)} for number in range(1001)], status=400)
    assert ABObservation.objects.count() == 1001


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({}, "unit_id"),
        ({"unit_id": ""}, "unit_id"),
        ({"unit_id": "x" * 201}, "unit_id"),
        ({"unit_id": "a\0"}, "unit_id"),
        ({"unit_id": 5}, "unit_id"),
        ({"unit_id": "ada", "mood": 1}, "mood"),
        ({"unit_id": "ada", "success": 1}, "success"),
        ({"unit_id": "ada", "latency_ms": -1}, "latency_ms"),
        ({"unit_id": "ada", "latency_ms": 1e300}, "latency_ms"),
        ({"unit_id": "ada", "cost_usd": 0.5}, "cost_usd"),
        ({"unit_id": "ada", "output_tokens": 1.5}, "output_tokens"),
        ({"unit_id": "ada", "scores": {"useful": "good"}}, "scores.useful"),
        ({"unit_id": "ada", "scores": {"useful": True}}, "scores.useful"),
        ({"unit_id": "ada", "scores": {"unasked": 1}}, "scores.unasked"),
        ({"unit_id": "ada", "custom": {"revenue": 1e13}}, "custom.revenue"),
        ({"unit_id": "ada", "custom": {"unasked": 1}}, "custom.unasked"),
        ({"unit_id": "ada", "custom": {"x" * 65: 1}}, "custom"),
        ({"unit_id": "ada", "custom": [1]}, "custom"),
        ({"unit_id": "ada", "custom": {str(number): 1 for number in range(21)}}, "custom"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_exposures_are_named_and_nothing_is_stored(test, post, row, path):
    error = post(test, "exposures", [{"unit_id": "bob"}, row], status=400)
    assert set(error["details"]) == {f"exposures.1.{path}"}
    assert ABObservation.objects.count() == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"exposures": [{"unit_id": "a", "latency_ms": NaN}]}',
        b'{"exposures": [{"unit_id": "a", "latency_ms": 1e999}]}',
        b'{"exposures": [{"unit_id": "a", "custom": {"revenue": 1' + b"0" * 400 + b"}}]}",
        rb'{"exposures": [{"unit_id": "\ud800"}]}',
        b'{"exposures": [' + b"[" * 2000 + b"]" * 2000 + b"]}",
        b'{"exposures": {}}',
        b'{"exposures": []}',
        b"{}",
    ],
    ids=["NaN", "infinity", "a huge number", "half a character", "deep", "an object", "none", "nothing"],
)
def test_what_is_no_list_of_exposures_is_refused(test, editor, body):
    path = f"{AB_TESTS}/{test.id}/exposures"
    answer = editor.client.generic("POST", path, body, content_type="application/json")
    assert answer.status_code == 400, answer.content


def test_values_come_later_also_after_the_stop(test, post):
    post(test, "exposures", [{"unit_id": "ada"}, {"unit_id": "!bob"}])
    post(test, "observations", [{"unit_id": "ada", "values": {"revenue": 3}}])
    ABTest.objects.filter(id=test.id).update(status="stopped", stopped_at="2026-01-01T00:00:00Z")
    rows = [{"unit_id": "ada", "values": {"revenue": 4}}, {"unit_id": "!bob", "values": {"revenue": 5}}]
    assert post(test, "observations", rows) == {"recorded": 2}
    collect(test)
    found = ABArmMeasure.objects.get(test=test, measure="custom:revenue")
    assert (found.units, found.sum_k, found.sum_s, found.sum_ss) == (2, 3, 12, 49 + 25)


def test_values_of_a_request_without_a_unit_go_by_its_execution(test, post):
    anonymous, named = expose(test), expose(test, unit_id="ada")
    rows = [{"execution_id": str(one.id), "values": {"revenue": 4}} for one in (anonymous, named)]
    post(test, "observations", rows)
    collect(test)
    found = ABArmMeasure.objects.get(test=test, measure="custom:revenue")
    assert (found.units, found.sum_s, ABArm.objects.get(test=test).units) == (2, 8, 2)


def test_unknown_units_and_executions_are_named(prompt, test, post, execute):
    other = execute(prompt, version=1)
    values = {"values": {"revenue": 1}}
    error = post(test, "observations", [{"unit_id": "nobody", **values}], status=400)
    assert error["details"] == {"observations.0.unit_id": "The test has no such unit."}
    error = post(test, "observations", [{"execution_id": other["id"], **values}], status=400)
    assert error["details"] == {"observations.0.execution_id": "The test has no such execution."}
    assert ABObservation.objects.count() == 0


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"values": {"revenue": 1}}, "unit_id"),
        (
            {"unit_id": "ada", "execution_id": "018f0000-0000-7000-8000-000000000000", "values": {"revenue": 1}},
            "unit_id",
        ),
        ({"unit_id": "ada"}, "values"),
        ({"unit_id": "ada", "values": {}}, "values"),
        ({"unit_id": "ada", "values": {"unasked": 1}}, "values.unasked"),
        ({"unit_id": "ada", "values": {"revenue": None}}, "values.revenue"),
        ({"execution_id": 5, "values": {"revenue": 1}}, "execution_id"),
    ],
    ids=["no unit", "two units", "no values", "empty values", "unasked", "null", "no id"],
)
def test_bad_observations_are_named(test, post, row, path):
    post(test, "exposures", [{"unit_id": "ada"}])
    error = post(test, "observations", [row], status=400)
    assert set(error["details"]) == {f"observations.0.{path}"}


def test_a_draft_has_no_units(prompt, make_ab_test, post):
    test = make_ab_test(prompt, status="draft")
    post(test, "observations", [{"unit_id": "ada", "values": {"revenue": 1}}], status=409)


def test_another_organization_finds_neither_the_test_nor_its_executions(
    test, post, outsider, make_prompt, make_ab_test
):
    execution = expose(test)
    rows = {"exposures": [{"unit_id": "ada"}], "observations": [{"unit_id": "ada", "values": {"revenue": 1}}]}
    for kind, own in rows.items():
        post(test, kind, own, status=404, client=outsider.client)
    theirs = make_ab_test(make_prompt(outsider), metrics=(SUCCESS, REVENUE))
    row = {"execution_id": str(execution.id), "values": {"revenue": 1}}
    post(theirs, "observations", [row], status=400, client=outsider.client)
    assert ABObservation.objects.count() == 0
