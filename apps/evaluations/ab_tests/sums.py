"""What the collector has added up of a test: as much to read after a thousand exposures as after a billion."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from uuid import UUID

from apps.evaluations.models import ABArm, ABArmMeasure
from apps.evaluations.statistics.moments import Moments
from apps.prompts.models import ABPhase, ABTest, ABVariant
from everquant.histogram import Histogram

_COLUMNS = tuple(each.name for each in fields(Moments))


@dataclass(frozen=True, slots=True)
class Sums:
    """`arms` by variant and phase, `moments` by measure, variant and phase; what has no units is not there."""

    variants: Sequence[ABVariant]
    phases: Sequence[ABPhase]
    arms: Mapping[str, Mapping[int, ABArm]]
    moments: Mapping[str, Mapping[str, Mapping[int, Moments]]]

    @property
    def control(self) -> ABVariant | None:
        return next((variant for variant in self.variants if variant.is_control), None)

    @property
    def candidates(self) -> list[ABVariant]:
        return [variant for variant in self.variants if not variant.is_control]

    def units(self, variant: str) -> int:
        return sum(arm.units for arm in self.arms.get(variant, {}).values())

    def exposures(self, variant: str) -> int:
        return sum(arm.exposures for arm in self.arms.get(variant, {}).values())

    def moments_of(self, measure: str, variant: str) -> Mapping[int, Moments]:
        return self.moments.get(measure, {}).get(variant, {})

    def phase_units(self, measure: str) -> dict[int, float]:
        """Units of all variants together that have values."""
        units: dict[int, float] = defaultdict(float)
        for phases in self.moments.get(measure, {}).values():
            for phase, moments in phases.items():
                units[phase] += moments.units
        return dict(units)


def read_sums(test: ABTest) -> Sums:
    """Four queries."""
    arms: dict[str, dict[int, ABArm]] = defaultdict(dict)
    for arm in ABArm.objects.filter(test=test, units__gt=0):
        arms[arm.variant][arm.phase] = arm
    variants = list(ABVariant.objects.filter(test=test).order_by("position"))
    phases = list(ABPhase.objects.filter(test=test).order_by("number"))
    return Sums(variants, phases, arms, _moments(test.id))


def _moments(test_id: UUID) -> dict[str, dict[str, dict[int, Moments]]]:
    found: dict[str, dict[str, dict[int, Moments]]] = defaultdict(lambda: defaultdict(dict))
    rows = ABArmMeasure.objects.filter(test_id=test_id, units__gt=0, sum_k__gt=0)
    for measure, variant, phase, *sums in rows.values_list("measure", "variant", "phase", *_COLUMNS):
        found[measure][variant][phase] = Moments(*sums)
    return found


def latencies(arm: ABArm) -> Histogram:
    return Histogram.from_bytes(bytes(arm.latency_histogram)) if arm.latency_histogram else Histogram()
