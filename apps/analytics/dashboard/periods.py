"""How far back the dashboard looks, and in which steps."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apps.analytics.rollups.cubes import EPOCH, Grain


@dataclass(frozen=True, slots=True)
class Period:
    """The last `length` up to now, in steps that begin at multiples of `step` in UTC; the last one is not over."""

    name: str
    title: str
    length: timedelta
    step: timedelta
    step_title: str

    def starts(self, now: datetime) -> list[datetime]:
        """Where the steps begin, and the end of the last one."""
        end = now - (now - EPOCH) % self.step + self.step
        return [end - self.length + number * self.step for number in range(self.length // self.step + 1)]

    def previous(self, now: datetime) -> tuple[datetime, datetime]:
        """As much time as has passed since the first step began, right one length before.

        It ends with a quarter of an hour, which sums are kept for: what is within one would be read row by row.
        """
        return self.starts(now)[0] - self.length, Grain.QUARTER.floor(now - self.length)


_ALL = (
    Period("24h", "24 hours", timedelta(hours=24), timedelta(hours=1), "hour"),
    Period("7d", "7 days", timedelta(days=7), timedelta(hours=6), "6 hours"),
    Period("30d", "30 days", timedelta(days=30), timedelta(days=1), "day"),
)
PERIODS = {period.name: period for period in _ALL}
DEFAULT = _ALL[0]


def interval_title(start: datetime, end: datetime) -> str:
    """`23 Nov 06:00 to 07:00`, or `23 Nov` for a day; in UTC."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    day = f"{start.day} {start:%b}"
    return day if end - start >= timedelta(days=1) else f"{day} {start:%H:%M} to {end:%H:%M}"
