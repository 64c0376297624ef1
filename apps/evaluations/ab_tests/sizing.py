"""How long a test must run: units by what is said of its metric, or by what the prompt's calls of late say."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Literal
from uuid import UUID

from apps.evaluations.ab_tests.measuring import SHARES
from apps.evaluations.ab_tests.traffic import MOST_CALLS, WINDOW, Traffic, read_traffic
from apps.evaluations.statistics.deciding import BURN_IN
from apps.evaluations.statistics.moments import Aggregation, Estimate, estimate
from apps.evaluations.statistics.planning import share_deviations, units_needed
from apps.prompts.models import ABTest, ABVariant, Prompt
from everquant.api.errors import BadRequest

Source = Literal["given", "history"]
MOST_DAYS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeWish:
    """What is to be shown. `weights` are the shares of units, the control's first."""

    measure: str
    aggregation: Aggregation
    min_effect: float
    weights: Sequence[float]
    alpha: float = 0.05
    power: float = 0.8
    exposed_share: float = 1.0
    baseline: float | None = None
    standard_deviation: float | None = None

    @property
    def is_share(self) -> bool:
        return self.measure in SHARES and self.aggregation == "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`units` over all variants, for the decision at any time; `fixed_units` would do for one look at the end.

    `standard_deviation` is of one unit's value. `days` is None where the traffic is unknown, or too little of it takes
    part.
    """

    units: int
    units_per_arm: list[int]
    fixed_units: int
    days: int | None
    baseline: float | None
    standard_deviation: float
    source: Source
    daily_units: float | None
    assumptions: list[str]


@dataclass(frozen=True, slots=True)
class _Basis:
    source: Source
    value: float | None
    deviations: tuple[float, float]


def plan_for(*, prompt: Prompt | None, wish: SizeWish) -> Plan:
    """At most one query. Raises BadRequest naming what must be given, where the prompt's calls do not tell it."""
    if prompt is None:
        return _plan(wish, None)
    return _plan(wish, _traffic(prompt.organization_id, prompt.pk, wish))


def _plan(wish: SizeWish, traffic: Traffic | None) -> Plan:
    basis = _basis(wish, traffic)
    size = units_needed(
        min_effect=wish.min_effect,
        deviations=basis.deviations,
        weights=wish.weights,
        alpha=wish.alpha,
        power=wish.power,
    )
    daily = traffic.daily_units if traffic is not None else None
    a_day = traffic.daily_units * traffic.coverage * wish.exposed_share if traffic is not None else 0.0
    days = size.units / a_day if a_day > 0 else inf
    return Plan(
        units=size.units,
        units_per_arm=list(size.units_per_arm),
        fixed_units=size.fixed_units,
        days=ceil(days) if days < MOST_DAYS else None,
        baseline=basis.value,
        standard_deviation=basis.deviations[0],
        source=basis.source,
        daily_units=daily,
        assumptions=_assumptions(wish, basis, traffic),
    )


def plan_of(test: ABTest, variants: Sequence[ABVariant]) -> Plan | None:
    """As a test that starts needs it; None where the prompt's calls do not tell how its primary metric varies."""
    metric = next(each for each in test.metrics if each["name"] == test.primary_metric)
    in_order = sorted(variants, key=lambda variant: (not variant.is_control, variant.position))
    wish = SizeWish(
        measure=metric["measure"],
        aggregation=metric["aggregation"],
        min_effect=test.min_effect,
        weights=[variant.weight for variant in in_order],
        alpha=test.alpha,
        power=test.power,
        exposed_share=test.exposed_share,
    )
    try:
        return _plan(wish, _traffic(test.organization_id, test.prompt_id, wish))
    except BadRequest:
        return None


def _traffic(organization_id: UUID, prompt_id: UUID, wish: SizeWish) -> Traffic | None:
    return read_traffic(organization_id=organization_id, prompt_id=prompt_id, measure=wish.measure)


def _basis(wish: SizeWish, traffic: Traffic | None) -> _Basis:
    """What is given goes before what was seen."""
    seen = estimate(traffic.moments, wish.aggregation) if traffic is not None else None
    source: Source = "history" if wish.baseline is None and wish.standard_deviation is None else "given"
    value = wish.baseline if wish.baseline is not None else seen.value if seen is not None else None
    if wish.standard_deviation is not None:
        return _Basis(source, value, (wish.standard_deviation, wish.standard_deviation))
    has_varied = seen is not None and seen.variance > 0
    if wish.is_share and value is not None and not (has_varied and _is_clustered(traffic)):
        return _Basis(source, value, share_deviations(value, wish.min_effect))
    if seen is None or not has_varied:
        raise BadRequest("How the values vary is not known.", details=_missing(wish))
    return _Basis(source, value, _deviations(seen))


def _is_clustered(traffic: Traffic | None) -> bool:
    """Units that have several values vary less than a single yes or no."""
    return traffic is not None and traffic.moments.sum_k > traffic.moments.units


def _deviations(seen: Estimate) -> tuple[float, float]:
    deviation = seen.variance**0.5
    return deviation, deviation


def _missing(wish: SizeWish) -> dict[str, str]:
    field = "baseline" if wish.is_share else "standard_deviation"
    return {field: f"Needed: the prompt's calls of the last {WINDOW.days} days do not tell how {wish.measure} varies."}


def _assumptions(wish: SizeWish, basis: _Basis, traffic: Traffic | None) -> list[str]:
    effect, power, alpha = (f"{number:g}" for number in (wish.min_effect, wish.power, wish.alpha))
    said = [
        f"A difference of {effect} is shown with a power of {power}, however often one looks.",
        f"The chance that a difference is shown where there is none is at most {alpha}, however often one looks.",
        f"The candidate with the least weight decides, and each variant has at least {BURN_IN} units.",
    ]
    if basis.deviations[0] == basis.deviations[1]:
        said.append("Values vary as much under every variant.")
    if traffic is not None:
        said.append(
            f"There are {traffic.daily_units:,.4g} new units a day, as in the last {traffic.days:,.3g} days "
            f"(of at most {WINDOW.days}, and {MOST_CALLS:,} calls), and segments let all of them in."
        )
        if traffic.coverage < 1:
            said.append(f"Of these units {traffic.coverage:.3g} have a value of {wish.measure}, and only they count.")
    return said
