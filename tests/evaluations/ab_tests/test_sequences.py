"""The formulas of A/B tests, held against libraries and worked examples."""

from math import inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import normal_sample_size_one_tail
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from apps.evaluations.statistics.binary import normal_quantile
from apps.evaluations.statistics.deciding import Measured, chances, compare, measure_arm
from apps.evaluations.statistics.moments import Moments, estimate, share_estimate
from apps.evaluations.statistics.planning import MOST_UNITS, share_deviations, units_needed
from apps.evaluations.statistics.sample_ratio import check_sample_ratio
from apps.evaluations.statistics.sequences import (
    Pair,
    Share,
    excess_bounds,
    log_evidence,
    multiplier,
    one_sided_multiplier,
    shares_below_quantile,
)

MEAN = Measured("mean")
SHARE = Measured("mean", is_share=True)


def moments(values, counts=None):
    """Of units with these sums of so many values each."""
    s = np.asarray(values, dtype=float)
    k = np.ones_like(s) if counts is None else np.asarray(counts, dtype=float)
    m = s / k
    return Moments(len(s), k.sum(), (k * k).sum(), s.sum(), (s * s).sum(), (s * k).sum(), m.sum(), (m * m).sum())


def drawn(seed, n=400):
    rng = np.random.default_rng(seed)
    counts = rng.geometric(0.4, n)
    return rng.lognormal(1, 1, n) * counts, counts


def test_means_and_sums_are_those_of_the_units():
    values, counts = drawn(1)
    found = estimate(moments(values, counts), "mean")
    assert found.value == pytest.approx((values / counts).mean())
    assert found.variance == pytest.approx((values / counts).var(ddof=1))
    total = estimate(moments(values, counts), "sum")
    assert (total.value, total.variance) == pytest.approx((values.mean(), values.var(ddof=1)))


def test_a_ratio_has_the_variance_of_the_delta_method():
    values, counts = drawn(2)
    found = estimate(moments(values, counts), "ratio")
    ratio = values.sum() / counts.sum()
    influence = (values - ratio * counts) / counts.mean()
    assert found.value == pytest.approx(ratio)
    assert found.variance == pytest.approx(influence.var(ddof=1))


def test_moments_add_up():
    values, counts = drawn(3)
    parts = moments(values[:100], counts[:100]) + moments(values[100:], counts[100:])
    assert [getattr(parts, name) for name in Moments.__slots__] == pytest.approx(
        [getattr(moments(values, counts), name) for name in Moments.__slots__]
    )


def test_values_that_do_not_vary_have_no_variance_and_shares_always_have_some():
    assert estimate(moments([0.1] * 300), "mean").variance == 0
    assert estimate(moments([1e9 + 0.1] * 300), "mean").variance == 0
    ones = share_estimate(moments([1.0] * 98))
    assert ones.value == 1
    assert ones.variance == pytest.approx(np.var([0, *[1] * 99], ddof=1))
    assert estimate(moments([1.0]), "mean") is None
    assert estimate(Moments(2, 2, 2, 1e200, inf, 1e200, 1e200, inf), "mean") is None


def test_the_multiplier_is_that_of_the_paper():
    """Theorem 2.2 of Waudby-Smith et al., written out for 1,000 units and a squared scale of 0.01."""
    alpha, t, rho2 = 0.05, 1_000, 0.01
    planned = (-2 * log(alpha) + log(1 - 2 * log(alpha))) / rho2
    boundary = np.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * np.log(np.sqrt(t * rho2 + 1) / alpha))
    assert multiplier(t, planned_units=planned, alpha=alpha) / np.sqrt(t) == pytest.approx(boundary)


@pytest.mark.parametrize("alpha", [0.01, 0.4])
def test_a_bound_to_one_side_is_a_little_further_than_half_of_both(alpha):
    """Appendix B.1 of the same paper, written out."""
    t, rho2 = 1_000, 0.01
    planned = (-2 * log(2 * alpha) + log(1 - 2 * log(2 * alpha))) / rho2
    boundary = np.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * np.log(1 + np.sqrt(t * rho2 + 1) / (2 * alpha)))
    found = one_sided_multiplier(t, planned_units=planned, alpha=alpha)
    assert found / np.sqrt(t) == pytest.approx(boundary)
    assert found > multiplier(t, planned_units=planned, alpha=2 * alpha)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.4])
def test_the_sequence_is_narrowest_at_the_planned_number(alpha):
    there = multiplier(1000, planned_units=1000, alpha=alpha)
    others = [multiplier(1000, planned_units=planned, alpha=alpha) for planned in np.geomspace(50, 20_000, 60)]
    assert there <= min(others) * 1.01
    assert there > normal_quantile(1 - alpha / 2)


def test_shares_are_bounded_exactly_as_the_mixture_says():
    """The bound is on the edge of what the evidence allows, and no grid of shares within it goes below."""
    control, candidate, alpha = Share(40, 6), Share(30, 14), 0.05
    low, high = excess_bounds([Pair(1, control, candidate)], alpha=alpha)
    grid = np.linspace(0.001, 0.999, 500)
    first = np.array([log_evidence(control, p) for p in grid])
    second = np.array([log_evidence(candidate, p) for p in grid])
    allowed = first[:, None] + second[None, :] < -log(alpha)
    differences = (grid[None, :] - grid[:, None])[allowed]
    assert low == pytest.approx(differences.min(), abs=0.005)
    assert high == pytest.approx(differences.max(), abs=0.005)


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 60), st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 1)),
        min_size=1,
        max_size=4,
    ),
    st.floats(0.001, 0.4),
    st.floats(1, 3),
)
def test_bounds_of_shares_hold_what_was_seen(phases, alpha, factor):
    pairs = [Pair(w, Share(n, n * p), Share(m, m * q)) for n, m, p, q, w in phases]
    low, high = excess_bounds(pairs, alpha=alpha, factor=factor)
    seen = [
        pair.weight * (pair.candidate.value - factor * pair.control.value)
        for pair in pairs
        if pair.candidate.units and pair.control.units
    ]
    whole = sum(pair.weight for pair in pairs)
    assert -factor * whole - 1e-9 <= low <= high + 1e-9 <= whole + 2e-9
    if len(seen) == len(pairs):
        assert low - 1e-9 <= sum(seen) <= high + 1e-9


@pytest.mark.parametrize(("units", "is_broken"), [(3, False), (8, True), (12, True)])
def test_a_candidate_that_always_fails_is_found_after_a_few_units(units, is_broken):
    low, _ = excess_bounds([Pair(1, Share(units, 0), Share(units, units))], alpha=0.05 / 3)
    assert (low > 0.1) == is_broken


def test_more_units_bound_a_quantile_more_closely_and_few_do_not():
    assert shares_below_quantile(20, 0.95, alpha=0.05)[1] == 1.0
    widths = [np.diff(shares_below_quantile(n, 0.95, alpha=0.05))[0] for n in (500, 5_000, 50_000)]
    assert widths == sorted(widths, reverse=True)
    low, high = shares_below_quantile(50_000, 0.95, alpha=0.05)
    assert 0.94 < low < 0.95 < high < 0.96


@pytest.mark.parametrize("seed", range(3))
def test_the_test_for_one_look_is_welchs(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.lognormal(0, 1, 300), rng.lognormal(0.1, 1.3, 200)
    found = compare({1: moments(a)}, {1: moments(b)}, MEAN, alpha=0.05, planned_units=1000)
    welch = stats.ttest_ind(b, a, equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert found.value == pytest.approx(b.mean() - a.mean())
    assert (found.fixed.p_value, found.fixed.low, found.fixed.high) == pytest.approx(
        (welch.pvalue, interval.low, interval.high)
    )


@pytest.mark.parametrize(("x", "n", "y", "m"), [(80, 100, 88, 100), (0, 60, 3, 70), (499, 500, 500, 500)])
def test_the_test_for_one_look_at_shares_is_that_of_two_proportions(x, n, y, m):
    pair = ({1: moments([1.0] * x + [0.0] * (n - x))}, {1: moments([1.0] * y + [0.0] * (m - y))})
    found = compare(*pair, SHARE, alpha=0.05, planned_units=1000)
    low, high = confint_proportions_2indep(y, m, x, n, method="newcomb", compare="diff", alpha=0.05)
    assert (found.fixed.low, found.fixed.high) == pytest.approx((low, high), abs=1e-6)
    assert found.fixed.p_value == pytest.approx(proportions_ztest([y, x], [m, n])[1])


def test_nothing_is_decided_before_the_burn_in_or_without_variation():
    few = moments([0.0, 1.0] * 24), moments([1.0] * 48)
    early = compare({1: few[0]}, {1: few[1]}, SHARE, alpha=0.05, planned_units=100)
    assert (early.low, early.verdict) == (None, "undecided")
    flat = compare({1: moments([2.0] * 500)}, {1: moments([3.0] * 500)}, MEAN, alpha=0.05, planned_units=100)
    assert (flat.value, flat.low, flat.fixed, flat.verdict) == (1.0, None, None, "undecided")


def test_each_arm_varies_at_least_as_much_as_both_together():
    rng = np.random.default_rng(0)
    varied = rng.normal(1, 2, 400)
    found = compare({1: moments(varied)}, {1: moments([0.0] * 100)}, MEAN, alpha=0.05, planned_units=500)
    assert found.control_error == pytest.approx(varied.std(ddof=1) / 20)
    assert found.candidate_error == pytest.approx(np.sqrt(0.8 * varied.var(ddof=1) / 100))


def test_the_direction_decides_what_is_better():
    rng = np.random.default_rng(0)
    arms = {1: moments(rng.normal(10, 1, 500))}, {1: moments(rng.normal(8, 1, 500))}
    less = compare(*arms, Measured("mean", is_less_better=True), alpha=0.05, planned_units=1000)
    assert (less.verdict, compare(*arms, MEAN, alpha=0.05, planned_units=1000).verdict) == ("better", "worse")
    assert less.relative == pytest.approx(-0.2, abs=0.02)


def test_phases_are_compared_within_themselves():
    """Simpson's paradox: the candidate is better in each phase, and worse in the sum."""
    control = {1: moments([1.0] * 10 + [0.0] * 90), 2: moments([1.0] * 720 + [0.0] * 180)}
    candidate = {1: moments([1.0] * 135 + [0.0] * 765), 2: moments([1.0] * 85 + [0.0] * 15)}
    found = compare(control, candidate, SHARE, alpha=0.05, planned_units=2000)
    assert found.value == pytest.approx(0.05)
    pooled = ({1: control[1] + control[2]}, {1: candidate[1] + candidate[2]})
    assert compare(*pooled, SHARE, alpha=0.05, planned_units=2000).verdict == "worse"


def test_a_phase_with_few_units_waits_until_there_are_enough():
    first = {1: moments([0.0, 1.0] * 100)}
    second = {1: first[1], 2: moments([1.0] * 10)}
    found = compare(second, first, SHARE, alpha=0.05, planned_units=400)
    assert found.units == 400
    late = compare(second, {**first, 2: moments([0.0] * 10)}, SHARE, alpha=0.05, planned_units=400)
    assert (late.units, late.value) == (400, 0)
    assert late.fixed == found.fixed


def test_arms_have_values_over_phases():
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1, 200), rng.normal(4, 1, 600)
    arm = measure_arm(
        {1: moments(values[0]), 2: moments(values[1])},
        MEAN,
        phase_units={1: 600.0, 2: 600.0},
        alpha=0.05,
        planned_units=1200,
    )
    assert arm.value == pytest.approx((values[0].mean() + values[1].mean()) / 2)
    assert arm.low < arm.value < arm.high


def test_chances_are_those_of_the_normal_limit():
    rng = np.random.default_rng(5)
    pools = {"control": rng.normal(0, 1, 200), "candidate": rng.normal(0.1, 1, 200)}
    arms = {
        name: measure_arm({1: moments(pool)}, MEAN, phase_units={1: 400.0}, alpha=0.05, planned_units=400)
        for name, pool in pools.items()
    }
    found = chances(arms, MEAN)
    difference = arms["candidate"].value - arms["control"].value
    error = np.hypot(arms["candidate"].error, arms["control"].error)
    better = stats.norm.cdf(difference / error)
    loss = error * stats.norm.pdf(difference / error) - difference * (1 - better)
    assert found["candidate"].probability_best == pytest.approx(better, abs=0.01)
    assert found["candidate"].expected_loss == pytest.approx(loss, abs=0.002)
    assert sum(one.probability_best for one in found.values()) == pytest.approx(1)
    assert chances(arms, MEAN) == found


def test_what_is_the_same_for_certain_is_best_as_often():
    free = measure_arm({1: moments([0.0] * 60)}, MEAN, phase_units={1: 120.0}, alpha=0.05, planned_units=400)
    found = chances({"control": free, "candidate": free}, MEAN)
    assert [(one.probability_best, one.expected_loss) for one in found.values()] == [(0.5, 0), (0.5, 0)]


def test_the_sample_ratio_is_pearsons():
    found = check_sample_ratio([({"a": 0.5, "b": 0.3, "c": 0.2, "off": 0.0}, {"a": 520, "b": 270, "c": 210})])
    assert found.p_value == pytest.approx(stats.chisquare([520, 270, 210], [500, 300, 200]).pvalue)
    assert found.expected == {"a": 500, "b": 300, "c": 200}
    assert not found.is_mismatch


def test_the_sample_ratio_is_that_of_each_phase():
    """All phases together look as if nothing were wrong."""
    phases = [({"a": 0.5, "b": 0.5}, {"a": 600, "b": 400}), ({"a": 0.5, "b": 0.5}, {"a": 400, "b": 600})]
    found = check_sample_ratio(phases)
    assert found.is_mismatch
    assert found.observed == {"a": 1000, "b": 1000}
    assert check_sample_ratio([({"a": 0.5, "b": 0.5}, {"a": 4, "b": 0})]).p_value is None
    assert check_sample_ratio([]).p_value is None


def test_units_of_one_look_are_those_of_statsmodels():
    deviations = share_deviations(0.2, 0.05)
    found = units_needed(min_effect=0.05, deviations=deviations, weights=[0.5, 0.5])
    std = np.sqrt(deviations[0] ** 2 / 0.5 + deviations[1] ** 2 / 0.5)
    expected = normal_sample_size_one_tail(0.05, 0.8, 0.025, std_null=std, std_alternative=std)
    assert found.fixed_units == np.ceil(expected)
    assert 1.6 < found.units / found.fixed_units < 2.2


def test_plans_have_units_for_the_burn_in_and_a_bound():
    tiny = units_needed(min_effect=100.0, deviations=(1, 1), weights=[0.9, 0.1])
    assert tiny.units_per_arm[1] >= 50
    endless = units_needed(min_effect=1e-200, deviations=(1, 1), weights=[0.5, 0.5])
    assert endless.units == MOST_UNITS
    more = units_needed(min_effect=0.1, deviations=(1, 1), weights=[0.25] * 4)
    two = units_needed(min_effect=0.1, deviations=(1, 1), weights=[0.5, 0.5])
    assert more.units > 2 * two.units
    unused = units_needed(min_effect=0.1, deviations=(1, 1), weights=[0.5, 0.5, 0.0])
    assert two.units < unused.units < more.units
    for weights in ([0.5], [0.0, 1.0], [1.0, 0.0]):
        with pytest.raises(ValueError, match="needed"):
            units_needed(min_effect=0.1, deviations=(1, 1), weights=weights)


def test_evidence_against_what_cannot_be_is_infinite():
    assert log_evidence(Share(3, 1), 0.0) == inf
    assert log_evidence(Share(3, 1), 1.0) == inf
    assert log_evidence(Share(0, 0), 0.3) == pytest.approx(0.0)
