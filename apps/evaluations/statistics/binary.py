"""Proportions: of one sample, and of pairs of yes and no."""

from dataclasses import dataclass
from functools import lru_cache
from math import asin, sqrt
from statistics import NormalDist

from apps.evaluations.statistics.intervals import UNKNOWN, Interval
from apps.evaluations.statistics.roots import root_between


@dataclass(frozen=True, slots=True)
class McNemar:
    """`gained` pairs went from no to yes, `lost` from yes to no; `difference` is (gained - lost) / n.

    `odds` is gained : lost with its exact interval, infinite where nothing was lost, None where nothing changed.
    """

    n: int
    gained: int
    lost: int
    difference: float
    interval: Interval
    p_value: float
    odds: float | None
    odds_low: float | None
    odds_high: float | None


def mcnemar(*, gained: int, lost: int, n: int, confidence: float = 0.95) -> McNemar:
    """McNemar's test (1947), exact. The interval of the difference is Tango's, that of the odds Clopper and Pearson's
    (1934) of gained / (gained + lost).
    """
    interval = paired_difference_interval(gained=gained, lost=lost, n=n, confidence=confidence)
    difference, p_value = (gained - lost) / n if n else 0.0, exact_p(gained, lost)
    if gained + lost == 0:
        return McNemar(n, 0, 0, difference, interval, p_value, None, None, None)
    low, high = _exact_share(gained, lost, confidence)
    odds = _odds(gained / (gained + lost))
    return McNemar(n, gained, lost, difference, interval, p_value, odds, _odds(low), _odds(high))


def exact_p(gained: int, lost: int) -> float:
    """Two-sided: of the pairs that changed, each way has a chance of one half."""
    from scipy.special import bdtr  # type: ignore[import-untyped]  # noqa: PLC0415 (half a second to import)

    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def _exact_share(gained: int, lost: int, confidence: float) -> tuple[float, float]:
    from scipy.special import betaincinv  # noqa: PLC0415 (half a second to import)

    tail = (1 - confidence) / 2
    low = float(betaincinv(gained, lost + 1, tail)) if gained else 0.0
    high = float(betaincinv(gained + 1, lost, 1 - tail)) if lost else 1.0
    return low, high


def exact_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Clopper and Pearson's interval of one proportion (1934): each end errs at most as often as it says.

    Wilson's is nearer to that on average, and errs more often than it says near 0 and 1.
    """
    if n == 0:
        return UNKNOWN
    return Interval(*_exact_share(successes, n - successes, confidence), "clopper_pearson")


def unvaried_interval(value: float, n: int, least: float, greatest: float, confidence: float = 0.95) -> Interval:
    """Of the mean of what is known to lie between two limits, where all n values were this one.

    By Clopper and Pearson at most a share q of all values is another one, each of which is at a limit at worst: the
    rule of three (Hanley and Lippman-Hand 1983), exact. UNKNOWN without a value.
    """
    if n == 0:
        return UNKNOWN
    other = 1 - exact_interval(n, n, confidence).low
    low, high = value - other * max(0.0, value - least), value + other * max(0.0, greatest - value)
    return Interval(low, high, "clopper_pearson", is_degenerate=True)


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else float("inf")


def paired_difference_interval(*, gained: int, lost: int, n: int, confidence: float = 0.95) -> Interval:
    """Tango's score interval of the difference of two paired proportions (Statistics in Medicine 17, 1998).

    It says something also where no pair changed, where Wald's has no width.
    """
    if n == 0:
        return UNKNOWN
    z, difference = normal_quantile((1 + confidence) / 2), (gained - lost) / n

    def above(delta: float, bound: float) -> float:
        return _tango_score(gained, lost, n, delta) - bound

    low = -1.0 if lost == n else root_between(-1 + 1e-12, difference, lambda delta: above(delta, z))
    high = 1.0 if gained == n else root_between(difference, 1 - 1e-12, lambda delta: above(delta, -z))
    return Interval(low, high, "tango_score")


def _tango_score(gained: int, lost: int, n: int, delta: float) -> float:
    """The standardized distance of the observed difference from `delta`: Tango's equation 3.

    `share` is the maximum-likelihood probability of a loss where the difference is `delta`.
    """
    distance = gained - lost - n * delta
    linear = -gained - lost + (2 * n - gained + lost) * delta
    share = (sqrt(max(0.0, linear**2 + 8 * n * lost * delta * (1 - delta))) - linear) / (4 * n)
    variance = n * (2 * share + delta * (1 - delta))
    return distance / sqrt(variance) if variance > 0 else (0.0 if distance == 0 else float("inf") * distance)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of one proportion (1927; Newcombe 1998, method 3)."""
    if n == 0:
        return UNKNOWN
    z, share = normal_quantile((1 + confidence) / 2), successes / n
    centre, spread = share + z**2 / (2 * n), z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + side) / (1 + z**2 / n) for side in (-spread, spread))
    return Interval(0.0 if successes == 0 else low, 1.0 if successes == n else high, "wilson_score")


def cohen_h(first: float, second: float) -> float:
    """The effect size of two proportions, 2·asin√second - 2·asin√first (Cohen 1988)."""
    return 2 * asin(sqrt(second)) - 2 * asin(sqrt(first))


def detectable_difference(discordance: float, n: int, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest true difference of paired proportions that McNemar's test of so many pairs shows with this power.

    `discordance` is the share of pairs that changed; a difference cannot be greater than it, and one that is greater
    than was observed brings its own. Sample size of Connor (Biometrics 43, 1987), solved for the difference. None where
    even a difference of 1 is not shown.
    """
    z_alpha, z_power = normal_quantile(1 - alpha / 2), normal_quantile(power)

    def needed(difference: float) -> float:
        changed = max(discordance, difference)
        return (z_alpha * sqrt(changed) + z_power * sqrt(changed - difference**2)) ** 2 / difference**2 - n

    if n == 0 or needed(1.0) > 0:
        return None
    return root_between(1e-9, 1.0, needed)


@lru_cache(maxsize=64)
def normal_quantile(share: float) -> float:
    """Of the standard normal distribution; the share is between 0 and 1."""
    return NormalDist().inv_cdf(share)
