"""Two subjects side by side: values by item, and why one is missing."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from apps.evaluations.comparing.columns import Floats, Ints, Items, Subject, Values
from apps.evaluations.comparing.metrics import Metric

Flags = NDArray[np.bool_]
EVEN = 0.5


@dataclass(frozen=True)
class Side:
    """One subject's values of one metric, an entry for each of the items of both: NaN where there is none.

    `absent` items were never given to the subject. `missing_scores` of `expected_scores` are missing of the others.
    """

    values: Floats
    counts: Ints
    variances: Floats
    absent: Flags
    failed: Flags
    errors: Flags
    unfinished: Flags
    missing_scores: int
    expected_scores: int

    @cached_property
    def has_value(self) -> Flags:
        return ~np.isnan(self.values)

    @property
    def missing_share(self) -> float:
        return self.missing_scores / self.expected_scores if self.expected_scores else 0.0

    @property
    def is_single(self) -> bool:
        """Whether no item has more than one score."""
        return not (self.counts > 1).any()

    def why_missing(self) -> dict[str, int]:
        """Items without a value, by the first reason that applies."""
        missing, why = ~self.has_value, {}
        for name in ("absent", "failed", "errors", "unfinished"):
            reason = missing & getattr(self, name)
            why["score_error" if name == "errors" else name] = int(reason.sum())
            missing = missing & ~reason
        return {**why, "no_value": int(missing.sum())}


@dataclass(frozen=True)
class Pairs:
    """One metric of both subjects, over the items of either."""

    baseline: Side
    candidate: Side

    @cached_property
    def complete(self) -> Flags:
        return self.baseline.has_value & self.candidate.has_value

    @property
    def n(self) -> int:
        return int(self.complete.sum())

    @property
    def is_single(self) -> bool:
        return self.baseline.is_single and self.candidate.is_single

    @cached_property
    def before(self) -> Floats:
        return self.baseline.values[self.complete]

    @cached_property
    def after(self) -> Floats:
        return self.candidate.values[self.complete]

    @cached_property
    def differences(self) -> Floats:
        """The candidate's less the baseline's."""
        return self.after - self.before


def side_of(subject: Subject, metric: Metric, items: Items | None = None) -> Side:
    """Over its own items, or over `items`, which are sorted and have all of its own."""
    items = subject.items if items is None else items
    values = subject.values.get(metric.column or metric.name)
    at = np.searchsorted(items, subject.items)
    cases, failed, unfinished = (_spread(column, at, len(items)) for column in _counts(subject))
    means, variances = np.full(len(items), np.nan), np.full(len(items), np.nan)
    counts, errors = np.zeros(len(items), dtype=np.int64), np.zeros(len(items), dtype=np.int64)
    if values is not None:
        at = np.searchsorted(items, values.items)
        means[at], variances[at] = _finite(values), values.variances
        counts[at], errors[at] = values.counts, values.errors
    return Side(
        values=means,
        counts=counts,
        variances=variances,
        absent=cases == 0,
        failed=failed > 0,
        errors=errors > 0,
        unfinished=unfinished > 0,
        missing_scores=int(np.maximum(cases - counts, 0).sum()),
        expected_scores=int(cases.sum()),
    )


def even_side(candidate: Side) -> Side:
    """What a metric that compares two would say of the baseline against itself."""
    size = len(candidate.values)
    no, none = np.zeros(size, dtype=bool), np.zeros(size, dtype=np.int64)
    return Side(np.full(size, EVEN), none, np.full(size, np.nan), no, no, no, no, 0, 0)


def pairs_of(baseline: Subject, candidate: Subject, metric: Metric, items: Items) -> Pairs:
    after = side_of(candidate, metric, items)
    return Pairs(even_side(after) if metric.compares_two else side_of(baseline, metric, items), after)


def _counts(subject: Subject) -> tuple[Ints, Ints, Ints]:
    return subject.cases, subject.failed, subject.open


def _spread(column: Ints, at: NDArray[np.intp], size: int) -> Ints:
    spread = np.zeros(size, dtype=np.int64)
    spread[at] = column
    return spread


def _finite(values: Values) -> Floats:
    return np.where(np.isfinite(values.means), values.means, np.nan)
