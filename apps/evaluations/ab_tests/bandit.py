"""Weights that follow what was seen (Thompson sampling): an arm gets its probability to be the best.

As draws of one arm for each unit by its posterior would (Thompson 1933; Scott, "A modern Bayesian look at the
multi-armed bandit", 2010), but for many units at a time, as results come late and in portions.
"""

from collections.abc import Mapping
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from apps.evaluations.ab_tests.collecting import lock_for_sums
from apps.evaluations.ab_tests.measuring import measured
from apps.evaluations.ab_tests.services import set_weights
from apps.evaluations.ab_tests.sums import read_sums
from apps.evaluations.statistics.deciding import Measured, shares_won
from apps.evaluations.statistics.moments import Moments, estimate, share_estimate
from apps.prompts.models import ABPhase, ABTest, ABTestStatus

FLOOR = 0.01
BURN_IN = 50
EVERY = timedelta(minutes=5)
SMALLEST_MOVE = 0.01
DRAWS = 20_000
REASON = "By what was seen so far."


def reweigh(test: ABTest) -> dict[str, float] | None:
    """Begin a phase with the weights of now, if they are others; gives them.

    Not before each arm has BURN_IN units, and not within EVERY of the last change. An arm of weight 0 keeps that.
    """
    if test.mode != ABTest.Mode.BANDIT or test.status != ABTestStatus.RUNNING:
        return None
    with transaction.atomic():
        locked = lock_for_sums(test.id, skip_locked=True)
        if locked is None or locked.status != ABTestStatus.RUNNING or not _is_due(locked):
            return None
        current = {variant.name: variant.weight for variant in locked.variants.all()}
        weights = weights_of(locked, [name for name, weight in current.items() if weight > 0])
        if max((abs(weight - current[name]) for name, weight in weights.items()), default=0.0) <= SMALLEST_MOVE:
            return None
        set_weights(locked, {**current, **weights}, reason=REASON, created_by_id=None)
    return weights


def _is_due(test: ABTest) -> bool:
    open_phase = ABPhase.objects.filter(test=test, ended_at__isnull=True).first()
    return open_phase is not None and timezone.now() - open_phase.started_at >= EVERY


def weights_of(test: ABTest, names: list[str]) -> dict[str, float]:
    """The weights of these arms by the primary metric; empty while one of them has fewer than BURN_IN units."""
    metric = next(each for each in test.metrics if each["name"] == test.primary_metric)
    sums = read_sums(test)
    arms = {name: sum(sums.moments_of(metric["measure"], name).values(), Moments()) for name in names}
    if not arms or min(moments.units for moments in arms.values()) < BURN_IN:
        return {}
    return with_floor(probabilities_best(arms, measured(metric), seed=test.id.int % 2**64 + test.phase))


def probabilities_best(arms: Mapping[str, Moments], by: Measured, *, seed: int) -> dict[str, float]:
    """By draws from each arm's posterior: a Beta of one yes or no of each unit, else the normal approximation."""
    import numpy as np  # noqa: PLC0415 (only where it is used)

    rng = np.random.default_rng(seed)
    sign = -1.0 if by.is_less_better else 1.0
    drawn = []
    for moments in arms.values():
        if by.is_share and moments.units == moments.sum_k and moments.sum_s == moments.sum_ss:
            drawn.append(sign * rng.beta(1 + moments.sum_s, 1 + moments.units - moments.sum_s, DRAWS))
        else:
            found = share_estimate(moments) if by.is_share else estimate(moments, by.aggregation)
            value, error = (found.value, (found.variance / found.units) ** 0.5) if found else (0.0, 0.0)
            drawn.append(sign * value + error * rng.standard_normal(DRAWS))
    return dict(zip(arms, shares_won(np.column_stack(drawn)), strict=True))


def with_floor(shares: Mapping[str, float]) -> dict[str, float]:
    """Each at least FLOOR, together 1."""
    free = 1 - FLOOR * len(shares)
    return {name: FLOOR + free * share for name, share in shares.items()}
