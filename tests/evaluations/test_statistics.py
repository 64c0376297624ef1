"""Statistics against published worked examples, each with its source, and against what must hold of any data."""

from math import comb, inf, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint, proportion_effectsize

from apps.evaluations.statistics import binary, means, repeats
from apps.evaluations.statistics.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
from apps.evaluations.statistics.intervals import UNKNOWN, one_sided
from apps.evaluations.statistics.multiplicity import holm

# Fisher (1935), The Design of Experiments, section 21: heights of Darwin's maize, crossed less self-fertilized.
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)


@pytest.mark.parametrize(
    ("gained", "lost", "n", "p"),
    [
        (1, 7, 21, 0.0703),  # Bentur et al. (2009), in Fagerland, Lydersen and Laake (2013)
        (86, 150, 1600, 3.7159e-5),  # approval of the prime minister, Agresti (1990); exact as R's exact2x2 gives it
        (5, 15, 100, 0.0414),  # binomial table
        (0, 0, 10, 1.0),
        (3, 3, 10, 1.0),
    ],
)
def test_mcnemar(gained, lost, n, p):
    found = binary.mcnemar(gained=gained, lost=lost, n=n)
    assert found.p_value == pytest.approx(p, rel=2e-3)
    assert found.difference == (gained - lost) / n


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [
        (1, 7, 21, -0.517, -0.026),  # Fagerland, Lydersen and Laake (2014), table: Tango's asymptotic score interval
        (86, 150, 1600, -0.059, -0.021),  # Agresti (1990): approval of the prime minister
    ],
)
def test_interval_of_paired_proportions(gained, lost, n, low, high):
    found = binary.paired_difference_interval(gained=gained, lost=lost, n=n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def tango_in_closed_form(gained, lost, n, confidence):
    """Ends where the score is ±z, found on a grid without the solver: an independent reading of Tango's equation 3."""
    z = stats.norm.ppf((1 + confidence) / 2)
    delta = np.linspace(-1 + 1e-9, 1 - 1e-9, 400_001)
    linear = -gained - lost + (2 * n - gained + lost) * delta
    share = (np.sqrt(np.maximum(linear**2 + 8 * n * lost * delta * (1 - delta), 0)) - linear) / (4 * n)
    variance = np.maximum(n * (2 * share + delta * (1 - delta)), 1e-300)
    inside = delta[(gained - lost - n * delta) ** 2 <= z**2 * variance]
    return inside.min(), inside.max()


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_interval_of_pairs_holds_the_difference(gained, lost, same, confidence):
    n = gained + lost + same
    found = binary.paired_difference_interval(gained=gained, lost=lost, n=n, confidence=confidence)
    if n == 0:
        assert found is UNKNOWN
        return
    assert -1 <= found.low <= (gained - lost) / n <= found.high <= 1
    mirrored = binary.paired_difference_interval(gained=lost, lost=gained, n=n, confidence=confidence)
    assert (mirrored.low, mirrored.high) == (pytest.approx(-found.high, abs=1e-6), pytest.approx(-found.low, abs=1e-6))


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(0, 0, 3), (3, 0, 3), (0, 3, 3), (4, 9, 50), (1, 0, 1000), (500, 2, 502)]
)
def test_the_interval_of_pairs_is_where_the_score_crosses(gained, lost, n):
    found = binary.paired_difference_interval(gained=gained, lost=lost, n=n)
    low, high = tango_in_closed_form(gained, lost, n, 0.95)
    assert (found.low, found.high) == (pytest.approx(low, abs=2e-5), pytest.approx(high, abs=2e-5))


def test_odds_of_a_change():
    """Clopper and Pearson (1934): 7 of 8 is 0.4735 to 0.9968."""
    found = binary.mcnemar(gained=7, lost=1, n=21)
    assert (found.odds, found.odds_low, found.odds_high) == (
        pytest.approx(7),
        pytest.approx(0.4735 / 0.5265, rel=1e-3),
        pytest.approx(0.9968 / 0.0032, rel=2e-2),
    )
    assert binary.mcnemar(gained=4, lost=0, n=9).odds == inf
    assert binary.mcnemar(gained=0, lost=0, n=9).odds is None


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(successes, n, low, high):
    """Newcombe (1998), table I, method 3, and as statsmodels has it at another confidence."""
    found = binary.wilson_interval(successes, n, 0.8)
    assert (found.low, found.high) == pytest.approx(proportion_confint(successes, n, 0.2, "wilson"), abs=1e-12)
    found = binary.wilson_interval(successes, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_effect_sizes():
    """Cohen (1988), table 6.2.2: φ of .65 is 1.875, of .50 is 1.571. Hedges (1981): J of 10 is .9228, of 50 .9849."""
    assert binary.cohen_h(0.2, 0.9) == pytest.approx(proportion_effectsize(0.9, 0.2))
    assert binary.cohen_h(0.5, 0.65) == pytest.approx(1.875 - 1.571, abs=1e-3)
    assert means.hedges_correction(10) == pytest.approx(0.9228, abs=1e-4)
    assert means.hedges_correction(50) == pytest.approx(0.9849, abs=1e-4)
    assert means.cohen_dz(DARWIN) == pytest.approx(means.hedges_correction(14) * 20.9333 / 37.7440, rel=1e-4)
    assert means.cohen_dz(np.full(5, 2.0)) is None
    assert means.cohen_dz(np.array([2.0])) is None


def test_darwins_maize_in_all_ways():
    """Fisher (1935): of 32,768 arrangements 863 give as great a sum one way, 1,726 both ways: 5.267 %."""
    (found,) = means.permutation_tests(DARWIN[:, None])
    assert (found.method, found.permutations) == ("permutation_exact", 2**15)
    assert found.p_value == pytest.approx(1726 / 2**15)


def _mean_difference(first, second, axis):
    return np.mean(first - second, axis=axis)


def test_sampled_permutations_come_near_all_of_them():
    """17 differences are sampled here and enumerated by scipy: six binomial errors of 9,999 permutations."""
    differences = np.random.default_rng(7).normal(0.4, 1, 17)
    (found,) = means.permutation_tests(differences[:, None])
    every = stats.permutation_test(
        (differences, np.zeros(17)), _mean_difference, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert found.method == "permutation_monte_carlo"
    assert found.p_value == pytest.approx(every.pvalue, abs=6 * sqrt(every.pvalue * (1 - every.pvalue) / 9_999))


def test_permutations_count_ties_whatever_rounding_does():
    """Ten times 0.1: each of the two extreme arrangements is one of 1,024, and half of all are none of them."""
    (found,) = means.permutation_tests(np.full((10, 1), 0.1))
    assert found.p_value == 2 / 1024
    tied = np.array([0.1] * 30 + [-0.1] * 30 + [0.3, -0.3])[:, None]
    assert means.permutation_tests(tied)[0].p_value == 1


def test_columns_are_tested_as_if_they_were_alone():
    columns = np.random.default_rng(8).normal(0.1, 1, (100, 3))
    together = means.permutation_tests(columns)
    assert together == [means.permutation_tests(columns[:, [place]])[0] for place in range(3)]
    intervals = means.mean_intervals(columns)
    alone = [means.mean_intervals(columns[:, [place]])[0] for place in range(3)]
    for one, other in zip(intervals, alone, strict=True):
        assert (one.low, one.high) == (pytest.approx(other.low), pytest.approx(other.high))


def test_nothing_to_permute():
    assert means.permutation_tests(np.zeros((0, 1)))[0].p_value == 1
    assert means.permutation_tests(np.zeros((50, 1)))[0].p_value == 1
    assert means.permutation_tests(np.ones((1, 1)))[0].p_value == 1


def test_large_samples_take_the_limit():
    """Beyond 50,000 items the normal limit: of the same differences, within its error of what is sampled."""
    differences = np.random.default_rng(9).normal(0.008, 1, (60_000, 1))
    (found,) = means.permutation_tests(differences)
    assert found.method == "permutation_normal"
    assert found.p_value == pytest.approx(stats.ttest_1samp(differences[:, 0], 0).pvalue, rel=0.01)
    (interval,) = means.mean_intervals(differences)
    assert interval.method == "student"
    low, high = stats.ttest_1samp(differences[:, 0], 0).confidence_interval()
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_bca_is_scipys():
    """On 200 skewed values, where the expansion for few items is 1.003: within the error of 9,999 resamples."""
    values = np.random.default_rng(10).lognormal(size=200)
    (found,) = means.mean_intervals(values[:, None])
    wanted = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=9_999, rng=1).confidence_interval
    error = values.std() / sqrt(200)
    assert found.low == pytest.approx(wanted.low, abs=0.06 * error)
    assert found.high == pytest.approx(wanted.high, abs=0.12 * error)
    assert found.high - values.mean() > values.mean() - found.low


def test_intervals_where_nothing_varies():
    assert means.mean_intervals(np.zeros((1, 2))) == [UNKNOWN, UNKNOWN]
    assert means.mean_intervals(np.zeros((0, 1))) == [UNKNOWN]
    (same,) = means.mean_intervals(np.full((9, 1), 0.1))
    assert (same.low, same.high, same.is_degenerate) == (pytest.approx(0.1), pytest.approx(0.1), True)
    (nearly,) = means.mean_intervals(np.array([[0.0]] * 29 + [[1.0]]))
    assert nearly.low <= 1 / 30 <= nearly.high
    assert not nearly.is_degenerate
    assert means.ratio_interval(np.ones(5), np.zeros(5)) is UNKNOWN
    assert means.ratio_interval(np.ones(1), np.ones(1)) is UNKNOWN
    assert means.ratio_interval(np.array([1.0, 2, 3]), np.array([0.0, 0, 1])) is UNKNOWN


def test_ratios():
    """Efron and Tibshirani (1993), table 10.1: hormone patches, the ratio -.0713. And scipy's interval of 200 pairs."""
    placebo = np.array([9243, 9671, 11792, 13357, 9055, 6290, 12412, 18806], dtype=float)
    old = np.array([17649, 12013, 19979, 21816, 13850, 9806, 17208, 29044], dtype=float)
    new = np.array([16449, 14614, 17274, 23798, 12560, 10157, 16570, 26325], dtype=float)
    found = means.ratio_interval(new - old, old - placebo, confidence=0.9)
    assert found.low < -0.0713 < found.high
    rng = np.random.default_rng(11)
    before = rng.lognormal(size=200)
    after = before * rng.lognormal(0.1, 0.5, size=200)
    found = means.ratio_interval(after, before)
    wanted = stats.bootstrap((after, before), _mean_ratio, paired=True, n_resamples=9_999, rng=1).confidence_interval
    error = (wanted.high - wanted.low) / 4  # 9,999 resamples leave .04 of it; four of that, and our wider quantiles
    assert (found.low, found.high) == (
        pytest.approx(wanted.low, abs=0.2 * error),
        pytest.approx(wanted.high, abs=0.2 * error),
    )
    many = means.ratio_interval(np.tile(after, 300), np.tile(before, 300))
    assert (many.method, many.high - many.low) == (
        "student",
        pytest.approx((found.high - found.low) / sqrt(300), rel=0.1),
    )


def _mean_ratio(first, second, axis):
    return np.mean(first, axis=axis) / np.mean(second, axis=axis)


def test_smallest_effects():
    """Connor (1987) turned around, and Cohen (1988), table 2.4.1: 34 pairs show d = .5."""
    needed = (stats.norm.ppf(0.975) * sqrt(0.3) + stats.norm.ppf(0.8) * sqrt(0.3 - 0.01)) ** 2 / 0.01
    assert needed == pytest.approx(234, abs=2)
    assert binary.detectable_difference(0.3, round(needed)) == pytest.approx(0.1, abs=1e-3)
    assert binary.detectable_difference(0.0, 3) is None
    assert 0 < binary.detectable_difference(0.0, 1000) < 0.02
    shown = means.detectable_mean(2.0, 34)
    assert TTestPower().power(shown / 2, 34, 0.05) == pytest.approx(0.8, abs=1e-3)
    assert shown / 2 == pytest.approx(0.4952, abs=2e-3)  # Cohen (1988), table 2.4.1: d = .5 needs 34 (with dz)
    assert means.detectable_mean(0.0, 34) is None
    for n in (2, 5, 1000, 100_000):
        assert TTestPower().power(means.detectable_mean(1.0, n, 0.01), n, 0.01) == pytest.approx(0.8, abs=1e-6)


def test_holm():
    """Holm (1979), as in R's p.adjust: .01 .04 .03 .005 becomes .03 .06 .06 .02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1, 1]
    drawn = np.random.default_rng(1).uniform(size=40).tolist()
    assert holm(drawn) == pytest.approx(multipletests(drawn, method="holm")[1].tolist())


def test_pass_at_k():
    """Chen et al. (2021): 1 - C(n-c, k) / C(n, k); Yao et al. (2024): C(c, k) / C(n, k)."""
    counts, passed = np.array([200, 200, 5]), np.array([10, 200, 0])
    wanted = [1 - comb(190, 10) / comb(200, 10), 1]
    assert repeats.pass_at_k(counts, passed, 10) == pytest.approx(np.mean(wanted))
    assert repeats.pass_at_k(counts, passed, 5) == pytest.approx((1 - comb(190, 5) / comb(200, 5) + 1 + 0) / 3)
    assert repeats.pass_hat_k(counts, passed, 10) == pytest.approx((comb(10, 10) / comb(200, 10) + 1) / 2)
    assert repeats.pass_hat_k(counts, passed, 11) == pytest.approx(0.5)
    assert repeats.pass_at_k(counts, passed, 201) is None


@given(st.integers(1, 12), st.data())
def test_pass_at_k_is_what_drawing_gives(n, data):
    """Against all draws: of n answers of which c pass, k are taken."""
    from itertools import combinations

    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = [sum(draw) for draw in combinations([1] * c + [0] * (n - c), k)]
    counts, passed = np.array([n]), np.array([c])
    assert repeats.pass_at_k(counts, passed, k) == pytest.approx(sum(one > 0 for one in draws) / len(draws))
    assert repeats.pass_hat_k(counts, passed, k) == pytest.approx(sum(one == k for one in draws) / len(draws))


def test_variation_within_items():
    """Shrout and Fleiss (1979), table 2: six targets by four judges, ICC(1,1) = .17, mean square within 6.26."""
    ratings = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
    )
    found = repeats.variation(np.full(6, 4), ratings.mean(axis=1), ratings.var(axis=1, ddof=1))
    assert found.icc == pytest.approx(0.17, abs=5e-3)
    assert found.within == pytest.approx(6.26, abs=5e-3)
    assert found.within_share == pytest.approx(1 - found.icc)
    assert repeats.variation(np.array([1, 1]), np.zeros(2), np.array([np.nan, np.nan])) is None
    assert repeats.variation(np.array([2, 2]), np.zeros(2), np.zeros(2)).icc is None


def test_repeats_become_one_number():
    items, averaged = repeats.item_means(np.array([1.0, 0, 1, 5]), np.array([7, 7, 3, 9]))
    assert (items.tolist(), averaged.tolist()) == ([3, 7, 9], [1, 0.5, 5])


def ratings_of(table):
    """Both raters' labels from a table of counts."""
    pairs = [
        (row, column) for row, counts in enumerate(table) for column, count in enumerate(counts) for _ in range(count)
    ]
    return [row for row, _ in pairs], [column for _, column in pairs]


def test_kappa():
    """Cohen (1960), table 1, in 200 objects: kappa .492. Fleiss (1981), table 13.1, 100 diagnoses: .68, error .087."""
    found = cohen_kappa(*ratings_of([[88, 14, 18], [10, 40, 10], [2, 6, 12]]), [0, 1, 2])
    assert found.kappa == pytest.approx(0.492, abs=1e-3)
    assert (found.n, found.table[0]) == (200, [88, 14, 18])
    diagnoses = cohen_kappa(*ratings_of([[75, 1, 4], [5, 4, 1], [0, 0, 10]]), [0, 1, 2])
    assert diagnoses.kappa == pytest.approx(0.68, abs=5e-3)
    assert (diagnoses.high - diagnoses.low) / 2 / 1.96 == pytest.approx(0.087, abs=1e-3)


def test_weighted_kappa():
    """Cohen (1968) by hand: 1 - Σ w·o / Σ w·e with w the squared distance."""
    table = np.array([[20, 5, 1], [4, 15, 6], [2, 3, 24]])
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    for weights, power in [("linear", 1), ("quadratic", 2)]:
        weight = np.abs(np.subtract.outer(np.arange(3), np.arange(3))) ** power
        wanted = 1 - (weight * table).sum() / (weight * expected).sum()
        found = cohen_kappa(*ratings_of(table), [0, 1, 2], weights)
        assert found.kappa == pytest.approx(wanted)
        assert found.low < wanted < found.high


def test_kappa_of_what_tells_nothing():
    assert cohen_kappa([], [], ["a"]).kappa is None
    assert cohen_kappa(["a"] * 9, ["a"] * 9, ["a", "b"]).kappa is None
    perfect = [cohen_kappa(["a", "b"] * size, ["a", "b"] * size, ["a", "b"]) for size in (3, 300)]
    assert [one.kappa for one in perfect] == [1, 1]
    assert perfect[0].low < 0.5
    assert 0.97 < perfect[1].low < 1
    with pytest.raises(ValueError, match="Not a category: c"):
        cohen_kappa(["a"], ["c"], ["a", "b"])
    with pytest.raises(ValueError, match="same objects"):
        cohen_kappa(["a"], [], ["a"])


def test_fleiss():
    """Fleiss (1971), as ten objects by fourteen raters in the worked example of his kappa: .210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=1e-3)
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([[3, 0], [3, 0]]) is None
    for bad in ([[2, 0], [3, 0]], [[1, 0], [0, 1]]):
        with pytest.raises(ValueError, match="same number of raters"):
            fleiss_kappa(bad)


# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, example C: four observers, twelve units.
KRIPPENDORFF = [
    [1, 1, None, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [None, 5, 5, 5], [None, None, 1, 1], [None, None, 3, None],
]  # fmt: skip


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorff(level, alpha):
    found = krippendorff_alpha(KRIPPENDORFF, level)
    assert found.alpha == pytest.approx(alpha, abs=5e-4)
    assert (found.n_units, found.n_ratings) == (11, 40)
    assert found.low < alpha < found.high <= 1
    names = [[None if value is None else "abcde"[value - 1] for value in unit] for unit in KRIPPENDORFF]
    assert krippendorff_alpha(names, level, list("abcde")) == found


def test_krippendorff_of_two_observers():
    """Krippendorff (2011), example A: ten units, 0 and 1: alpha .095."""
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = krippendorff_alpha(list(zip(first, second, strict=True)), "nominal")
    assert found.alpha == pytest.approx(0.095, abs=5e-4)
    assert krippendorff_alpha([[1, 1], [1, 1]], "nominal").alpha is None
    assert krippendorff_alpha([[1, None], [None, 1]], "nominal").n_units == 0
    with pytest.raises(ValueError, match="Not a category"):
        krippendorff_alpha([["x", "y"]], "nominal", ["x"])


def test_bounds():
    assert one_sided(0.95) == pytest.approx(0.9)
    assert isnan(UNKNOWN.low)


@pytest.mark.parametrize("successes", [0, 3, 29, 30])
def test_the_exact_interval_is_that_of_scipy(successes):
    wanted = stats.binomtest(successes, 30).proportion_ci(0.9, method="exact")
    found = binary.exact_interval(successes, 30, 0.9)
    assert (found.low, found.high) == (pytest.approx(wanted.low), pytest.approx(wanted.high))


def test_the_rule_of_three():
    """Hanley and Lippman-Hand (1983): nothing bad among 100 still allows 3 in 100."""
    found = binary.unvaried_interval(0.0, 100, 0.0, 1.0, one_sided(0.95))
    assert (found.low, found.high, found.is_degenerate) == (0, pytest.approx(1 - 0.05**0.01), True)
    assert found.high == pytest.approx(0.03, abs=0.0005)
    scaled = binary.unvaried_interval(4.0, 100, 1.0, 5.0, one_sided(0.95))
    assert (scaled.low, scaled.high) == (pytest.approx(4 - 3 * found.high), pytest.approx(4 + found.high))
