"""Weights follow what was seen: towards the better arm, not before enough is known, and never down to nothing."""

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from apps.evaluations.ab_tests.bandit import FLOOR, probabilities_best, reweigh, with_floor
from apps.evaluations.ab_tests.looking_after import collect_all
from apps.evaluations.ab_tests.verifying import verify
from apps.evaluations.models import ABArm
from apps.evaluations.statistics.deciding import Measured
from apps.evaluations.statistics.moments import Moments
from apps.executions.models import Execution
from apps.prompts.models import ABPhase, ABTest
from tests.evaluations.ab_tests.exposing import execution_of

LATENCY = {"name": "latency", "measure": "latency_ms", "aggregation": "mean", "direction": "decrease"}
SHARE = Measured("mean", is_share=True)


@pytest.fixture
def test(prompt, make_ab_test):
    made = make_ab_test(prompt, mode="bandit")
    age(made)
    return made


def age(test, minutes=6):
    """As if the open phase had begun so long ago."""
    ABPhase.objects.filter(test=test, ended_at=None).update(started_at=timezone.now() - timedelta(minutes=minutes))


def serve(test, variant, successes, failures):
    rows = [execution_of(test, variant, ab_phase=test.phase) for _ in range(successes)]
    rows += [execution_of(test, variant, ab_phase=test.phase, status="failed") for _ in range(failures)]
    Execution.objects.bulk_create(rows)


def weights(test):
    return dict(test.variants.order_by("position").values_list("name", "weight"))


def test_weights_go_to_the_better_arm_and_begin_a_phase(test):
    serve(test, "control", 85, 15)
    serve(test, "candidate-1", 97, 3)
    collect_all()
    found = weights(test)
    assert found["candidate-1"] > 0.95
    assert found["control"] >= FLOOR
    assert sum(found.values()) == pytest.approx(1)
    test.refresh_from_db()
    first, second = ABPhase.objects.filter(test=test).order_by("number")
    assert (test.phase, first.ended_at is None, second.number, second.weights) == (2, False, 2, found)
    assert second.reason


def test_units_stay_one_population_over_all_phases(test):
    serve(test, "control", 60, 0)
    serve(test, "candidate-1", 52, 8)
    collect_all()
    test.refresh_from_db()
    assert test.phase == 2
    serve(test, "control", 10, 0)
    collect_all()
    assert dict(ABArm.objects.values_list("variant", "units")) == {"control": 70, "candidate-1": 60}
    assert set(ABArm.objects.values_list("phase", flat=True)) == {1}
    assert verify(test)[1] == []


@pytest.mark.parametrize(
    ("units", "minutes", "changes"),
    [(49, 6, False), (50, 6, True), (50, 4, False)],
    ids=["too few", "enough", "too soon"],
)
def test_it_waits_for_fifty_units_of_each_arm_and_five_minutes(test, units, minutes, changes):
    age(test, minutes)
    serve(test, "control", units, 0)
    serve(test, "candidate-1", 68, 12)
    collect_all()
    assert (weights(test)["control"] > 0.9) is changes


def test_a_small_move_changes_nothing(test):
    for variant in ("control", "candidate-1"):
        serve(test, variant, 90, 10)
    collect_all()
    assert (weights(test), ABPhase.objects.count()) == ({"control": 0.5, "candidate-1": 0.5}, 1)


@pytest.mark.parametrize("changed", [{"mode": "fixed"}, {"status": "paused"}], ids=["fixed", "paused"])
def test_only_a_bandit_that_runs_is_weighed(test, changed):
    serve(test, "control", 100, 0)
    serve(test, "candidate-1", 80, 20)
    ABTest.objects.filter(id=test.id).update(**changed)
    collect_all()
    test.refresh_from_db()
    assert (reweigh(test), weights(test)["control"]) == (None, 0.5)


def test_an_arm_that_has_no_traffic_gets_none(prompt, make_ab_test):
    test = make_ab_test(prompt, ["One,", "Two,"], mode="bandit", weights=[0.5, 0.5, 0])
    age(test)
    serve(test, "control", 100, 0)
    serve(test, "candidate-1", 85, 15)
    collect_all()
    found = weights(test)
    assert found["candidate-2"] == 0
    assert found["control"] > 0.9
    assert sum(found.values()) == pytest.approx(1)


def test_less_is_better_where_the_metric_says_so(prompt, make_ab_test):
    test = make_ab_test(prompt, mode="bandit", metrics=(LATENCY,))
    age(test)
    rows = [execution_of(test, latency_ms=100 + number % 20) for number in range(60)]
    rows += [execution_of(test, "candidate-1", latency_ms=300 + number % 20) for number in range(60)]
    Execution.objects.bulk_create(rows)
    collect_all()
    assert weights(test)["control"] == pytest.approx(1 - FLOOR)


def test_every_arm_keeps_a_hundredth():
    assert with_floor({"a": 1.0, "b": 0.0, "c": 0.0}) == pytest.approx({"a": 0.98, "b": 0.01, "c": 0.01})


def test_arms_that_are_the_same_for_certain_share():
    same = Moments(units=60, sum_k=60, sum_kk=60, sum_s=120, sum_ss=240, sum_sk=120, sum_m=120, sum_mm=240)
    assert probabilities_best({"a": same, "b": same}, Measured("mean"), seed=1) == {"a": 0.5, "b": 0.5}


def test_in_a_simulation_it_comes_to_the_better_arm_and_rarely_errs():
    """20 bandits of two arms with rates of 0.75 and 0.85, 15 portions of 300 units, by the functions that weigh."""
    rng, rates = np.random.default_rng(20_261_123), np.array([0.75, 0.85])
    shares = []
    for run in range(20):
        units, successes, share = np.zeros(2), np.zeros(2), 0.5
        for portion in range(15):
            arm = (rng.random(300) < share).astype(int)
            hits = rng.random(300) < rates[arm]
            units += np.bincount(arm, minlength=2)
            successes += np.bincount(arm, weights=hits, minlength=2)
            if units.min() >= 50:
                found = probabilities_best(_arms(units, successes), SHARE, seed=run * 1000 + portion)
                share = with_floor(found)["1"]
        shares.append(share)
    assert np.mean(np.array(shares) > 0.9) >= 0.95
    assert np.mean(np.array(shares) < 0.5) <= 0.02


def _arms(units, successes):
    return {
        str(place): Moments(units=n, sum_k=n, sum_kk=n, sum_s=s, sum_ss=s, sum_sk=s, sum_m=s, sum_mm=s)
        for place, (n, s) in enumerate(zip(units, successes, strict=True))
    }
