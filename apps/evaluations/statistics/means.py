"""Means of paired differences: permutation tests, bootstrap intervals, effect sizes.

Every function takes one value for each item. Columns are several metrics of the same items, which share their random
numbers. Seeds are fixed: the same values give the same answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, nctdtr, ndtr, ndtri, stdtrit  # type: ignore[import-untyped]

from apps.evaluations.statistics.intervals import UNKNOWN, Interval
from apps.evaluations.statistics.roots import root_between

Floats = NDArray[np.float64]

PERMUTATIONS, RESAMPLES = 9_999, 9_999
MIN_RESAMPLES = 1_999
DRAWS = 20_000_000
"""What the resamples of a bootstrap may draw, if that leaves MIN_RESAMPLES."""
EXACT_UP_TO = 16
"""So many differences that are not 0 are permuted in all ways."""
MAX_RESAMPLED_N = 50_000
"""Beyond it, resampling costs seconds and says what the normal distribution says."""
SEED = 19_935
_BLOCK = 250_000


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """`method` is permutation_exact, permutation_monte_carlo or permutation_normal."""

    p_value: float
    method: str
    permutations: int


def permutation_tests(differences: Floats) -> list[PermutationTest]:
    """Two-sided, of a mean difference of 0, by flipping signs; one for each column of (items, metrics).

    Exact by enumeration up to EXACT_UP_TO differences that are not 0 (Fisher 1935; those that are 0 change nothing);
    then by Monte Carlo with the observed arrangement counted in, so that p is never 0 and the test stays valid (Phipson
    and Smyth 2010); beyond MAX_RESAMPLED_N items by the normal limit of the same distribution. Without an item p is 1.
    """
    n, metrics = differences.shape
    nonzero = (differences != 0).sum(axis=0)
    tests: list[PermutationTest | None] = [None] * metrics
    sampled = []
    for column in range(metrics):
        if nonzero[column] <= EXACT_UP_TO:
            tests[column] = _exact_permutation(differences[differences[:, column] != 0, column])
        elif n > MAX_RESAMPLED_N:
            tests[column] = _normal_permutation(differences[:, column])
        else:
            sampled.append(column)
    if sampled:
        for column, test in zip(sampled, _monte_carlo(differences[:, sampled]), strict=True):
            tests[column] = test
    return [test for test in tests if test is not None]


def _exact_permutation(differences: Floats) -> PermutationTest:
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    extreme = (np.abs(sums) >= abs(differences.sum()) - _tolerance(differences)).sum()
    return PermutationTest(float(extreme / len(sums)), "permutation_exact", len(sums))


def _normal_permutation(differences: Floats) -> PermutationTest:
    z = abs(differences.sum()) / np.sqrt((differences**2).sum())
    return PermutationTest(float(2 * ndtr(-z)), "permutation_normal", 0)


def _monte_carlo(differences: Floats) -> Iterator[PermutationTest]:
    n = len(differences)
    total = differences.sum(axis=0)
    least = np.abs(total) - np.array([_tolerance(column) for column in differences.T])
    extreme = np.zeros(len(total), dtype=np.int64)
    rng = np.random.default_rng(SEED)
    rows = max(1, _BLOCK // n)
    for start in range(0, PERMUTATIONS, rows):
        block = min(rows, PERMUTATIONS - start)
        drawn = np.frombuffer(rng.bytes(block * ((n + 7) // 8)), dtype=np.uint8).reshape(block, -1)
        kept = np.unpackbits(drawn, axis=1, count=n).astype(np.float64)
        extreme += (np.abs(2 * (kept @ differences) - total) >= least).sum(axis=0)
    for count in extreme:
        yield PermutationTest(float((count + 1) / (PERMUTATIONS + 1)), "permutation_monte_carlo", PERMUTATIONS)


def _tolerance(differences: Floats) -> float:
    """What rounding may make of two sums that are equal."""
    return 1e-12 * float(np.abs(differences).sum())


def mean_intervals(values: Floats, confidence: float = 0.95) -> list[Interval]:
    """Of the mean of each column of (items, metrics): BCa bootstrap (Efron 1987), Student's beyond MAX_RESAMPLED_N.

    The quantiles are widened for few items (see `_bca`). UNKNOWN for fewer than two items.
    """
    n, metrics = values.shape
    if n < 2:
        return [UNKNOWN] * metrics
    if n > MAX_RESAMPLED_N:
        return [student_interval(column, confidence) for column in values.T]
    resampled = _resampled_means(values)
    means = values.mean(axis=0)
    return [
        _bca(resampled[:, column], means[column], values[:, column] - means[column], confidence)
        for column in range(metrics)
    ]


def ratio_interval(numerator: Floats, denominator: Floats, confidence: float = 0.95) -> Interval:
    """Of the ratio of two means over the same items, by BCa; beyond MAX_RESAMPLED_N by the delta method.

    UNKNOWN for fewer than two items, and where a resample's denominator is not positive.
    """
    n = len(numerator)
    if n < 2 or denominator.mean() <= 0:
        return UNKNOWN
    ratio = float(numerator.mean() / denominator.mean())
    influence = (numerator - ratio * denominator) / denominator.mean()
    if n > MAX_RESAMPLED_N:
        around = student_interval(influence, confidence)
        return Interval(ratio + around.low, ratio + around.high, "student", is_degenerate=around.is_degenerate)
    means = _resampled_means(np.column_stack([numerator, denominator]))
    if (means[:, 1] <= 0).any():
        return UNKNOWN
    return _bca(means[:, 0] / means[:, 1], ratio, influence, confidence)


def student_interval(values: Floats, confidence: float = 0.95) -> Interval:
    n = len(values)
    return student_interval_of(float(values.mean()), float(np.std(values, ddof=1)), n, confidence) if n > 1 else UNKNOWN


def student_interval_of(mean: float, deviation: float, n: int, confidence: float = 0.95) -> Interval:
    """From the mean and the sample deviation (n - 1) of n values; UNKNOWN for fewer than two."""
    if n < 2:
        return UNKNOWN
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * deviation / n**0.5
    return Interval(mean - half, mean + half, "student", is_degenerate=half == 0)


def _resampled_means(values: Floats) -> Floats:
    """(resamples, columns): each is a product with how often an item was drawn."""
    n = len(values)
    resamples = max(MIN_RESAMPLES, min(RESAMPLES, DRAWS // n))
    rng = np.random.default_rng(SEED)
    rows = max(1, _BLOCK // n)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, rows):
        block = min(rows, resamples - start)
        # 16 bits, which MAX_RESAMPLED_N fits, are drawn in a third of the time
        drawn = n * np.arange(block)[:, None] + rng.integers(n, size=(block, n), dtype=np.uint16)
        times = np.bincount(drawn.ravel(), minlength=block * n).reshape(block, n).astype(np.float64)
        means[start : start + block] = times @ values
    return means / n


def _bca(resampled: Floats, observed: float, influence: Floats, confidence: float) -> Interval:
    """`influence` is, but for a factor, what each item adds to the estimate (the jackknife's, of a mean).

    Efron (1987) with the expansion of Hesterberg (2015, section 4.3): the bootstrap's spread is too small by
    √((n-1)/n) and normal where Student's is due, so z becomes t·√(n/(n-1)).
    """
    n = len(influence)
    spread = float((influence**2).sum())
    if spread <= (1e-12 * max(1e-300, abs(observed))) ** 2 * n:
        return Interval(observed, observed, "bca_bootstrap", is_degenerate=True)
    acceleration = float((influence**3).sum()) / (6 * spread**1.5)
    share = ((resampled < observed).mean() + (resampled <= observed).mean()) / 2
    bias = float(ndtri(np.clip(share, 1 / len(resampled), 1 - 1 / len(resampled))))
    z = float(stdtrit(n - 1, (1 + confidence) / 2)) * np.sqrt(n / (n - 1))
    shifted = bias + np.array([-z, z])
    room = 1 - acceleration * shifted
    at = np.where(room > 0, ndtr(bias + shifted / np.maximum(room, 1e-12)), [0.0, 1.0])
    low, high = np.quantile(resampled, at)
    return Interval(float(low), float(high), "bca_bootstrap")


def cohen_dz(differences: Floats) -> float | None:
    """The mean difference in its standard deviations (Cohen 1988), with Hedges' exact correction for few items (1981).

    None for fewer than two items, and where all differences are the same.
    """
    n = len(differences)
    deviation = float(np.std(differences, ddof=1)) if n > 1 else 0.0
    mean = float(differences.mean()) if n else 0.0
    if deviation <= 1e-12 * abs(mean):
        return None
    return hedges_correction(n - 1) * mean / deviation


def hedges_correction(freedom: int) -> float:
    """Γ(m/2) / (√(m/2)·Γ((m-1)/2)) for m degrees of freedom (Hedges 1981); 1 for one, where it is undefined."""
    if freedom < 2:
        return 1.0
    return float(np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2))


def detectable_mean(deviation: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest true mean that a paired t test of so many items shows with this power, in the values' unit.

    By the noncentral t distribution (Cohen 1988, section 12.2), as TTestPower of statsmodels.
    """
    if n < 2 or deviation == 0:
        return None
    critical = float(stdtrit(n - 1, 1 - alpha / 2))

    def lacking(effect: float) -> float:
        shift = effect * n**0.5
        # it gives NaN for tails that are as good as empty
        tails = np.nan_to_num(nctdtr(n - 1, shift, np.array([critical, -critical])))
        return power - 1 + float(tails[0] - tails[1])

    return root_between(0.0, 3 * (critical + 2) / n**0.5, lacking) * deviation
