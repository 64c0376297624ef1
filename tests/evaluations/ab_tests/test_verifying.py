"""The sums agree with what they are of, and can be made anew from it."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.evaluations.ab_tests.collecting import collect
from apps.evaluations.ab_tests.retracting import retract_scores
from apps.evaluations.ab_tests.verifying import verify
from apps.evaluations.models import ABArm, ABArmMeasure, ABObservation, ABPending, ABUnit
from apps.executions.models import Execution
from tests.evaluations.ab_tests.conftest import SUCCESS
from tests.evaluations.ab_tests.exposing import end, expose, score

USEFUL = {"name": "useful", "measure": "score:useful", "aggregation": "mean", "direction": "increase"}


@pytest.fixture
def test(prompt, make_ab_test):
    return make_ab_test(prompt, metrics=(SUCCESS, USEFUL))


@pytest.fixture
def busy(test):
    """Units of both arms and two phases, some of everything, and some of it not collected yet."""
    for number in range(30):
        variant, phase = ("control", "candidate-1")[number % 2], 1 + number // 20
        unit_id = f"unit {number % 11} {variant} {phase} é" if number % 3 else ""
        status = "failed" if number % 7 == 0 else "succeeded"
        execution = expose(
            test, variant, unit_id, ab_phase=phase, latency_ms=number * 13, cost_usd="0.1", status=status
        )
        if number % 4 == 0:
            score(execution, "useful", number / 3)
        if number == 25:
            collect(test)
    ABObservation.objects.create(
        organization_id=test.organization_id, test=test, unit_id="zoe", variant="control", phase=1, is_exposure=True,
        values={"latency_ms": 5.5, "success": 1},
    )  # fmt: skip
    return test


def command(*arguments):
    out = StringIO()
    call_command("ab_tests", *arguments, stdout=out)
    return out.getvalue()


def test_what_was_collected_agrees_also_while_more_waits(busy):
    assert ABPending.objects.count() > 0
    units, problems = verify(busy)
    assert (units, problems) == (ABUnit.objects.count(), [])
    collect(busy)
    assert verify(busy) == (ABUnit.objects.count(), [])
    assert "no differences" in command("verify")


@pytest.mark.parametrize(
    ("rows", "change", "said"),
    [
        (ABUnit, {"exposures": 9}, "exposures are 9"),
        (ABUnit, {"sums": [1.5] * 7}, "sums are [1.5"),
        (ABUnit, {"variant": "x"}, "variant are x"),
        (ABUnit, {"unit_key": "zzz"}, "should not be there"),
        (ABArm, {"units": 999}, "units, exposures and their squares are (999,"),
        (ABArm, {"latency_histogram": b""}, "the histogram has 0 latencies"),
        (ABArmMeasure, {"sum_ss": 3.25}, "sum_ss is 3.25"),
    ],
    ids=["exposures", "sums", "variant", "another unit", "units", "histogram", "squares"],
)
def test_a_difference_is_told_and_rebuilt(busy, rows, change, said):
    collect(busy)
    first = rows.objects.filter(test=busy).order_by("pk").first()
    rows.objects.filter(pk=first.pk).update(**change)
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("ab_tests", "verify", "--test", str(busy.id), stdout=out)
    assert said in out.getvalue()
    command("rebuild", "--test", str(busy.id))
    assert verify(busy) == (ABUnit.objects.count(), [])


def test_a_rebuild_leaves_what_waits_to_the_collector(busy):
    command("rebuild")
    assert verify(busy)[1] == []
    assert ABPending.objects.count() > 0
    collect(busy)
    assert verify(busy)[1] == []


def test_what_retention_has_removed_is_not_lost_by_a_rebuild(busy):
    collect(busy)
    before = list(ABArm.objects.order_by("phase", "variant").values_list("exposures", flat=True))
    Execution.objects.filter(unit_id="").delete()
    with pytest.raises(CommandError, match="--force"):
        command("rebuild")
    assert list(ABArm.objects.order_by("phase", "variant").values_list("exposures", flat=True)) == before
    command("rebuild", "--force")
    assert verify(busy)[1] == []
    assert sum(ABArm.objects.values_list("exposures", flat=True)) < sum(before)


@pytest.mark.parametrize("wanted", ["nonsense", "018f0000-0000-7000-8000-000000000000"])
def test_unknown_tests_are_refused(busy, wanted):
    with pytest.raises(CommandError, match="--test"):
        command("verify", "--test", wanted)


@pytest.mark.parametrize("is_collected", [True, False], ids=["collected", "waiting"])
def test_a_score_that_is_taken_back_counts_no_longer(test, is_collected):
    execution = expose(test, unit_id="ada")
    scores = [score(execution, "useful", number) for number in (0.1, 0.2)]
    if is_collected:
        collect(test)
    retract_scores(scores[:1])
    scores[0].delete()
    assert verify(test)[1] == []
    collect(test)
    found = ABArmMeasure.objects.get(test=test, measure="score:useful")
    assert (found.units, found.sum_k) == (1, 1)
    assert found.sum_s == pytest.approx(0.2)
    retract_scores(scores[1:])
    scores[1].delete()
    collect(test)
    assert not ABArmMeasure.objects.filter(test=test, measure="score:useful", units__gt=0).exists()
    assert verify(test)[1] == []


def test_a_score_that_is_taken_back_before_its_execution_ends_never_counts(test):
    execution = expose(test, unit_id="ada", status="running")
    only = score(execution, "useful", 1)
    collect(test)
    retract_scores([only])
    only.delete()
    end(execution)
    collect(test)
    assert (ABPending.objects.count(), verify(test)[1]) == (0, [])
    assert not ABArmMeasure.objects.filter(test=test, measure="score:useful").exists()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("expose"), st.integers(0, 3), st.sampled_from(["succeeded", "failed", "running"])),
        st.tuples(st.just("score"), st.integers(0, 9), st.floats(-1e6, 1e6)),
        st.tuples(st.just("retract"), st.integers(0, 9), st.none()),
        st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from(["succeeded", "failed", "cancelled"])),
        st.tuples(st.just("collect"), st.none(), st.none()),
    ),
    max_size=15,
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
def test_sums_agree_whatever_happened_in_whatever_order(test, steps):
    executions, scores = [], []
    for action, place, value in steps:
        if action == "expose":
            unit_id = f"unit {place}" if place else ""
            executions.append(expose(test, ("control", "candidate-1")[place % 2], unit_id, status=value))
        elif action == "score" and executions:
            scores.append(score(executions[place % len(executions)], "useful", value))
        elif action == "retract" and scores:
            taken = scores.pop(place % len(scores))
            retract_scores([taken])
            taken.delete()
        elif action == "end" and executions:
            execution = executions[place % len(executions)]
            if Execution.objects.filter(id=execution.id, finished_at=None).exists():
                end(execution, value)
        elif action == "collect":
            collect(test)
        assert verify(test)[1] == []
    collect(test)
    assert verify(test)[1] == []
