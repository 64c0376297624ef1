"""The sums of a test computed anew from what they are of: executions, scores and observations.

What retention or a purge has removed is still in the sums, and no longer there to be added up; and what was repriced
counts at the price of now.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from math import isclose, sqrt
from typing import Any

from django.db import connection, transaction
from django.db.models import Sum

from apps.evaluations.ab_tests.collecting import lock_for_sums
from apps.evaluations.ab_tests.folding import MOMENTS, ArmChange, Arms, Unit, fold_unit, write_arms, write_units
from apps.evaluations.ab_tests.happenings import READ_AT_ONCE, Frame, read_counted
from apps.evaluations.models import ABArm, ABArmMeasure, ABUnit
from apps.prompts.models import ABTest
from everquant.histogram import Histogram

# Of sums that were added up in another order.
PRECISION = 1e-7
MOST_SHOWN = 20
_STORED = """
SELECT unit_key, variant, phase, exposures, counts, sums, first_exposed_at FROM evaluations_abunit
WHERE test_id = %s ORDER BY unit_key COLLATE "C"
"""


class HistoryGone(Exception):
    """There are fewer exposures to be added up than are in the sums."""


def verify(test: ABTest) -> tuple[int, list[str]]:
    """How many units there are, and what of the sums is not what they are of: MOST_SHOWN units, and all arms.

    Reads one moment; what waits to be added up is in neither.
    """
    with _one_moment():
        frame, arms = Frame.of(test), dict[tuple[int, str], ArmChange]()
        units, problems = 0, list[str]()
        for right, stored in _paired(_computed(frame, test, arms), _stored(test)):
            units += right is not None
            if len(problems) < MOST_SHOWN and (why := _unit_problem(right, stored)):
                problems.append(f"unit {(right or stored).unit_key!r}: {why}")  # type: ignore[union-attr] # one of both
        return units, problems + _arm_problems(frame, test, arms)


@transaction.atomic
def rebuild(test: ABTest, *, force: bool = False) -> int:
    """Replace the sums by what they should be; how many units there are. The test cannot change meanwhile.

    Raises HistoryGone where exposures would be lost, unless forced.
    """
    locked = lock_for_sums(test.id)
    if locked is None:
        return 0
    before = ABArm.objects.filter(test=test).aggregate(total=Sum("exposures"))["total"] or 0
    frame, arms = Frame.of(locked), dict[tuple[int, str], ArmChange]()
    for model in (ABUnit, ABArm, ABArmMeasure):
        model.objects.filter(test=test).delete()
    units, portion = 0, list[Unit]()
    for unit in _computed(frame, locked, arms):
        portion.append(unit)
        if len(portion) == READ_AT_ONCE:
            units += _write(frame, portion)
    units += _write(frame, portion)
    write_arms(frame, arms)
    after = sum(arm.exposures for arm in arms.values())
    if after < before and not force:
        raise HistoryGone(f"{before} exposures are in the sums, and {after} are still there to be added up")
    return units


def _write(frame: Frame, portion: list[Unit]) -> int:
    written = len(portion)
    write_units(frame.test_id, portion)
    portion.clear()
    return written


def _computed(frame: Frame, test: ABTest, arms: Arms) -> Iterator[Unit]:
    """Unit by unit in the order of their keys; the arms are whole once all have been read."""
    for _, rows in groupby(read_counted(test), key=lambda row: row.unit_key):
        own = [found for row in rows if (found := frame.happening(row)) is not None]
        if own:
            unit = Unit.new(own[0], len(frame.measures))
            fold_unit(unit, own, arms)
            yield unit


def _stored(test: ABTest) -> Iterator[Unit]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(_STORED, [test.id])
        while rows := cursor.fetchmany(READ_AT_ONCE):
            for row in rows:
                yield Unit(*row)


def _paired(left: Iterator[Unit], right: Iterator[Unit]) -> Iterator[tuple[Unit | None, Unit | None]]:
    """Those with the same key together, both being in the order of their keys' UTF-8."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.unit_key.encode() < other.unit_key.encode()):
            yield one, None
            one = next(left, None)
        elif one is None or other.unit_key.encode() < one.unit_key.encode():
            yield None, other
            other = next(right, None)
        else:
            yield one, other
            one, other = next(left, None), next(right, None)


def _unit_problem(right: Unit | None, stored: Unit | None) -> str:
    if right is None or stored is None:
        return "is missing" if stored is None else "should not be there"
    for name in ("variant", "phase", "exposures", "counts"):
        if getattr(right, name) != getattr(stored, name):
            return f"{name} are {getattr(stored, name)}, not {getattr(right, name)}"
    same = all(
        isclose(mine, theirs, rel_tol=PRECISION, abs_tol=1e-9)
        for mine, theirs in zip(right.sums, stored.sums, strict=True)
    )
    return "" if same else f"sums are {stored.sums}, not {right.sums}"


def _arm_problems(frame: Frame, test: ABTest, arms: Arms) -> list[str]:
    problems = []
    stored = {(row.phase, row.variant): row for row in ABArm.objects.filter(test=test)}
    for place in sorted(stored.keys() | arms.keys()):
        right, row = arms.get(place, ArmChange()), stored.get(place)
        was = (row.units, row.exposures, row.squared_exposures) if row else (0, 0, 0)
        is_right = (right.units, right.exposures, right.squared_exposures)
        if was != is_right:
            problems.append(f"{_name(place)}: units, exposures and their squares are {was}, not {is_right}")
        kept = Histogram.from_bytes(bytes(row.latency_histogram)) if row and row.latency_histogram else Histogram()
        if kept != right.latencies:
            problems.append(f"{_name(place)}: the histogram has {kept.count} latencies, not {right.latencies.count}")
    return problems + _measure_problems(frame, test, arms)


def _measure_problems(frame: Frame, test: ABTest, arms: Arms) -> list[str]:
    stored: dict[Any, tuple[float, ...]] = {
        (row["phase"], row["variant"], row["measure"]): tuple(row[name] for name in MOMENTS)
        for row in ABArmMeasure.objects.filter(test=test).values("phase", "variant", "measure", *MOMENTS)
    }
    right = {
        (*place, frame.measures[number]): tuple(sums)
        for place, arm in arms.items()
        for number, sums in arm.measures.items()
    }
    nothing = (0.0,) * len(MOMENTS)
    return [
        f"{_name(key[:2])}, {key[2]}: {name} is {was}, not {should}"
        for key in sorted(stored.keys() | right.keys())
        for name, was, should, scale in zip(
            MOMENTS,
            stored.get(key, nothing),
            right.get(key, nothing),
            _scales(right.get(key, nothing)),
            strict=True,
        )
        if abs(was - should) > PRECISION * scale + 1e-9
    ]


def _scales(sums: tuple[float, ...]) -> tuple[float, ...]:
    """How large sums are whose terms may cancel, by the inequality of Cauchy and Schwarz; in the order of MOMENTS."""
    units, k, kk, _, ss, _, _, mm = (abs(value) for value in sums)
    return (units, k, kk, sqrt(units * ss), ss, sqrt(ss * kk), sqrt(units * mm), mm)


def _name(place: tuple[int, str]) -> str:
    phase, variant = place
    return f"{variant} of phase {phase}"


@contextmanager
def _one_moment() -> Iterator[None]:
    """A transaction that sees one moment of the database, where the caller has not begun another one."""
    is_first = not connection.in_atomic_block
    with transaction.atomic():
        if is_first:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
