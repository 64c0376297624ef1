"""What intervals cover, how often tests err, and what they find.

Counts of yes and no are not drawn: all that can come are summed with their probabilities, so that nothing of it is
chance. What is drawn has a fixed seed, and a tolerance of four binomial errors of the number of draws.
"""

from functools import cache
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from apps.evaluations.statistics import binary, means
from apps.evaluations.statistics.agreement import cohen_kappa
from apps.evaluations.statistics.intervals import one_sided
from apps.evaluations.statistics.multiplicity import holm

DRAWS = 800


def within(share, expected, draws=DRAWS):
    return abs(share - expected) <= 4 * sqrt(expected * (1 - expected) / draws)


@cache
def interval_of(gained, lost, n, confidence):
    return binary.paired_difference_interval(gained=gained, lost=lost, n=n, confidence=confidence)


def outcomes(n, gain, loss):
    """Every (gained, lost) with its probability; what is left out has less than 1e-5 in all."""
    for gained in range(n + 1):
        first = stats.binom.pmf(gained, n, gain)
        if first < 1e-9:
            continue
        rest = stats.binom.pmf(np.arange(n - gained + 1), n - gained, loss / (1 - gain)) * first
        for lost in np.flatnonzero(rest > 1e-8):
            yield gained, int(lost), float(rest[lost])


@pytest.mark.parametrize(("gain", "loss"), [(0.05, 0.05), (0.2, 0.1), (0.3, 0.3), (0.02, 0.15)])
def test_tangos_interval_covers(gain, loss):
    """Of 40 pairs. Score intervals are right on average and waver around it, as counts are whole: .925 to .985."""
    covered = sum(
        probability
        for gained, lost, probability in outcomes(40, gain, loss)
        if interval_of(gained, lost, 40, 0.95).low <= gain - loss <= interval_of(gained, lost, 40, 0.95).high
    )
    assert 0.925 <= covered <= 0.985, covered


@pytest.mark.parametrize("loss", [0.05, 0.12])
def test_what_is_worse_by_the_margin_seldom_passes(loss):
    """Non-inferiority of 80 pairs, truly worse by just the margin of .04, one-sided at .95: wrongly passed at .05 or
    so. The score's bound may be above it by some hundredths of that, as its interval wavers."""
    passed = sum(
        probability
        for gained, lost, probability in outcomes(80, loss - 0.04 + 1e-12, loss)
        if interval_of(gained, lost, 80, one_sided(0.95)).low >= -0.04
    )
    assert passed <= 0.062, passed


@pytest.mark.parametrize("discordance", [0.05, 0.4])
def test_mcnemar_never_errs_too_often(discordance):
    """Exact: at most .05 whatever the discordance, of 40 pairs."""
    each = discordance / 2
    wrong = sum(chance for gained, lost, chance in outcomes(40, each, each) if binary.exact_p(gained, lost) <= 0.05)
    assert wrong <= 0.05 + 1e-6


def test_mcnemar_finds_what_it_is_said_to_find():
    """The smallest effect of 100 pairs of which .2 change: Connor's is the asymptotic test's, and the exact one finds
    somewhat less than .8 of such."""
    effect = binary.detectable_difference(0.2, 100)
    gain, loss = (0.2 + effect) / 2, (0.2 - effect) / 2
    found = sum(chance for gained, lost, chance in outcomes(100, gain, loss) if binary.exact_p(gained, lost) <= 0.05)
    assert 0.7 <= found <= 0.82, found


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_wilsons_interval_covers(share):
    """Newcombe (1998): .95 on average, and locally not below .92 or so at n = 50 (but near 0 and 1)."""
    intervals = [binary.wilson_interval(successes, 50) for successes in range(51)]
    chances = stats.binom.pmf(np.arange(51), 50, share)
    covered = sum(c for c, one in zip(chances, intervals, strict=True) if one.low <= share <= one.high)
    assert 0.92 <= covered <= 0.99


@pytest.mark.parametrize("limit", [0.8, 0.9, 0.95, 0.98])
def test_an_exact_bound_never_errs_too_often(limit):
    """One-sided at .95, of a share that is just its limit: .05 at most, where Wilson's bound goes up to .07."""
    for n in (20, 25, 52, 59, 134):
        lows = [binary.exact_interval(successes, n, one_sided(0.95)).low for successes in range(n + 1)]
        wrong = stats.binom.pmf(np.arange(n + 1), n, limit)[np.array(lows) >= limit].sum()
        assert wrong <= 0.05 + 1e-9, (n, wrong)


def _normal(rng, shape):
    return rng.normal(size=shape)


def _laplace(rng, shape):
    return rng.laplace(size=shape)


def _thirds(rng, shape):
    """Most items the same, as metrics on answers are."""
    return rng.choice([-1.0, 0.0, 0.0, 1.0], size=shape)


@pytest.mark.parametrize("draw", [_normal, _laplace, _thirds])
@pytest.mark.parametrize("n", [12, 40])
def test_permutations_err_as_often_as_they_say(draw, n):
    """At most .05, and with as many arrangements as 40 items have hardly less."""
    values = draw(np.random.default_rng(n), (n, DRAWS))
    wrong = np.mean([test.p_value <= 0.05 for test in means.permutation_tests(values)])
    assert wrong <= 0.05 + 4 * sqrt(0.05 * 0.95 / DRAWS)
    assert n < 40 or wrong > 0.02


def test_permutations_find_what_is_there():
    """The power of the t test's smallest effect is .8; the permutation test has the same (Pitman 1937)."""
    effect = means.detectable_mean(1.0, 40)
    values = np.random.default_rng(3).normal(effect, 1, (40, DRAWS))
    found = np.mean([test.p_value <= 0.05 for test in means.permutation_tests(values)])
    assert within(found, 0.8)


@pytest.mark.parametrize(
    ("draw", "mean", "n", "least"),
    [
        (_normal, 0.0, 20, 0.91),
        (_thirds, 0.0, 40, 0.91),
        (lambda rng, shape: rng.exponential(size=shape), 1.0, 40, 0.89),  # latencies: long on one side
    ],
)
def test_bootstrap_intervals_cover(draw, mean, n, least):
    """Nominally .95, within four binomial errors of 400 draws; what has one long tail .02 less (Hesterberg 2015)."""
    values = draw(np.random.default_rng(n), (n, 400))
    covered = np.mean([one.low <= mean <= one.high for one in means.mean_intervals(values)])
    assert least <= covered <= 0.99, covered


def test_ratios_cover():
    """Of costs that go together, 100 times: .95 within four binomial errors and the bootstrap's own shortfall."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(100):
        before = rng.gamma(2, size=40)
        after = before * rng.gamma(8, 1.1 / 8, size=40)
        interval = means.ratio_interval(after, before)
        covered += interval.low <= 1.1 <= interval.high
    assert 0.95 - 4 * sqrt(0.95 * 0.05 / 100) - 0.01 <= covered / 100


def test_holm_errs_once_in_twenty_families():
    """Ten tests at once of which none is true: any finding in .05 of families."""
    drawn = np.random.default_rng(5).uniform(size=(DRAWS, 10))
    wrong = np.mean([min(holm(family)) <= 0.05 for family in drawn.tolist()])
    assert within(wrong, 1 - (1 - 0.005) ** 10)


def test_kappas_interval_covers():
    """Two raters with a kappa of .6, 150 objects: .95 within four binomial errors, and .01 for being asymptotic."""
    rng = np.random.default_rng(6)
    draws, covered = 150, 0
    for _ in range(draws):
        truth = rng.random(150) < 0.5
        other = np.where(rng.random(150) < 0.2, ~truth, truth)
        found = cohen_kappa(truth.tolist(), other.tolist(), [False, True])
        covered += found.low <= 0.6 <= found.high
    assert abs(covered / draws - 0.95) <= 4 * sqrt(0.95 * 0.05 / draws) + 0.01
