"""Repeats of the same item: what they say of one answer's luck, and what is left once they are averaged."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Variation:
    """`within` is the variance of repeats of one item, `within_share` its share of the whole (1 - ICC).

    `icc` is ICC(1,1) of Shrout and Fleiss (1979), negative where items differ less than their repeats.
    """

    within: float
    within_share: float | None
    icc: float | None
    n_items: int


def item_means(values: Floats, items: Ints) -> tuple[Ints, Floats]:
    """The items that have values, in order, and the mean of each: one number for an item, however often it ran."""
    found, index = np.unique(items, return_inverse=True)
    return found, np.bincount(index, weights=values) / np.bincount(index)


def variation(counts: Ints, means: Floats, variances: Floats) -> Variation | None:
    """From each item's number of repeats, mean and sample variance (n - 1); items without two repeats do not count.

    One-way analysis of variance; for unequal numbers of repeats with the effective number of Searle (1971). None
    without two such items.
    """
    several = counts > 1
    counts, means, variances = counts[several], means[several], variances[several]
    n_items, n = len(counts), int(counts.sum())
    if n_items < 2:
        return None
    within = float(((counts - 1) * variances).sum() / (n - n_items))
    grand = float((counts * means).sum() / n)
    between = float((counts * (means - grand) ** 2).sum() / (n_items - 1))
    repeats = float((n - (counts**2).sum() / n) / (n_items - 1))
    whole = between + (repeats - 1) * within
    icc = (between - within) / whole if whole > 0 else None
    return Variation(within, None if icc is None else min(1.0, 1 - icc), icc, n_items)


def pass_at_k(counts: Ints, passed: Ints, k: int) -> float | None:
    """The chance that one of k answers passes: the mean over items of 1 - C(n-c, k) / C(n, k) (Chen et al. 2021).

    Unbiased. Over the items that have k answers; None without one.
    """
    enough = counts >= k
    if not enough.any():
        return None
    return float(1 - _all_of(counts[enough], counts[enough] - passed[enough], k).mean())


def pass_hat_k(counts: Ints, passed: Ints, k: int) -> float | None:
    """The chance that all of k answers pass: the mean over items of C(c, k) / C(n, k) (Yao et al. 2024, pass^k)."""
    enough = counts >= k
    if not enough.any():
        return None
    return float(_all_of(counts[enough], passed[enough], k).mean())


def _all_of(counts: Ints, good: Ints, k: int) -> Floats:
    """C(good, k) / C(counts, k), as a product, which does not overflow."""
    drawn = np.arange(k)
    return np.prod(np.maximum(good[:, None] - drawn, 0) / (counts[:, None] - drawn), axis=1)
