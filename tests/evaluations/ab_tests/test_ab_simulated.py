"""A/B tests that are made up by the hundred, decided by the functions that decide real ones. Seeds are fixed.

Where a share of errors is at most 5 %, two hundred tests show 10 at most by luck alone in six of ten cases; the
sequences err less than they may, so that no tolerance is added.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from apps.evaluations.ab_tests.guardrails import judge_guardrails
from apps.evaluations.ab_tests.sums import Sums
from apps.evaluations.models import ABArm
from apps.evaluations.statistics.deciding import Measured, compare
from apps.evaluations.statistics.moments import Moments
from apps.evaluations.statistics.planning import share_deviations, units_needed
from apps.evaluations.statistics.sample_ratio import check_sample_ratio
from apps.evaluations.statistics.sequences import Pair, Share, excess_bounds, shares_below_quantile
from apps.prompts.models import ABTest, ABVariant
from everquant.histogram import Histogram

ALPHA, LOOKS, TESTS = 0.05, 79, 200
SHARE, MEAN, RATIO = Measured("mean", is_share=True), Measured("mean"), Measured("ratio")
Draw = Callable[[np.random.Generator, int], np.ndarray]


def looks(units: int, count: int = LOOKS) -> np.ndarray:
    return (np.arange(1, count + 1) * units) // count


def cumulated(values: np.ndarray, at: np.ndarray) -> list[Moments]:
    """Of units that came one after the other with a value each, after so many of them."""
    sums, squares = np.cumsum(values)[at - 1].tolist(), np.cumsum(values * values)[at - 1].tolist()
    return [Moments(n, n, n, s, ss, s, s, ss) for n, s, ss in zip(at.tolist(), sums, squares, strict=True)]


def clustered(rng: np.random.Generator, events: int, at: np.ndarray) -> list[Moments]:
    """Of units that come again and again, some of them much more often, each with a level of its own."""
    units = events // 4
    often = rng.lognormal(0, 1, units)
    unit = rng.choice(units, size=events, p=often / often.sum())
    value = rng.normal(0, 1, units)[unit] + rng.lognormal(0, 1, events)
    found = []
    for n in at.tolist():
        k = np.bincount(unit[:n], minlength=units).astype(float)
        s = np.bincount(unit[:n], weights=value[:n], minlength=units)[k > 0]
        k = k[k > 0]
        m = s / k
        sums = (k.sum(), k @ k, s.sum(), s @ s, s @ k, m.sum(), m @ m)
        found.append(Moments(len(k), *(float(each) for each in sums)))
    return found


def decided_and_peeked(arms: Callable[[], list[Moments]], measured: Measured, planned: int) -> tuple[float, float]:
    """Shares of tests of two equal arms that are ever decided, and whose test for one look is ever significant."""
    decided = peeked = 0
    for _ in range(TESTS):
        found = [
            compare({1: control}, {1: candidate}, measured, alpha=ALPHA, planned_units=planned)
            for control, candidate in zip(arms(), arms(), strict=True)
        ]
        decided += any(each is not None and each.verdict != "undecided" for each in found)
        peeked += any(each is not None and each.fixed is not None and each.fixed.p_value < ALPHA for each in found)
    return decided / TESTS, peeked / TESTS


@pytest.mark.parametrize(
    ("draw", "measured"),
    [
        pytest.param(lambda rng, n: (rng.random(n) < 0.1).astype(float), SHARE, id="rate"),
        pytest.param(lambda rng, n: rng.lognormal(-6, 1.5, n), MEAN, id="skewed-cost"),
    ],
)
def test_two_equal_variants_are_seldom_told_apart_however_often_one_looks(draw: Draw, measured):
    rng, units = np.random.default_rng(1), 4_000
    decided, peeked = decided_and_peeked(lambda: cumulated(draw(rng, units), looks(units)), measured, 2 * units)
    assert decided <= ALPHA
    assert peeked > 0.25


@pytest.mark.parametrize("measured", [RATIO, MEAN], ids=["ratio", "mean-of-units"])
def test_units_that_come_again_are_seldom_told_apart_either(measured):
    rng, events = np.random.default_rng(2), 2_400
    at = looks(events, 24)
    decided, peeked = decided_and_peeked(lambda: clustered(rng, events, at), measured, events // 2)
    assert decided <= ALPHA
    assert peeked > ALPHA


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng, n: (rng.random(n) < 0.05).astype(float), id="rare-failures"),
        pytest.param(lambda rng, n: (rng.random(n) < 0.05) * rng.lognormal(3, 1, n), id="rare-revenue"),
        pytest.param(lambda rng, n: rng.lognormal(0, 1.5, n), id="skewed-cost"),
    ],
)
def test_a_small_variant_of_skewed_values_is_seldom_told_apart_from_a_large_one(draw: Draw):
    """One unit in twenty, where a test by the variants' own variances errs in a fifth of all cases."""
    rng, units, wrong = np.random.default_rng(10), 300, 0
    at = looks(units, 25)
    for _ in range(TESTS):
        arms = cumulated(draw(rng, 19 * units), 19 * at), cumulated(draw(rng, units), at)
        found = [
            compare({1: a}, {1: b}, MEAN, alpha=ALPHA, planned_units=20 * units) for a, b in zip(*arms, strict=True)
        ]
        wrong += any(each is not None and each.verdict != "undecided" for each in found)
    assert wrong / TESTS <= ALPHA


def test_several_candidates_share_the_chance_of_an_error():
    rng, units, wrong = np.random.default_rng(3), 2_000, 0
    at = looks(units, 20)
    for _ in range(TESTS):
        control, *candidates = (cumulated((rng.random(units) < 0.3).astype(float), at) for _ in range(4))
        wrong += any(
            compare({1: a}, {1: b}, SHARE, alpha=ALPHA / 3, planned_units=4 * units).verdict != "undecided"
            for candidate in candidates
            for a, b in zip(control, candidate, strict=True)
        )
    assert wrong / TESTS <= ALPHA


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.8, 0.2)], ids=["halves", "a-fifth"])
@pytest.mark.parametrize("kind", ["rate", "mean"])
def test_the_planned_number_of_units_shows_the_effect(kind, weights):
    """By the decision at twenty looks; the last one is at the planned number."""
    rng, effect = np.random.default_rng(4), 0.06
    deviations = share_deviations(0.2, effect) if kind == "rate" else (0.4, 0.4)
    size = units_needed(min_effect=effect, deviations=deviations, weights=weights, power=0.8)
    ats = [looks(units, 20) for units in size.units_per_arm]
    found, count = 0, 2 * TESTS
    for _ in range(count):
        arms = [
            (rng.random(at[-1]) < 0.2 + shift).astype(float) if kind == "rate" else rng.normal(shift, 0.4, at[-1])
            for at, shift in zip(ats, (0, effect), strict=True)
        ]
        pairs = zip(*(cumulated(values, at) for values, at in zip(arms, ats, strict=True)), strict=True)
        found += any(
            compare({1: a}, {1: b}, SHARE if kind == "rate" else MEAN, alpha=ALPHA, planned_units=size.units).verdict
            == "better"
            for a, b in reversed(list(pairs))
        )
    assert found / count >= 0.8
    assert size.units < 2.2 * size.fixed_units


def test_the_sequence_holds_the_truth_while_weights_and_the_world_change():
    """Three phases with other weights, whose rates differ: the truth lies within, at every look, in 95 % of tests."""
    rng, effect = np.random.default_rng(5), 0.05
    phases = [(0.9, 0.2), (0.5, 0.5), (0.2, 0.7)]
    missed = pooled = 0
    for _ in range(TESTS):
        control: dict[int, Moments] = {}
        candidate: dict[int, Moments] = {}
        is_missed = False
        for number, (share, rate) in enumerate(phases, 1):
            at = looks(1500, 10)
            zeros = cumulated((rng.random(1500) < rate).astype(float), np.maximum(1, (at * share).astype(int)))
            ones = cumulated(
                (rng.random(1500) < rate + effect).astype(float), np.maximum(1, (at * (1 - share)).astype(int))
            )
            for control[number], candidate[number] in zip(zeros, ones, strict=True):
                found = compare(control, candidate, SHARE, alpha=ALPHA, planned_units=4500)
                is_missed |= found is not None and found.low is not None and not found.low <= effect <= found.high
        missed += is_missed
        whole = [{1: sum(arm.values(), Moments())} for arm in (control, candidate)]
        naive = compare(*whole, SHARE, alpha=ALPHA, planned_units=4500)
        pooled += not naive.low <= effect <= naive.high
    assert missed / TESTS <= ALPHA
    assert pooled / TESTS > 0.9


def test_a_biased_split_is_caught_and_a_fair_one_is_not():
    rng, weights = np.random.default_rng(6), {"control": 0.5, "candidate": 0.5}

    def caught(share: float) -> float:
        found = 0
        for seen in rng.binomial(10_000, share, 1_000).tolist():
            units = {"control": 10_000 - seen, "candidate": seen}
            found += check_sample_ratio([(weights, units)]).is_mismatch
        return found / 1_000

    assert caught(0.47) > 0.99
    assert caught(0.5) <= 0.005


@pytest.mark.parametrize(("units", "rate"), [(300, 0.05), (60, 0.6)], ids=["few-errors", "many-errors"])
def test_a_guardrail_at_its_margin_seldom_breaks(units, rate):
    """The candidate's error rate is the control's and all of the margin, looked at twenty times and more."""
    rng, broken, margin, alpha, count = np.random.default_rng(7), 0, 0.1, 0.2, 80
    at = looks(units, units // 3 if units < 100 else 25)
    for _ in range(count):
        control, candidate = (np.cumsum(rng.random(units) < rate + more)[at - 1] for more in (0, margin))
        broken += any(
            excess_bounds([Pair(1, Share(n, x), Share(n, y))], alpha=alpha)[0] > margin
            for n, x, y in zip(at.tolist(), control.tolist(), candidate.tolist(), strict=True)
        )
    assert broken / count <= alpha


def test_the_band_of_a_percentile_holds_it():
    """Counts of values below the true percentile, at 200 looks of 2,000 tests at once."""
    rng, at = np.random.default_rng(8), looks(2_000, 200)
    below = np.cumsum(rng.random((2_000, 2_000)) < 0.95, axis=1)[:, at - 1] / at
    bounds = np.array([shares_below_quantile(n, 0.95, alpha=ALPHA) for n in at.tolist()])
    outside = ((below < bounds[:, 0]) | (below > bounds[:, 1])).any(axis=1).mean()
    assert 0.001 < outside <= ALPHA


def arm(name: str, latencies: np.ndarray) -> ABArm:
    histogram = Histogram()
    for value in latencies.tolist():
        histogram.add(value)
    n = len(latencies)
    counted = {"units": n, "exposures": n, "squared_exposures": n}
    return ABArm(phase=1, variant=name, latency_histogram=histogram.to_bytes(), **counted)


@pytest.mark.parametrize(
    ("slower", "statuses"),
    [(1.0, {"ok", "unknown"}), (1.2, {"unknown"}), (2.0, {"broken"})],
    ids=["the-same", "all-of-the-margin", "twice"],
)
def test_the_guardrail_of_the_95th_percentile(slower, statuses):
    rng = np.random.default_rng(9)
    rail = {"name": "slow", "measure": "latency_p95", "margin": 0.2, "is_relative": True}
    test = ABTest(alpha=ALPHA, guardrails=[rail], metrics=[], planned_units=4_000)
    variants = [ABVariant(name="control", is_control=True), ABVariant(name="candidate")]
    seen = set()
    for _ in range(30):
        arms = {
            name: {1: arm(name, factor * rng.lognormal(6, 0.5, 2_000))}
            for name, factor in (("control", 1.0), ("candidate", slower))
        }
        said = judge_guardrails(test, Sums(variants, [], arms, {}))[0]["arms"][0]
        seen.add(said["status"])
        assert said["low"] <= (slower - 1) * np.exp(6 + 0.5 * stats.norm.ppf(0.95)) <= said["high"]
    assert seen <= statuses
