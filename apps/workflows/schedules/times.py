"""When a cron expression comes, in a time zone. Times are whole minutes of the wall clock there; answers are UTC.

A wall clock jumps twice a year. A time that does not exist comes at the next one that does, and one that comes twice
counts once, the first time. Expressions for every hour follow the hours that really pass: they come in both hours of
the same name, and not in the one that does not exist.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from heapq import merge
from importlib import import_module
from itertools import groupby, takewhile
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

FIELD = r"[0-9A-Za-z*,/#-]+"
CRON_PATTERN = rf"{FIELD}( {FIELD}){{4}}"
# Letters: months, days of the week, and L for the last day. Croniter would take random and hashed times too.
_MONTHS = frozenset(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
_WORDS = _MONTHS | {"mon", "tue", "wed", "thu", "fri", "sat", "sun", "l"}
_HOURS = 1
_EVERY = ["*"]
_MINUTE = timedelta(minutes=1)
_FIRST_WINDOW = timedelta(hours=2)


def _library() -> Any:
    """Croniter, when it is needed: it would add a tenth of a second to the start of every process."""
    return import_module("croniter")


@cache
def time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def check_cron(cron: str) -> None:
    """Raises ValueError unless it has five fields that name a time which comes."""
    if not re.fullmatch(CRON_PATTERN, cron):
        raise ValueError("Must be five fields: minute, hour, day of the month, month, day of the week.")
    unknown = [word for word in re.findall("[A-Za-z]+", cron) if word.lower() not in _WORDS]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is neither a month nor a day of the week.")
    library = _library()
    try:
        library.croniter(cron, datetime(2000, 1, 1)).get_next(datetime)  # noqa: DTZ001 (a wall clock's time)
    except library.CroniterBadDateError:
        raise ValueError("This time never comes.") from None
    except library.CroniterError as error:
        raise ValueError(str(error)) from None


def next_time(cron: str, zone: str, after: datetime) -> datetime | None:
    """The first time after `after`; None when there is none within fifty years. `cron` and `zone` have been checked."""
    return next(times_after(cron, zone, after), None)


def latest_times(cron: str, zone: str, first: datetime, now: datetime, count: int) -> list[datetime]:
    """The newest `count` of the times from `first` to `now`, rising; it looks back no further than it has to."""
    window = _FIRST_WINDOW
    while True:
        start = max(first - _MINUTE, now - window)
        found = list(takewhile(lambda time: time <= now, times_after(cron, zone, start)))
        if len(found) >= count or start < first:
            return found[-count:]
        window *= 12


def times_after(cron: str, zone: str, after: datetime) -> Iterator[datetime]:
    """All that come after `after`, in their order."""
    place = ZoneInfo(zone)
    folds = (0, 1) if _is_hourly(cron) else (0,)
    merged = merge(*(_instants(cron, place, after, fold) for fold in folds))
    return (time for time, _ in groupby(merged))


@lru_cache(maxsize=1024)
def _is_hourly(cron: str) -> bool:
    return bool(_library().croniter.expand(cron)[0][_HOURS] == _EVERY)


def _instants(cron: str, place: ZoneInfo, after: datetime, fold: int) -> Iterator[datetime]:
    """Where ambiguous times are taken as their first or second occurrence (`fold`), rising."""
    is_hourly = _is_hourly(cron)
    latest = after
    for local in _wall_clock(cron, _start(place, after, fold)):
        instant = _instant(local, place, fold, skip=is_hourly)
        if instant is not None and instant > latest:
            latest = instant
            yield instant


def _start(place: ZoneInfo, after: datetime, fold: int) -> datetime:
    """What the clock shows at `after`. Before the second occurrence of an hour it is set back already."""
    local = after.astimezone(place)
    shown: datetime = local.replace(tzinfo=None)
    if fold and not local.fold:
        before, behind = local.utcoffset(), local.replace(fold=1).utcoffset()
        shown -= max(timedelta(), (before or timedelta()) - (behind or timedelta()))
    return shown


def _wall_clock(cron: str, start: datetime) -> Iterator[datetime]:
    library = _library()
    found = library.croniter(cron, start)
    with suppress(library.CroniterBadDateError):
        while True:
            yield found.get_next(datetime)


def _instant(local: datetime, place: ZoneInfo, fold: int, *, skip: bool) -> datetime | None:
    """Of a time that does not exist: that of the next one that does, or None."""
    while True:
        instant = local.replace(tzinfo=place, fold=fold).astimezone(UTC)
        if instant.astimezone(place).replace(tzinfo=None) == local:
            return instant
        if skip:
            return None
        local += _MINUTE
