"""Ranges of time, cut into intervals by the calendar of a time zone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import TextChoices

# Whole minutes of offset everywhere, and times that UUIDv7 keys have.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
MAX_BUCKETS = 2000
MAX_MINUTES = timedelta(hours=6)
_SECOND, _MINUTE, _HOUR, _DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Interval(TextChoices):
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


# The shortest that each can be, so that a range has at most this many of them, and one more at each end.
_SHORTEST = {
    Interval.MINUTE: _MINUTE,
    Interval.HOUR: _HOUR,
    Interval.DAY: _DAY - _HOUR,
    Interval.WEEK: 7 * _DAY - _HOUR,
    Interval.MONTH: 28 * _DAY - _HOUR,
}


class TooLong(Exception):
    """The range has more intervals than are answered; its text tells the caller."""


@dataclass(frozen=True, slots=True)
class Range:
    """From `start` up to and without `end`, both in UTC; the calendar is that of `zone`."""

    start: datetime
    end: datetime
    zone: ZoneInfo

    def starts(self, interval: Interval) -> list[datetime]:
        """Where its intervals begin, of which the first may have begun before, and the end; raises TooLong.

        Hours are those of the wall clock, also where it is a half or a quarter of an hour off; weeks begin on Monday.
        """
        self._check_length(interval)
        found = [self.start]
        while (following := next_start(found[-1], interval, self.zone)) < self.end:
            found.append(following)
        return [*found, self.end]

    def _check_length(self, interval: Interval) -> None:
        length = self.end - self.start
        if interval == Interval.MINUTE and length > MAX_MINUTES:
            raise TooLong(f"Minutes are for at most {MAX_MINUTES // _HOUR} hours.")
        if length / _SHORTEST[interval] > MAX_BUCKETS:
            raise TooLong(f"The range has more than {MAX_BUCKETS} of them.")

    def previous(self) -> "Range":
        """What it is compared with: it ends where this one starts.

        Whole months go with as many months before, whole days (the same time of day at both ends) with as many days,
        and everything else with the same length of time.
        """
        first, last = self._wall(self.start), self._wall(self.end)
        months = (last.year - first.year) * 12 + last.month - first.month
        if months and _begins_month(first) and _begins_month(last):
            before = _instant(_months_before(first, months), self.zone)
        elif last > first and not (last - first) % _DAY:
            before = _instant(first - (last - first), self.zone)
        else:
            before = self.start - (self.end - self.start)
        return Range(before, self.start, self.zone)

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None)


def next_start(moment: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """The first instant after this one at which an interval begins."""
    if interval == Interval.MINUTE:
        return moment.replace(second=0, microsecond=0) + _MINUTE
    if interval == Interval.HOUR:
        return _next_hour(moment, zone)
    day = _next_day(moment.astimezone(zone).date(), interval)
    while (found := day_start(day, zone)) <= moment:  # the clock went back over midnight
        day = _next_day(day, interval)
    return found


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day, also where its midnight is skipped or comes twice."""
    return _instant(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 (its zone is given beside)


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The earlier one where the clock shows it twice, and the change of the clock where it never does."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _next_day(day: date, interval: Interval) -> date:
    if interval == Interval.MONTH:
        return (day.replace(day=1) + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 - day.weekday() if interval == Interval.WEEK else 1)


def _next_hour(moment: datetime, zone: ZoneInfo) -> datetime:
    """The next full hour of the wall clock, or the change of the clock before it."""
    wall = moment.astimezone(zone)
    following = moment + _HOUR - (wall - wall.replace(minute=0, second=0, microsecond=0))
    if following.astimezone(zone).utcoffset() == wall.utcoffset():
        return following
    before, after = moment.replace(microsecond=0), following
    while after - before > _SECOND:
        middle = before + (after - before) // (2 * _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == wall.utcoffset():
            before = middle
        else:
            after = middle
    return after


def _begins_month(wall: datetime) -> bool:
    return wall.day == 1 and wall.time() == datetime.min.time()


def _months_before(wall: datetime, months: int) -> datetime:
    year, month = divmod(wall.year * 12 + wall.month - 1 - months, 12)
    return wall.replace(year=year, month=month + 1)
