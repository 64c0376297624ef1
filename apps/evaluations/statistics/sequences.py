"""Confidence sequences: intervals that hold at every look at once, however often and whenever one looks.

Means have asymptotic ones, shares and quantiles exact ones. One number for each unit; see `moments`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, log, log1p, pi, sqrt

from apps.evaluations.statistics.roots import root_between

_FURTHEST = 60.0
"""Of the logarithm of a multiplier: beyond it, a share is at its end or at what was seen, to the last digit."""
_CLOSE = 1e-9


def mixture_scale(planned_units: float, alpha: float) -> float:
    """ρ², with which the sequence is narrowest at `planned_units` (Waudby-Smith et al. 2024, appendix B.2)."""
    return _tightest(alpha) / planned_units


def _tightest(alpha: float) -> float:
    return -2 * log(alpha) + log(1 - 2 * log(alpha))


def multiplier(units: float, *, planned_units: float, alpha: float) -> float:
    """How many standard errors the asymptotic confidence sequence reaches to each side after so many units.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of Statistics 52 (2024), theorem 2.2.
    """
    grown = units * mixture_scale(planned_units, alpha) + 1
    return sqrt(2 * grown / (grown - 1) * log(sqrt(grown) / alpha))


def one_sided_multiplier(units: float, *, planned_units: float, alpha: float) -> float:
    """The same of a bound to one side alone, whose chance to be wrong is alpha (appendix B.1 of the paper)."""
    grown = units * mixture_scale(planned_units, 2 * alpha) + 1
    return sqrt(2 * grown / (grown - 1) * log1p(sqrt(grown) / (2 * alpha)))


@dataclass(frozen=True, slots=True)
class Share:
    """`units` values in [0, 1] that add up to `total`."""

    units: float
    total: float

    @property
    def value(self) -> float:
        return self.total / self.units

    @property
    def complement(self) -> "Share":
        return Share(self.units, self.units - self.total)


@dataclass(frozen=True, slots=True)
class Pair:
    """A control and a candidate in one phase, which is `weight` of the whole."""

    weight: float
    control: Share
    candidate: Share


def excess_bounds(pairs: Sequence[Pair], *, alpha: float, factor: float = 1.0) -> tuple[float, float]:
    """Between which bounds Σ weight·(candidate - factor·control) lies, at all times at once, but for a chance of alpha.

    The product over phases and arms of beta-binomial mixtures (Robbins 1970, with Jeffreys' prior) is a nonnegative
    supermartingale for the true means of independent values in [0, 1], which by Ville's inequality ever reaches
    1/alpha with a chance of alpha. These are the least and the most that the means within that set allow. Exact for
    any number of units, also where all of an arm's values are the same.
    """
    whole = sum(pair.weight for pair in pairs)
    low = _least([(pair.weight, pair.candidate, pair.control.complement) for pair in pairs], factor, alpha)
    high = _least([(pair.weight, pair.candidate.complement, pair.control) for pair in pairs], factor, alpha)
    return low - factor * whole, whole - high


def _least(sides: Sequence[tuple[float, Share, Share]], factor: float, alpha: float) -> float:
    """Of Σ weight·(first + factor·second) over all shares with too little evidence against them, by a Lagrange
    multiplier, at which each share is the root of a quadratic equation.
    """
    terms = [_Term(weight, first) for weight, first, _ in sides]
    terms += [_Term(weight * factor, second) for weight, _, second in sides]
    room = -log(alpha)

    def spare(at: float) -> float:
        return sum(log_evidence(term.seen, term.least(exp(at))) for term in terms) - room

    at = root_between(-_FURTHEST, _FURTHEST, spare, _CLOSE) if spare(-_FURTHEST) > 0 else -_FURTHEST
    return sum(term.weight * term.least(exp(at)) for term in terms)


@dataclass(frozen=True, slots=True)
class _Term:
    weight: float
    seen: Share

    def least(self, price: float) -> float:
        """The p that minimizes weight·p + price·evidence(p): the smaller root of a quadratic equation."""
        if self.seen.total <= 0:
            return 0.0
        linear = self.weight + price * self.seen.units
        root = sqrt(max(0.0, linear**2 - 4 * self.weight * price * self.seen.total))
        return min(self.seen.value, 2 * price * self.seen.total / (linear + root))


def log_evidence(seen: Share, share: float) -> float:
    """The logarithm of the mixture's likelihood over that of `share`: what was seen speaks against it by so much."""
    failures = max(0.0, seen.units - seen.total)
    mixed = lgamma(seen.total + 0.5) + lgamma(failures + 0.5) - lgamma(seen.units + 1) - log(pi)
    against = _times_log(seen.total, share) + (failures * log1p(-share) if share < 1 else _times_log(failures, 0))
    return mixed - against


def _times_log(times: float, value: float) -> float:
    if times <= 0:
        return 0.0
    return times * log(value) if value > 0 else -inf


def shares_below_quantile(units: float, share: float, *, alpha: float) -> tuple[float, float]:
    """Between which shares of what was seen the true quantile of `share` lies, at all times at once.

    How many of n values are at most the true quantile is binomial, whatever the values' distribution (Howard and
    Ramdas, Bernoulli 28, 2022); the bound is the beta-binomial mixture's. 0 and 1 say that there is no bound.
    """
    room = -log(alpha)

    def excess(seen: float) -> float:
        return log_evidence(Share(units, seen * units), share) - room

    low = 0.0 if excess(0.0) <= 0 else root_between(0.0, share, excess)
    high = 1.0 if excess(1.0) <= 0 else root_between(share, 1.0, excess)
    return low, high
