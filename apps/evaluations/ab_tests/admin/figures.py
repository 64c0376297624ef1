"""How values of metrics are written: rates in percent, times in milliseconds, money in dollars."""

import math

from apps.evaluations.ab_tests.measures import Aggregation, Builtin

RATES = frozenset({Builtin.SUCCESS, Builtin.SCHEMA_VALID, "error_rate"})
TIMES = frozenset({Builtin.LATENCY_MS, Builtin.FIRST_TOKEN_MS, "latency_p95"})
NOTHING = "—"
SPACE = "\u00a0"
"""Keeps a number and its unit on one line."""


def value(number: float | None, measure: str, aggregation: str = Aggregation.MEAN) -> str:
    """`93.1 %`, `812 ms`, `$0.00124`, `4.12`; a dash for what is not known."""
    if number is None or not math.isfinite(number):
        return NOTHING
    if measure in RATES and aggregation != Aggregation.SUM:
        return f"{_significant(100 * number)}{SPACE}%"
    if measure in TIMES:
        return f"{_significant(number)}{SPACE}ms"
    if measure == Builtin.COST_USD:
        return f"{'-' if number < 0 else ''}${_significant(abs(number))}"
    return _significant(number)


def change(number: float | None, measure: str, aggregation: str = Aggregation.MEAN) -> str:
    """A difference with its sign; that of two rates is in percentage points."""
    if number is None or not math.isfinite(number):
        return NOTHING
    said = value(abs(number), measure, aggregation)
    if measure in RATES and aggregation != Aggregation.SUM:
        said = f"{said.removesuffix('%')}pp"
    return said if not number else f"{'+' if number > 0 else '-'}{said}"


def loss(number: float | None, measure: str, aggregation: str, *, beside: float | None) -> str:
    """What is lost at most, in the unit of a difference; nothing where that is too little to see beside the value."""
    if number is not None and beside is not None and number < abs(beside) / 10_000:
        number = 0.0
    return change(number, measure, aggregation).removeprefix("+")


def percent(share: float | None) -> str:
    return NOTHING if share is None or not math.isfinite(share) else f"{_significant(100 * share)}{SPACE}%"


def p_value(number: float | None) -> str:
    if number is None or not math.isfinite(number):
        return NOTHING
    return "< 0.0001" if number < 0.0001 else f"{number:.2g}"


def _significant(number: float) -> str:
    """Three digits that say something, thousands set apart, never an exponent."""
    if number == 0 or not math.isfinite(number):
        return "0" if number == 0 else NOTHING
    places = max(0, 2 - math.floor(math.log10(abs(number))))
    said = f"{number:,.{min(places, 12)}f}"
    return said.rstrip("0").rstrip(".") if "." in said else said
