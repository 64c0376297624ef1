"""Agreement between raters beyond what chance gives."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from apps.evaluations.statistics.binary import normal_quantile, wilson_interval

Weights = Literal["linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
BOOTSTRAP_RESAMPLES = 2_000
MOST_DRAWN = 2_000_000
SEED = 20_111


@dataclass(frozen=True, slots=True)
class KappaResult:
    """`table[i][j]` counts what the first rater gave category i and the second category j.

    `kappa` is None where it is undefined: both raters gave everything the same single category, or nothing was rated.
    """

    kappa: float | None
    low: float | None
    high: float | None
    n: int
    table: list[list[int]]


@dataclass(frozen=True, slots=True)
class AlphaResult:
    """`alpha` is None where it is undefined: every rating is the same, or no unit has two.

    `n_units` are those with two ratings or more, `n_ratings` theirs.
    """

    alpha: float | None
    low: float | None
    high: float | None
    n_units: int
    n_ratings: int


def cohen_kappa(
    a: Sequence[Hashable],
    b: Sequence[Hashable],
    categories: Sequence[Hashable],
    weights: Weights | None = None,
    confidence: float = 0.95,
) -> KappaResult:
    """Cohen's kappa of two raters of the same objects (Cohen 1960; weighted by the categories' order: Cohen 1968).

    The interval is the normal one with the standard error of Fleiss, Cohen and Everitt (1969). Where they agree in
    everything that error is 0, which says nothing of how few objects there were: the lower bound is then kappa at
    Wilson's lower bound of the observed agreement. Raises ValueError for lengths that differ and unknown categories.
    """
    import numpy as np  # noqa: PLC0415 (only where it is used)
    from statsmodels.stats.inter_rater import cohens_kappa  # type: ignore[import-untyped]  # noqa: PLC0415 (two seconds to import)

    table = _table(a, b, categories)
    n = sum(map(sum, table))
    counts = np.asarray(table, dtype=float)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0))
    if n == 0 or expected.sum() == np.trace(expected):
        return KappaResult(None, None, None, n, table)
    if n == np.trace(counts):
        chance = float(_disagreements(len(categories), weights).ravel() @ expected.ravel()) / n**2
        observed = wilson_interval(n, n, confidence)
        return KappaResult(1.0, max(-1.0, 1 - (1 - observed.low) / chance), 1.0, n, table)
    with np.errstate(invalid="ignore"):  # a rater who is always the same has a variance of 0, which may round below it
        found = cohens_kappa(counts, wt=weights)
    half = normal_quantile((1 + confidence) / 2) * float(np.sqrt(max(0.0, found.var_kappa)))
    kappa = float(found.kappa)
    return KappaResult(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), n, table)


def _table(a: Sequence[Hashable], b: Sequence[Hashable], categories: Sequence[Hashable]) -> list[list[int]]:
    if len(a) != len(b):
        raise ValueError(f"{len(a)} ratings and {len(b)} are not of the same objects.")
    unknown = {*a, *b} - set(categories)
    if unknown:
        raise ValueError(f"Not a category: {min(map(str, unknown))}")
    pairs = Counter(zip(a, b, strict=True))
    return [[pairs[row, column] for column in categories] for row in categories]


def _disagreements(size: int, weights: Weights | None) -> Any:
    """Between each two categories: 0 on the diagonal, 1 at the farthest."""
    import numpy as np  # noqa: PLC0415 (only where it is used)

    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / max(1, size - 1)
    return {None: (distance > 0).astype(float), "linear": distance, "quadratic": distance**2}[weights]


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Fleiss' kappa (1971): `counts[object][category]` raters, as many for each object. None where it is undefined.

    Raises ValueError for objects with another number of raters, or fewer than two.
    """
    import numpy as np  # noqa: PLC0415 (only where it is used)
    from statsmodels.stats.inter_rater import fleiss_kappa as of_table  # noqa: PLC0415 (two seconds to import)

    table = np.asarray(counts, dtype=float)
    if table.size == 0:
        return None
    raters = set(table.sum(axis=1))
    if len(raters) > 1 or min(raters) < 2:
        raise ValueError("Every object needs the same number of raters, two at least.")
    if (table.sum(axis=0) > 0).sum() < 2:
        return None
    return float(of_table(table, method="fleiss"))


def krippendorff_alpha(
    units: Sequence[Sequence[Any]],
    level: Level,
    categories: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> AlphaResult:
    """Krippendorff's alpha (2011): any number of raters, None where one gave nothing.

    `units[unit]` are its ratings: numbers, or with `categories` (in their order) members of those. The ordinal distance
    is that of mid-ranks, which is Krippendorff's. The interval is the bootstrap's over units with the expected
    disagreement held (Hayes and Krippendorff 2007). Raises ValueError for an unknown category.
    """
    import numpy as np  # noqa: PLC0415 (only where it is used)

    number = _numbering(categories)
    rated = [[number(value) for value in unit if value is not None] for unit in units]
    rated = [unit for unit in rated if len(unit) > 1]
    sizes = np.array([len(unit) for unit in rated], dtype=float)
    n_units, n_ratings = len(rated), int(sizes.sum())
    if not rated:
        return AlphaResult(None, None, None, 0, 0)
    values = np.concatenate([np.asarray(unit, dtype=float) for unit in rated])
    if level == "ordinal":
        values = _mid_ranks(values)
    starts = np.cumsum(sizes).astype(int)[:-1]
    within = np.array([_disagreement(unit, level) for unit in np.split(values, starts)]) / (sizes - 1)
    expected = _disagreement(values, level) / (n_ratings * (n_ratings - 1))
    if expected <= 0:
        return AlphaResult(None, None, None, n_units, n_ratings)
    alpha = 1 - within.sum() / n_ratings / expected
    low, high = np.quantile(1 - _resampled(within, sizes) / expected, [(1 - confidence) / 2, (1 + confidence) / 2])
    return AlphaResult(float(alpha), float(low), float(high), n_units, n_ratings)


def _resampled(within: Any, sizes: Any) -> Any:
    """The observed disagreement of each resample of the units; a few million draws in memory at a time."""
    import numpy as np  # noqa: PLC0415 (only where it is used)

    drawing, n_units = np.random.default_rng(SEED), len(sizes)
    at_once = max(1, MOST_DRAWN // n_units)
    found = []
    for start in range(0, BOOTSTRAP_RESAMPLES, at_once):
        drawn = drawing.integers(n_units, size=(min(at_once, BOOTSTRAP_RESAMPLES - start), n_units))
        found.append(within[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(found)


def _numbering(categories: Sequence[Hashable] | None) -> Callable[[Any], float]:
    """What is calculated with in the place of a rating."""
    if categories is None:
        return float
    places = {category: float(place) for place, category in enumerate(categories)}

    def number(value: Any) -> float:
        if value not in places:
            raise ValueError(f"Not a category: {value}")
        return places[value]

    return number


def _mid_ranks(values: Any) -> Any:
    import numpy as np  # noqa: PLC0415 (only where it is used)

    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts / 2)[index]


def _disagreement(values: Any, level: Level) -> float:
    """Summed over all ordered pairs of these ratings."""
    import numpy as np  # noqa: PLC0415 (only where it is used)

    size = len(values)
    if level == "nominal":
        return float(size**2 - (np.unique(values, return_counts=True)[1] ** 2).sum())
    centred = values - values.mean()
    return float(2 * size * (centred @ centred))
