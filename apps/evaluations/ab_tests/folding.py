"""Adding up: what happened goes into the sums of its unit, and what this changes of them into the sums of its arm.

The sums of an arm are over units, and squares do not add up by events: so the arm loses what the unit was and gains
what it has become.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from apps.evaluations.ab_tests.happenings import Frame, Happening
from apps.evaluations.ab_tests.measures import Builtin
from everquant.histogram import Histogram

LATENCY = tuple(Builtin).index(Builtin.LATENCY_MS)
# Columns of ABArmMeasure, in the order of `moments_of`.
MOMENTS = ("units", "sum_k", "sum_kk", "sum_s", "sum_ss", "sum_sk", "sum_m", "sum_mm")

_READ_UNITS = """
SELECT unit_key, variant, phase, exposures, counts, sums, first_exposed_at FROM evaluations_abunit
WHERE test_id = %s AND unit_key = ANY(%s)
"""
_WRITE_UNITS = """
INSERT INTO evaluations_abunit (test_id, unit_key, variant, phase, exposures, counts, sums, first_exposed_at)
SELECT %s, unit_key, variant, phase, exposures, counts, sums, first_exposed_at FROM jsonb_to_recordset(%s::jsonb) AS u(
    unit_key text, variant text, phase integer, exposures integer, counts integer[], sums float8[],
    first_exposed_at timestamptz
)
ON CONFLICT (test_id, unit_key) DO UPDATE SET exposures = excluded.exposures, counts = excluded.counts,
    sums = excluded.sums, first_exposed_at = excluded.first_exposed_at
"""
_WRITE_ARM = """
INSERT INTO evaluations_abarm AS a (test_id, phase, variant, units, exposures, squared_exposures, latency_histogram)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (test_id, phase, variant) DO UPDATE SET units = a.units + excluded.units,
    exposures = a.exposures + excluded.exposures, squared_exposures = a.squared_exposures + excluded.squared_exposures,
    latency_histogram = excluded.latency_histogram
"""
_WRITE_MEASURE = f"""
INSERT INTO evaluations_abarmmeasure AS m (test_id, phase, variant, measure, {", ".join(MOMENTS)})
VALUES (%s, %s, %s, %s, {", ".join("%s" for _ in MOMENTS)})
ON CONFLICT (test_id, phase, variant, measure) DO UPDATE SET {
    ", ".join(f"{name} = m.{name} + excluded.{name}" for name in MOMENTS)
}
"""  # noqa: S608 (column names of this module)


@dataclass(slots=True)
class Unit:
    """A unit's own sums: how many values it has of each measure, and what they come to."""

    unit_key: str
    variant: str
    phase: int
    exposures: int
    counts: list[int]
    sums: list[float]
    first_exposed_at: datetime | None = None

    @classmethod
    def new(cls, happening: Happening, width: int) -> "Unit":
        return cls(happening.unit_key, happening.variant, happening.phase, 0, [0] * width, [0.0] * width)

    def add(self, happening: Happening) -> None:
        sign = happening.sign
        if happening.exposed_at is not None:
            self.exposures += 1
            self.first_exposed_at = min(self.first_exposed_at or happening.exposed_at, happening.exposed_at)
        for place, number in happening.values:
            self.counts[place] += sign
            # Without values nothing is left of them, not what rounding would leave.
            self.sums[place] = self.sums[place] + sign * number if self.counts[place] else 0.0

    def moments_of(self, place: int) -> tuple[float, ...]:
        """What the unit is in the sums of its arm, in the order of MOMENTS: with k values that sum to s."""
        k, s = self.counts[place], self.sums[place]
        if not self.exposures or k <= 0:
            return _NOTHING
        mean = s / k
        return (1, k, k * k, s, s * s, s * k, mean, mean * mean)


_NOTHING = (0.0,) * len(MOMENTS)


@dataclass(slots=True)
class ArmChange:
    units: int = 0
    exposures: int = 0
    squared_exposures: int = 0
    latencies: Histogram = field(default_factory=Histogram)
    measures: dict[int, list[float]] = field(default_factory=dict)

    def count_unit(self, before: int, after: int) -> None:
        """A unit had so many exposures, and has so many."""
        self.units += bool(after) - bool(before)
        self.exposures += after - before
        self.squared_exposures += after * after - before * before

    def count_moments(self, place: int, before: tuple[float, ...], after: tuple[float, ...]) -> None:
        if before == after:
            return
        sums = self.measures.setdefault(place, [0.0] * len(MOMENTS))
        for column, (was, is_now) in enumerate(zip(before, after, strict=True)):
            sums[column] += is_now - was

    def count_latencies(self, happening: Happening) -> None:
        for place, number in happening.values:
            if place == LATENCY and number >= 0:
                self.latencies.add(number)


Arms = dict[tuple[int, str], ArmChange]


def fold_unit(unit: Unit, happenings: Iterable[Happening], arms: Arms) -> None:
    """Add what happened to the unit, and what this changes to the changes of its arm."""
    arm = arms.setdefault((unit.phase, unit.variant), ArmChange())
    places = range(len(unit.counts))
    exposures, before = unit.exposures, [unit.moments_of(place) for place in places]
    for happening in happenings:
        unit.add(happening)
        arm.count_latencies(happening)
    arm.count_unit(exposures, unit.exposures)
    for place in places:
        arm.count_moments(place, before[place], unit.moments_of(place))


def fold(frame: Frame, happenings: Iterable[Happening]) -> None:
    """Add these to the sums of the test; its row is locked, so that nobody else does."""
    by_unit: dict[str, list[Happening]] = {}
    for happening in happenings:
        by_unit.setdefault(happening.unit_key, []).append(happening)
    if not by_unit:
        return
    known = read_units(frame.test_id, list(by_unit))
    arms: Arms = {}
    for unit_key, own in by_unit.items():
        if unit_key not in known:
            known[unit_key] = Unit.new(own[0], len(frame.measures))
        fold_unit(known[unit_key], own, arms)
    write_units(frame.test_id, known.values())
    write_arms(frame, arms)


def read_units(test_id: UUID, unit_keys: list[str]) -> dict[str, Unit]:
    with connection.cursor() as cursor:
        cursor.execute(_READ_UNITS, [test_id, unit_keys])
        return {row[0]: Unit(*row) for row in cursor.fetchall()}


def write_units(test_id: UUID, units: Iterable[Unit]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_WRITE_UNITS, [test_id, orjson.dumps(list(units)).decode()])


def write_arms(frame: Frame, arms: Mapping[tuple[int, str], ArmChange]) -> None:
    """Add the changes to what is stored, in a fixed order of arms."""
    measures: list[tuple[Any, ...]] = []
    rows = []
    kept = read_histograms(frame.test_id)
    for (phase, variant), change in sorted(arms.items()):
        latencies = kept.get((phase, variant), Histogram())
        latencies.merge(change.latencies)
        counted = (change.units, change.exposures, change.squared_exposures)
        rows.append((frame.test_id, phase, variant, *counted, latencies.to_bytes()))
        for place, sums in sorted(change.measures.items()):
            measures.append((frame.test_id, phase, variant, frame.measures[place], *sums))
    with connection.cursor() as cursor:
        cursor.executemany(_WRITE_ARM, rows)
        cursor.executemany(_WRITE_MEASURE, measures)


def read_histograms(test_id: UUID) -> dict[tuple[int, str], Histogram]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT phase, variant, latency_histogram FROM evaluations_abarm WHERE test_id = %s", [test_id])
        return {(phase, variant): _histogram(data) for phase, variant, data in cursor.fetchall()}


def _histogram(data: Any) -> Histogram:
    return Histogram.from_bytes(bytes(data)) if data else Histogram()
