"""Whether units came to variants as the weights say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.001
_FEWEST_EXPECTED = 5


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """`expected` and `observed` units by variant. `p_value` is None as long as too few units are there to tell."""

    p_value: float | None
    expected: dict[str, float]
    observed: dict[str, int]

    @property
    def is_mismatch(self) -> bool:
        return self.p_value is not None and self.p_value < LEVEL


def check_sample_ratio(phases: Sequence[tuple[Mapping[str, float], Mapping[str, int]]]) -> SampleRatio:
    """Of each phase the weights and the units that it began, by variant; what has no weight in a phase is left out.

    Pearson's chi-square, added up over the phases that expect at least five units of everything.
    """
    from scipy.special import chdtrc  # type: ignore[import-untyped]  # noqa: PLC0415 (half a second to import)

    statistic, freedom = 0.0, 0
    expected: dict[str, float] = {}
    observed: dict[str, int] = {}
    for weights, units in phases:
        weighted = {name: weight for name, weight in weights.items() if weight > 0}
        seen = {name: units.get(name, 0) for name in weighted}
        share = sum(seen.values()) / (sum(weighted.values()) or 1)
        for name, weight in weighted.items():
            expected[name] = expected.get(name, 0.0) + weight * share
            observed[name] = observed.get(name, 0) + seen[name]
        if weighted and min(weighted.values()) * share >= _FEWEST_EXPECTED:
            statistic += sum((seen[name] - weight * share) ** 2 / (weight * share) for name, weight in weighted.items())
            freedom += len(weighted) - 1
    return SampleRatio(float(chdtrc(freedom, statistic)) if freedom else None, expected, observed)
