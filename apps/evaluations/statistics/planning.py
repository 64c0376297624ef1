"""How many units a test needs before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from apps.evaluations.statistics.binary import normal_quantile
from apps.evaluations.statistics.deciding import BURN_IN, cautious_variances
from apps.evaluations.statistics.sequences import multiplier

MOST_UNITS = 1e15
"""More than all there will ever be."""


@dataclass(frozen=True, slots=True)
class SampleSize:
    """Units over all variants, and of each variant in the order of the weights.

    `fixed_units` is what one look at the end would need.
    """

    units: int
    units_per_arm: tuple[int, ...]
    fixed_units: int


def share_deviations(share: float, effect: float) -> tuple[float, float]:
    """Of yes and no: of one unit at this share, and at one that is `effect` further towards what varies more."""
    further = share + effect if share <= 0.5 else share - effect
    further = min(max(further, 0.0), 1.0)
    return (share * (1 - share)) ** 0.5, (further * (1 - further)) ** 0.5


def units_needed(
    *,
    min_effect: float,
    deviations: tuple[float, float],
    weights: Sequence[float],
    alpha: float = 0.05,
    power: float = 0.8,
) -> SampleSize:
    """So that a difference of `min_effect` is shown with this power, by the decision rule and not only by one look.

    `weights` are the shares of units, the control's first; `deviations` those of a unit's value under control and
    candidate. The formula is that of two means (Chow, Shao and Wang 2008, 3.2; `normal_sample_size_one_tail` of
    statsmodels), with what the confidence sequence reaches at the planned number in place of the normal quantile, for
    the candidate with the least weight. Raises ValueError without two weights above 0, or an effect above 0.
    """
    candidates = [weight for weight in weights[1:] if weight > 0]
    if not candidates or weights[0] <= 0 or min_effect <= 0:
        raise ValueError("A control, a candidate and an effect are needed.")
    total = weights[0] + sum(candidates)
    control, candidate = weights[0] / total, min(candidates) / total
    # As it is split when the test is judged: a candidate without weight may still get some.
    level = alpha / (len(weights) - 1)
    own = deviations[0] ** 2, deviations[1] ** 2
    cautious = cautious_variances(own, (control, candidate))
    reached = multiplier(control + candidate, planned_units=1, alpha=level)
    fixed, needed = (
        _units(
            (variances[0] / control + variances[1] / candidate) ** 0.5
            * (distance + normal_quantile(power))
            / min_effect
        )
        for variances, distance in ((own, normal_quantile(1 - level / 2)), (cautious, reached))
    )
    units = max(needed, ceil(min(BURN_IN / min(control, candidate), MOST_UNITS)))
    per_arm = tuple(ceil(units * weight / total) for weight in weights)
    return SampleSize(sum(per_arm), per_arm, fixed)


def _units(root: float) -> int:
    return ceil(min(root * root, MOST_UNITS))
