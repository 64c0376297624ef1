"""What a test shows, from its sums, and what it says may be concluded."""

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone
from scipy import stats

from apps.evaluations.ab_tests.collecting import collect
from apps.evaluations.ab_tests.results import reasons_not_to_promote, results_of
from apps.evaluations.models import ABArm, ABArmMeasure, ABIncident, ABPoint
from apps.executions.models import Execution, Score
from apps.prompts.models import ABPhase, ABTest
from everquant.histogram import Histogram
from tests.evaluations.ab_tests.conftest import AB_TESTS, SUCCESS
from tests.evaluations.ab_tests.exposing import execution_of

CANDIDATE = "candidate-1"
COST = {"name": "cost", "measure": "cost_usd", "aggregation": "mean", "direction": "decrease"}
SPENT = {"name": "spent", "measure": "cost_usd", "aggregation": "sum", "direction": "decrease"}
LATENCY = {"name": "latency", "measure": "latency_ms", "aggregation": "ratio", "direction": "decrease"}
USEFUL = {"name": "useful", "measure": "score:useful", "aggregation": "mean", "direction": "increase"}


@pytest.fixture
def test(prompt, make_ab_test) -> ABTest:
    return make_ab_test(prompt)


def add_sums(test, variant, values, *, measure="success", phase=1, latencies=()):
    """As if the collector had seen units with these values, one of each."""
    values = np.asarray(values, dtype=float)
    n, s, ss = len(values), float(values.sum()), float(values @ values)
    histogram = Histogram()
    for value in latencies:
        histogram.add(value)
    ABArm.objects.update_or_create(
        test=test, phase=phase, variant=variant,
        defaults={
            "units": n, "exposures": n, "squared_exposures": n,
            "latency_histogram": histogram.to_bytes() if latencies else b"",
        },
    )  # fmt: skip
    sums = {"units": n, "sum_k": n, "sum_kk": n, "sum_s": s, "sum_ss": ss, "sum_sk": s, "sum_m": s, "sum_mm": ss}
    ABArmMeasure.objects.create(test=test, phase=phase, variant=variant, measure=measure, **sums)


def shares(units, successes):
    return [1.0] * successes + [0.0] * (units - successes)


def both(test, control, candidate, **options):
    add_sums(test, "control", control, **options)
    add_sums(test, CANDIDATE, candidate, **options)


def arm_of(results, metric=0, variant=CANDIDATE):
    return next(arm for arm in results["metrics"][metric]["arms"] if arm["variant"] == variant)


def rail_of(results, name="error_rate", variant=CANDIDATE):
    rail = next(rail for rail in results["guardrails"] if rail["name"] == name)
    return next(arm for arm in rail["arms"] if arm["variant"] == variant)


def expose_units(test, variant, rng, count):
    """Executions of units that come one to three times, some of them scored."""
    executions, scores, raw = [], [], []
    for unit in range(count):
        calls = []
        for _ in range(rng.integers(1, 4)):
            is_good = bool(rng.random() < 0.9)
            cost, latency = round(float(rng.lognormal(-5, 1)), 12), int(rng.lognormal(5, 0.5))
            columns = {"status": "succeeded" if is_good else "failed", "cost_usd": f"{cost:.12f}", "price": {}}
            execution = execution_of(test, variant, f"{variant} {unit}", latency_ms=latency, **columns)
            useful = float(rng.integers(1, 6)) if rng.random() < 0.4 else None
            executions.append(execution)
            calls.append((is_good, cost, latency, useful))
            if useful is not None:
                said = {"organization_id": test.organization_id, "execution_id": execution.id, "name": "useful"}
                scores.append(Score(type="numeric", number=useful, source="api", **said))
        raw.append(calls)
    Execution.objects.bulk_create(executions)
    Score.objects.bulk_create(scores)
    return raw


def test_results_are_those_of_a_direct_computation_from_raw_exposures(prompt, make_ab_test):
    test, rng = make_ab_test(prompt, metrics=(SUCCESS, COST, SPENT, LATENCY, USEFUL)), np.random.default_rng(0)
    raw = {name: expose_units(test, name, rng, count) for name, count in (("control", 130), (CANDIDATE, 110))}
    collect(test)
    found = results_of(test)
    assert [arm["units"] for arm in found["arms"]] == [130, 110]
    assert [arm["exposures"] for arm in found["arms"]] == [sum(map(len, raw[name])) for name in raw]
    assert found["sample_ratio"]["p_value"] == pytest.approx(stats.chisquare([130, 110]).pvalue)

    def units(pick, fold):
        values = {name: [[pick(call) for call in unit] for unit in units] for name, units in raw.items()}
        return [
            np.array([fold([v for v in unit if v is not None]) for unit in values[name] if set(unit) != {None}])
            for name in raw
        ]

    for place, pick, fold in [
        (0, lambda call: float(call[0]), np.mean),
        (1, lambda call: call[1], np.mean),
        (2, lambda call: call[1], np.sum),
        (4, lambda call: call[3], np.mean),
    ]:
        control, candidate = units(pick, fold)
        arm = arm_of(found, place)
        expected = stats.ttest_ind(candidate, control, equal_var=False)
        interval = expected.confidence_interval(0.95)
        assert arm["units"] == len(candidate)
        assert arm["value"] == pytest.approx(candidate.mean())
        assert arm["coverage"] == pytest.approx(len(candidate) / 110)
        said = arm["difference"]
        assert said["value"] == pytest.approx(candidate.mean() - control.mean())
        assert [said["p_value"], said["fixed_low"], said["fixed_high"]] == pytest.approx(
            [expected.pvalue, interval.low, interval.high]
        )
        assert said["low"] < said["fixed_low"] < said["fixed_high"] < said["high"]


def test_a_ratio_is_that_of_all_values_with_the_variance_of_the_delta_method(prompt, make_ab_test):
    test, rng = make_ab_test(prompt, metrics=(SUCCESS, LATENCY)), np.random.default_rng(1)
    raw = {name: expose_units(test, name, rng, 100) for name in ("control", CANDIDATE)}
    collect(test)
    values, errors = [], []
    for units in raw.values():
        kept = [[call[2] for call in unit if call[0]] for unit in units]
        s, k = (np.array([fold(unit) for unit in kept if unit]) for fold in (sum, len))
        values.append(s.sum() / k.sum())
        errors.append(((s - values[-1] * k) / k.mean()).var(ddof=1) / len(k))
    said = arm_of(results_of(test), 1)["difference"]
    z = (values[1] - values[0]) / np.sqrt(sum(errors))
    assert said["value"] == pytest.approx(values[1] - values[0])
    assert said["p_value"] == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_results_cost_five_queries_whatever_there_is(test, django_assert_num_queries):
    with django_assert_num_queries(5):
        results_of(test)
    for phase in (2, 3, 4):
        said = {"weights": {"control": 0.5, CANDIDATE: 0.5}, "started_at": timezone.now(), "ended_at": timezone.now()}
        ABPhase.objects.create(test=test, number=phase, organization_id=test.organization_id, **said)
        both(test, shares(1000, 500), shares(1000, 500), phase=phase)
    with django_assert_num_queries(5):
        assert results_of(test)["units"] == 6000


@pytest.mark.parametrize(
    ("control", "candidate", "fields", "said"),
    [
        pytest.param([], [], {}, "No unit has been exposed yet", id="nothing"),
        pytest.param(shares(30, 20), shares(30, 25), {}, "Too few units to conclude anything", id="too few"),
        pytest.param(shares(200, 100), shares(200, 104), {}, "with 400 of 1,000 planned units", id="on its way"),
        pytest.param(shares(200, 100), shares(200, 104), {"planned_units": None}, "from 400 units", id="no plan"),
        pytest.param(shares(500, 250), shares(500, 255), {}, "with all 1,000 planned units", id="no difference"),
        pytest.param(shares(500, 400), shares(500, 470), {}, "candidate-1 is better than the control", id="better"),
        pytest.param(shares(500, 450), shares(500, 400), {}, "The control is the best variant", id="worse"),
        pytest.param(shares(500, 450), shares(300, 290), {}, "Units did not come", id="mismatch"),
        pytest.param(shares(500, 480), shares(500, 300), {}, "breaks the guardrail error_rate", id="broken"),
        pytest.param(shares(500, 400), shares(500, 470), {"mode": "bandit"}, "bias all estimates", id="bandit"),
        pytest.param([], [], {"status": "draft"}, "The test has not started", id="draft"),
    ],
)  # fmt: skip
def test_one_sentence_says_what_may_be_concluded(prompt, make_ab_test, control, candidate, fields, said):
    test = make_ab_test(prompt, **fields)
    if control:
        both(test, control, candidate)
    conclusion = results_of(test)["conclusion"]
    assert said in conclusion
    assert conclusion.count(". ") == 0
    assert conclusion.endswith(".")


def test_one_candidate_that_is_worse_says_nothing_of_the_other(prompt, make_ab_test):
    test = make_ab_test(prompt, ["One,", "Two,"], weights=[4 / 7, 3 / 7, 0])
    both(test, shares(400, 350), shares(300, 190))
    conclusion = results_of(test)["conclusion"]
    assert "candidate-1 is worse in success, by -0.2417" in conclusion
    assert "best" not in conclusion
    assert "of the others: too few units to conclude anything" in conclusion
    add_sums(test, "candidate-2", shares(300, 262))
    conclusion = results_of(test)["conclusion"]
    assert conclusion.startswith("This may be concluded at any time: candidate-1 is worse in success")
    assert "of the others: no difference has been shown with all 1,000 planned units" in conclusion


def test_units_that_have_no_value_are_none_of_the_planned(prompt, make_ab_test):
    test = make_ab_test(prompt, metrics=(USEFUL, SUCCESS))
    both(test, shares(500, 480), shares(500, 480))
    for variant in ("control", CANDIDATE):
        values = np.asarray([1.0, 2.0, 3.0] * 20)
        s, ss = values.sum(), values @ values
        sums = {"sum_k": 60, "sum_kk": 60, "sum_s": s, "sum_ss": ss, "sum_sk": s, "sum_m": s, "sum_mm": ss}
        ABArmMeasure.objects.create(test=test, phase=1, variant=variant, measure="score:useful", units=60, **sums)
    found = results_of(test)
    assert "with 120 of 1,000 planned units" in found["conclusion"]
    assert "120 of 1,000" in reasons_not_to_promote(test, CANDIDATE)[0]


def test_values_that_never_vary_say_nothing(prompt, make_ab_test):
    test = make_ab_test(prompt, metrics=(COST,))
    both(test, [0.0] * 300, [0.25] * 300, measure="cost_usd")
    results = results_of(test)
    assert "is the same for all units" in results["conclusion"]
    assert arm_of(results)["difference"]["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("control", "candidate", "variant", "reasons"),
    [
        pytest.param(shares(500, 400), shares(500, 470), CANDIDATE, [], id="better"),
        pytest.param(shares(250, 150), shares(250, 235), CANDIDATE, [], id="decided before the plan"),
        pytest.param(shares(500, 400), shares(500, 405), CANDIDATE, [], id="no difference with all units"),
        pytest.param(shares(200, 100), shares(200, 104), CANDIDATE, ["400 of 1,000 planned"], id="too few"),
        pytest.param(shares(500, 400), shares(350, 330), CANDIDATE, ["not what the weights say"], id="mismatch"),
        pytest.param(shares(500, 480), shares(500, 300), CANDIDATE, ["is worse", "the guardrail"], id="broken"),
        pytest.param(shares(500, 400), shares(500, 470), "control", ["the control"], id="control"),
        pytest.param(shares(500, 400), shares(500, 470), "other", ["no variant other"], id="unknown"),
    ],
)  # fmt: skip
def test_what_speaks_against_a_promotion(test, control, candidate, variant, reasons):
    both(test, control, candidate)
    found = reasons_not_to_promote(test, variant)
    assert len(found) == len(reasons)
    for reason, part in zip(found, reasons, strict=True):
        assert part in reason


def test_what_is_kept_of_the_stop_is_what_speaks_against_a_promotion(test):
    both(test, shares(200, 100), shares(200, 104))
    test.final_results = results_of(test)
    ABArmMeasure.objects.filter(test=test).delete()
    assert "400 of 1,000" in reasons_not_to_promote(test, CANDIDATE)[0]


def test_the_best_candidate_may_be_promoted(prompt, make_ab_test):
    test = make_ab_test(prompt, contents=("A {{name}}", "B {{name}}"))
    for variant, successes in (("control", 300), (CANDIDATE, 400), ("candidate-2", 440)):
        add_sums(test, variant, shares(500, successes))
    results = results_of(test)
    assert results["can_promote"] == {"variant": "candidate-2", "reasons": []}
    chances = [arm["difference"]["probability_best"] for arm in results["metrics"][0]["arms"] if arm["difference"]]
    assert 0.99 < sum(chances) <= 1


def test_a_candidate_that_breaks_a_guardrail_does_not_hide_one_that_is_better(prompt, make_ab_test):
    rng = np.random.default_rng(4)
    rail = {"name": "dear", "measure": "cost_usd", "margin": 0.1, "is_relative": True}
    test = make_ab_test(prompt, contents=("A {{name}}", "B {{name}}"), guardrails=[rail])
    for variant, successes, cost in (("control", 300, 1), (CANDIDATE, 400, 1), ("candidate-2", 460, 2)):
        add_sums(test, variant, shares(500, successes))
        add_sums(test, variant, rng.normal(cost, 0.05, 500), measure="cost_usd")
    results = results_of(test)
    assert results["can_promote"] == {"variant": CANDIDATE, "reasons": []}
    assert "candidate-1 is better than the control" in results["conclusion"]
    assert "candidate-2 breaks the guardrail dear" in results["conclusion"]
    assert "candidate-2 is better" not in results["conclusion"]


def test_candidates_share_alpha(prompt, make_ab_test):
    two = make_ab_test(prompt)
    both(two, shares(500, 250), shares(500, 270))
    ABTest.objects.filter(id=two.id).update(status="stopped", stopped_at=timezone.now())
    three = make_ab_test(prompt, contents=("A {{name}}", "B {{name}}"))
    for variant, successes in (("control", 250), (CANDIDATE, 270), ("candidate-2", 250)):
        add_sums(three, variant, shares(500, successes))
    alone, shared = (arm_of(results_of(each))["difference"] for each in (two, three))
    assert shared["p_value"] == pytest.approx(2 * alone["p_value"])
    assert shared["high"] - shared["low"] > alone["high"] - alone["low"]


def test_a_bandit_has_no_sample_ratio_and_says_that_it_is_biased(prompt, make_ab_test):
    test = make_ab_test(prompt, mode="bandit")
    both(test, shares(900, 450), shares(100, 60))
    results = results_of(test)
    assert results["sample_ratio"]["p_value"] is None
    assert any("biased" in warning for warning in results["warnings"])


def test_missing_scores_are_pointed_out(prompt, make_ab_test):
    test = make_ab_test(prompt, metrics=(SUCCESS, USEFUL))
    both(test, shares(500, 400), shares(500, 400))
    add_scores = ABArmMeasure(
        test=test, phase=1, measure="score:useful", units=400, sum_k=400, sum_kk=400, sum_s=800, sum_ss=1700,
        sum_sk=800, sum_m=800, sum_mm=1700,
    )  # fmt: skip
    for variant, units in (("control", 400), (CANDIDATE, 100)):
        ABArmMeasure.objects.create(
            **{name: getattr(add_scores, name) for name in ("test", "phase", "measure", "sum_sk", "sum_kk")},
            variant=variant, units=units, sum_k=units, sum_s=2 * units, sum_ss=5 * units, sum_m=2 * units,
            sum_mm=5 * units,
        )  # fmt: skip
    results = results_of(test)
    assert arm_of(results, 1)["coverage"] == 0.2
    assert any("20% to 80%" in warning for warning in results["warnings"])


@pytest.mark.parametrize(
    ("control", "candidate", "status"),
    [
        pytest.param(shares(12, 12), [0.0] * 12, "broken", id="all fail"),
        pytest.param(shares(3, 3), [0.0] * 2, "unknown", id="hardly any"),
        pytest.param(shares(2000, 1900), shares(2000, 1900), "ok", id="the same"),
        pytest.param(shares(100, 95), shares(100, 85), "unknown", id="perhaps"),
    ],
)
def test_every_test_has_a_guardrail_of_errors(test, control, candidate, status):
    both(test, control, candidate)
    found = rail_of(results_of(test))
    assert found["status"] == status
    assert found["low"] <= found["value"] - found["control_value"] <= found["high"]


def test_an_own_guardrail_of_errors_takes_the_place_of_the_built_in_one(prompt, make_ab_test):
    strict = {"name": "strict", "measure": "error_rate", "margin": 0.5, "is_relative": True}
    test = make_ab_test(prompt, guardrails=[strict])
    both(test, shares(4000, 3800), shares(4000, 3500))
    results = results_of(test)
    assert [rail["name"] for rail in results["guardrails"]] == ["strict"]
    assert rail_of(results, "strict")["status"] == "broken"


@pytest.mark.parametrize(
    ("margin", "is_relative", "status"),
    [(0.5, True, "broken"), (2.0, True, "ok"), (0.05, False, "broken"), (3.0, False, "ok")],
)
def test_a_guardrail_of_cost(prompt, make_ab_test, margin, is_relative, status):
    rng = np.random.default_rng(2)
    rail = {"name": "dear", "measure": "cost_usd", "margin": margin, "is_relative": is_relative}
    test = make_ab_test(prompt, guardrails=[rail])
    both(test, rng.normal(1, 0.2, 400), rng.normal(2, 0.2, 400), measure="cost_usd")
    found = rail_of(results_of(test), "dear")
    assert found["status"] == status
    assert found["low"] < 1 < found["high"]


def test_a_guardrail_of_a_score_asks_for_no_less(prompt, make_ab_test):
    rng = np.random.default_rng(2)
    rail = {"name": "useful", "measure": "score:useful", "margin": 0.2, "is_relative": True}
    test = make_ab_test(prompt, metrics=(SUCCESS, USEFUL), guardrails=[rail])
    both(test, rng.normal(4, 0.5, 400), rng.normal(3, 0.5, 400), measure="score:useful")
    assert rail_of(results_of(test), "useful")["status"] == "broken"


def test_a_guardrail_of_latency_over_phases(prompt, make_ab_test):
    """The second phase is slower for both and has more of the candidate: that breaks nothing."""
    rng = np.random.default_rng(3)
    rail = {"name": "slow", "measure": "latency_p95", "margin": 0.3, "is_relative": True}
    test = make_ab_test(prompt, guardrails=[rail])
    for phase, level, sizes in ((1, 5.0, (3600, 400)), (2, 7.0, (400, 3600))):
        for variant, size in zip(("control", CANDIDATE), sizes, strict=True):
            latencies = rng.lognormal(level, 0.2, size).tolist()
            add_sums(test, variant, shares(size, size), phase=phase, latencies=latencies)
    found = rail_of(results_of(test), "slow")
    assert found["status"] != "broken"
    assert found["value"] == pytest.approx(found["control_value"], rel=0.1)
    assert found["control_value"] > 1000


def test_results_over_http(test, viewer, outsider, anonymous):
    both(test, shares(500, 400), shares(500, 470))
    path = f"{AB_TESTS}/{test.id}/results"
    answer = viewer.client.get(path)
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert data["can_promote"]["variant"] == CANDIDATE
    assert data["status"] == "running"
    assert outsider.client.get(path).status_code == 404
    assert anonymous.get(path).status_code == 401
    assert viewer.client.get(f"{path}?frozen=yes").json()["error"]["details"].keys() == {"frozen"}
    assert viewer.client.get(f"{path}?when=now").status_code == 400


def test_results_of_the_stop_are_kept(test, viewer):
    both(test, shares(500, 400), shares(500, 470))
    ABTest.objects.filter(id=test.id).update(
        status="stopped", stopped_at=timezone.now(), final_results=results_of(test)
    )
    add_sums(test, CANDIDATE, [1.0] * 10, measure="score:late")
    ABArm.objects.filter(test=test, variant=CANDIDATE).update(units=510)
    path = f"{AB_TESTS}/{test.id}/results"
    assert viewer.client.get(path).json()["data"]["units"] == 1000
    assert viewer.client.get(f"{path}?frozen=false").json()["data"]["units"] == 1010


def test_incidents_are_shown(test, viewer):
    said = {"kind": "guardrail", "variant": CANDIDATE, "message": "Too many errors."}
    ABIncident.objects.create(organization_id=test.organization_id, test=test, **said)
    data = viewer.client.get(f"{AB_TESTS}/{test.id}/results").json()["data"]
    assert [incident["message"] for incident in data["incidents"]] == ["Too many errors."]


def test_the_series_is_oldest_first(test, viewer, outsider):
    now = timezone.now()
    for minutes in (1, 3, 2):
        metrics = {"success": {CANDIDATE: {"n": minutes, "value": 0.5, "difference": 0.1, "low": None, "high": None}}}
        ABPoint.objects.create(test=test, taken_at=now + timedelta(minutes=minutes), units=minutes, metrics=metrics)
    path = f"{AB_TESTS}/{test.id}/series"
    points = viewer.client.get(path).json()["data"]["points"]
    assert [point["units"] for point in points] == [1, 2, 3]
    assert points[0]["metrics"]["success"][CANDIDATE]["difference"] == 0.1
    assert outsider.client.get(path).status_code == 404
