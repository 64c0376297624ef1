"""What happened to a test's units is in its sums once, however it came there."""

import math

import pytest

from apps.evaluations.ab_tests.collecting import collect
from apps.evaluations.models import ABArm, ABArmMeasure, ABObservation, ABPending, ABUnit
from apps.executions.models import Execution, ExecutionPayload, Score
from everquant.histogram import Histogram
from tests.evaluations.ab_tests.conftest import SUCCESS
from tests.evaluations.ab_tests.exposing import end, execution_of, expose, score

USEFUL = {"name": "useful", "measure": "score:useful", "aggregation": "mean", "direction": "increase"}
REVENUE = {"name": "revenue", "measure": "custom:revenue", "aggregation": "sum", "direction": "increase"}


@pytest.fixture
def test(prompt, make_ab_test):
    return make_ab_test(prompt, metrics=(SUCCESS, USEFUL, REVENUE))


def measure(test, name, variant="control", phase=1):
    found = ABArmMeasure.objects.filter(test=test, variant=variant, phase=phase, measure=name).first()
    if found is None:
        return (0, 0, 0)
    return (found.units, found.sum_k, round(found.sum_s, 9))


def arm(test, variant="control", phase=1):
    found = ABArm.objects.get(test=test, phase=phase, variant=variant)
    return (found.units, found.exposures, found.squared_exposures)


def observe(test, unit_id="ada", **fields):
    said = {"variant": "control", "phase": 1, "is_exposure": True, **fields}
    return ABObservation.objects.create(organization_id=test.organization_id, test=test, unit_id=unit_id, **said)


def test_sums_are_over_units(test):
    for latency_ms in (100, 300):
        expose(test, unit_id="ada", latency_ms=latency_ms, cost_usd="0.5")
    expose(test, unit_id="bob", latency_ms=50)
    expose(test, unit_id="bob", status="failed", latency_ms=7000)
    assert collect(test) == 4
    assert ABPending.objects.count() == 0
    assert arm(test) == (2, 4, 8)
    latency = ABArmMeasure.objects.get(test=test, measure="latency_ms")
    sums = (latency.sum_k, latency.sum_kk, latency.sum_s, latency.sum_ss, latency.sum_sk, latency.sum_m, latency.sum_mm)
    assert sums == (3, 5, 450, 400**2 + 50**2, 850, 250, 200**2 + 50**2)
    success = ABArmMeasure.objects.get(test=test, measure="success")
    assert (success.units, success.sum_k, success.sum_s, success.sum_m) == (2, 4, 3, 1.5)
    assert measure(test, "cost_usd") == (1, 2, 1.0)
    histogram = Histogram.from_bytes(bytes(ABArm.objects.get(test=test).latency_histogram))
    assert histogram.count == 3


def test_sums_are_the_same_in_any_portions(test):
    numbers = [(unit, value) for unit in range(7) for value in (0.1, 3.7, 1e6 / 7)]
    for unit, value in numbers:
        expose(test, unit_id=f"unit {unit}", latency_ms=int(value), cost_usd=f"{value:.12f}")
        collect(test)
    found = ABArmMeasure.objects.get(test=test, measure="cost_usd")
    totals = [sum(value for other, value in numbers if other == unit) for unit in range(7)]
    assert found.units == 7
    assert math.isclose(found.sum_s, sum(totals), rel_tol=1e-12)
    assert math.isclose(found.sum_ss, sum(total**2 for total in totals), rel_tol=1e-12)
    assert math.isclose(found.sum_mm, sum((total / 3) ** 2 for total in totals), rel_tol=1e-12)


def test_collecting_again_changes_nothing(test):
    expose(test, unit_id="ada")
    assert (collect(test), collect(test)) == (1, 0)
    assert arm(test) == (1, 1, 1)


def test_a_request_without_a_unit_is_one_whatever_others_are_called(test):
    execution = expose(test)
    expose(test, unit_id=f"!{execution.id}")
    expose(test, unit_id="!" * 200)
    collect(test)
    assert arm(test) == (3, 3, 3)
    keys = {f"!{execution.id}", f"!!{execution.id}", "!" * 201}
    assert set(ABUnit.objects.values_list("unit_key", flat=True)) == keys


@pytest.mark.parametrize(
    ("status", "columns", "is_exposure"),
    [
        ("failed", {}, True),
        ("cancelled", {}, True),
        ("cancelled", {"started_at": None}, False),
        ("failed", {"started_at": None, "error_code": "EXPIRED"}, False),
        ("cancelled", {"started_at": None, "attempt_count": 1}, True),
    ],
    ids=["failed", "cancelled", "cancelled in the queue", "expired in the queue", "handed back, then cancelled"],
)
def test_what_started_and_failed_is_no_success_and_what_never_started_is_nothing(test, status, columns, is_exposure):
    expose(test, status=status, **columns)
    assert collect(test) == 1
    assert measure(test, "success") == ((1, 1, 0) if is_exposure else (0, 0, 0))
    assert measure(test, "latency_ms") == (0, 0, 0)
    assert ABUnit.objects.count() == int(is_exposure)


def test_schema_validity_is_of_answers_that_have_a_schema(test):
    cases = [
        ("succeeded", "", {}),
        ("failed", "INVALID_OUTPUT", {}),
        ("failed", "TIMEOUT", {}),
        ("succeeded", "", None),
    ]
    for status, error_code, schema in cases:
        execution = expose(test, status=status, error_code=error_code)
        ExecutionPayload.objects.create(execution=execution, messages=[], response_schema=schema)
    collect(test)
    assert measure(test, "schema_valid") == (2, 2, 1)


def test_scores_count_when_they_come_late_or_twice(test):
    execution = expose(test, unit_id="ada")
    score(execution, "useful", 0.25)
    score(execution, "unasked", 5)
    collect(test)
    assert measure(test, "score:useful") == (1, 1, 0.25)
    score(execution, "useful", 1)
    collect(test)
    assert measure(test, "score:useful") == (1, 2, 1.25)
    assert not ABArmMeasure.objects.filter(measure="score:unasked").exists()


def test_a_score_of_what_still_runs_waits_for_its_end(test):
    execution = expose(test, unit_id="ada", status="running")
    score(execution, "useful", 1)
    assert (collect(test), ABPending.objects.count(), ABUnit.objects.count()) == (0, 1, 0)
    end(execution)
    assert collect(test) == 2
    assert measure(test, "score:useful") == (1, 1, 1)


def test_a_score_of_what_never_ran_counts_nowhere(test):
    execution = expose(test, unit_id="ada", status="queued", started_at=None)
    score(execution, "useful", 1)
    end(execution, "cancelled")
    expose(test, unit_id="ada")
    assert collect(test) == 3
    assert (measure(test, "score:useful"), arm(test)) == ((0, 0, 0), (1, 1, 1))


def test_what_retention_has_removed_is_let_go(test):
    gone, scored = expose(test, unit_id="ada"), expose(test, unit_id="bob")
    score(scored, "useful", 1)
    score(gone, "useful", 1)
    Execution.objects.filter(id=gone.id).delete()
    Score.objects.filter(execution_id=scored.id).delete()
    collect(test)
    assert (ABPending.objects.count(), arm(test), measure(test, "score:useful")) == (0, (1, 1, 1), (0, 0, 0))


def test_numbers_that_are_none_never_enter(test):
    execution = expose(test, unit_id="ada")
    for number in (math.nan, math.inf, -math.inf, 1e300, 2.0):
        score(execution, "useful", number)
    collect(test)
    assert measure(test, "score:useful") == (1, 1, 2.0)


def test_observations_count_as_exposures_and_as_late_values(test):
    observe(test, values={"success": 1.0, "latency_ms": 12.5})
    observe(test, is_exposure=False, values={"custom:revenue": 30.0})
    observe(test, is_exposure=False, values={"custom:revenue": 12.0, "custom:unasked": 1.0})
    collect(test)
    assert arm(test) == (1, 1, 1)
    assert (measure(test, "custom:revenue"), measure(test, "latency_ms")) == ((1, 2, 42), (1, 1, 12.5))


def test_values_of_a_unit_count_once_it_is_exposed(test):
    observe(test, is_exposure=False, values={"custom:revenue": 30.0})
    collect(test)
    assert measure(test, "custom:revenue") == (0, 0, 0)
    expose(test, unit_id="ada")
    collect(test)
    assert (measure(test, "custom:revenue"), arm(test)) == ((1, 1, 30), (1, 1, 1))


def test_values_of_a_single_request_reach_its_unit(test):
    execution = expose(test)
    observe(test, unit_id="", execution_id=execution.id, is_exposure=False, values={"custom:revenue": 3.0})
    collect(test)
    assert (ABUnit.objects.count(), measure(test, "custom:revenue")) == (1, (1, 1, 3))


def test_units_stay_in_the_phase_that_they_began_in_but_those_of_a_bandit_are_one_population(prompt, make_ab_test):
    test = make_ab_test(prompt)
    expose(test, unit_id="ada", ab_phase=1)
    expose(test, unit_id="bob", ab_phase=2)
    collect(test)
    assert (arm(test, phase=1), arm(test, phase=2)) == ((1, 1, 1), (1, 1, 1))
    type(test).objects.filter(id=test.id).update(mode="bandit")
    expose(test, unit_id="eve", ab_phase=3)
    collect(test)
    assert arm(test, phase=1) == (2, 2, 2)


def test_it_goes_on_after_a_test_has_ended_and_was_deleted(test):
    expose(test, unit_id="ada")
    type(test).objects.filter(id=test.id).update(deleted_at="2026-01-01T00:00:00Z")
    assert collect(test) == 1
    assert arm(test) == (1, 1, 1)


def test_many_rows_come_in_portions(test):
    rows = [execution_of(test, unit_id=f"unit {number % 900}") for number in range(2100)]
    Execution.objects.bulk_create(rows)
    assert collect(test) == len(rows)
    assert (arm(test)[:2], ABPending.objects.count()) == ((900, 2100), 0)
