"""Where the marks of an axis are, for numbers and for times."""

import math
from datetime import UTC, datetime
from itertools import pairwise

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_STEPS = (
    _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR,
    _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 91 * _DAY, 364 * _DAY,
)  # fmt: skip


def number_ticks(low: float, high: float, *, about: int = 8) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, which differ and have 0 between them."""
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def time_ticks(start: datetime, end: datetime, *, about: int = 7) -> list[tuple[datetime, str]]:
    """Round moments of UTC with what to write there: a time of day, or a date where the day is new."""
    begin, until = start.timestamp(), end.timestamp()
    step = next((each for each in _TIME_STEPS if (until - begin) / each <= about), _TIME_STEPS[-1])
    seconds = range(math.ceil(begin / step) * step, math.floor(until) + 1, step)
    moments = [datetime.fromtimestamp(second, UTC) for second in seconds]
    is_new_day = [True, *(before.date() != after.date() for before, after in pairwise(moments))]
    return [
        (moment, f"{moment.day} {moment:%b}" if step >= _DAY else _clock(moment, is_new=is_new))
        for moment, is_new in zip(moments, is_new_day, strict=False)
    ]


def _clock(moment: datetime, *, is_new: bool) -> str:
    """A day that begins is its date alone."""
    day, clock = f"{moment.day} {moment:%b}", f"{moment:%H:%M}"
    if not is_new:
        return clock
    return day if clock == "00:00" else f"{day} {clock}"
