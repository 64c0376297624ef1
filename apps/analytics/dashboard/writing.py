"""How the dashboard writes amounts: counts, dollars, times, shares, and by how much each has changed."""

import math
from datetime import timedelta
from decimal import Decimal

from apps.evaluations.ab_tests.admin.figures import NOTHING, SPACE, percent
from apps.workflows.admin.showing import duration

_LETTERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def count(number: int) -> str:
    """All digits up to 999,999, then three of them: `1.23 M`."""
    return f"{number:,}" if abs(number) < 1_000_000 else short(number)


def short(number: float) -> str:
    """For the marks of an axis: `950`, `1.5k`, `20k`, `1.23M`; what is below 1 in full."""
    for size, letter in _LETTERS:
        if abs(number) >= size:
            return f"{_digits(number / size)}{letter}"
    return _digits(number)


def dollars(amount: Decimal | float) -> str:
    """`$1,234.56`; of less than ten cents three digits that say something."""
    number = float(amount)
    if abs(number) >= 1_000_000:
        return f"${short(number)}"
    return f"${number:,.2f}" if abs(number) >= 0.1 or not number else f"${_digits(number)}"


def short_dollars(amount: float) -> str:
    """For the marks of an axis: `$0`, `$0.50`, `$20`, `$1.5k`; of less than ten cents every digit."""
    if 0.1 <= amount < 1000 and amount != round(amount):
        return f"${amount:.2f}"
    return f"${short(amount)}"


def milliseconds(number: float | None) -> str:
    if number is None:
        return NOTHING
    if 0 < number < 1:
        return f"<{SPACE}1{SPACE}ms"
    return duration(timedelta(milliseconds=number)).replace(" ", SPACE)


def short_milliseconds(number: float) -> str:
    """For the marks of an axis: `500 ms`, `20 s`."""
    return f"{_digits(number)}{SPACE}ms" if number < 1000 else f"{short(number / 1000)}{SPACE}s"


def change(now: Decimal | float | None, before: Decimal | float | None) -> str:
    """`+12 %`, of what was nothing before nothing; from tenfold on it is a multiple."""
    if now is None or not before:
        return ""
    by = float(now) / float(before) - 1
    if round(by, 3) == 0:
        return "no change"
    if by > 9:
        return f"\N{MULTIPLICATION SIGN}{SPACE}{_digits(by + 1)}"
    return f"{'+' if by > 0 else '-'}{abs(by):.{0 if abs(by) >= 0.1 else 1}%}".replace("%", f"{SPACE}%")


def points(now: float | None, before: float | None) -> str:
    """The difference of two shares, in percentage points."""
    if now is None or before is None:
        return ""
    by = round(100 * (now - before), 1)
    return f"{by:+.1f}{SPACE}pp" if by else "no change"


def share(number: float | None) -> str:
    return percent(number)


def _digits(number: float) -> str:
    """Three that say something, without zeros at the end."""
    if not number or not math.isfinite(number):
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(number))))
    said = f"{number:,.{min(places, 12)}f}"
    return said.rstrip("0").rstrip(".") if "." in said else said
