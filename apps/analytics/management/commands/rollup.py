from argparse import ArgumentParser
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from apps.analytics.rollups.adding import add_pending, count_waiting
from apps.analytics.rollups.cubes import FAMILIES
from apps.analytics.rollups.rebuilding import Day, Purged, days_between, rebuild
from apps.analytics.rollups.verifying import Difference, verify
from apps.organizations.models import Organization


class Command(BaseCommand):
    help = (
        "Add what waits to the rollups, as workers do every few seconds; or make them anew from the executions, or "
        "compare them with the executions (which ends with 1 when there is a difference). All of it beside live work."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--rebuild", action="store_true", help="make them anew, a day of an organization at a time")
        what.add_argument("--verify", action="store_true", help="only compare, and name each hour with a difference")
        parser.add_argument("--from", dest="since", type=_day, help="first day (UTC); else that of the first execution")
        parser.add_argument("--to", dest="until", type=_day, help="last day, included; else today")
        parser.add_argument("--organization", help="slug; else all of them")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rebuild"] or options["verify"]:
            until = options["until"] and options["until"] + timedelta(days=1)
            days = list(days_between(options["since"], until, _organization(options["organization"])))
            (self._rebuild if options["rebuild"] else self._verify)(days)
        else:
            self.stdout.write(f"{add_pending(seconds=float('inf'))} cells changed")
            self._show_waiting()

    def _rebuild(self, days: list[Day]) -> None:
        for number, day in enumerate(days, 1):
            try:
                cells = rebuild(day)
            except Purged as error:
                raise CommandError(f"{error} Begin there: --from") from None
            except KeyboardInterrupt:
                self.stderr.write(f"Stopped. Go on with --organization {day.organization.slug} --from {day.day}")
                raise
            self.stdout.write(f"{number}/{len(days)} {day.organization.slug} {day.day}: {cells} cells")

    def _verify(self, days: list[Day]) -> None:
        differences = 0
        for day in days:
            for difference in verify(day):
                differences += 1
                self._show(day, difference)
        self.stdout.write(f"{len(days)} days compared, {differences} differences")
        if differences:
            raise CommandError("Rollups differ from the executions: make these days anew with --rebuild.")

    def _show(self, day: Day, found: Difference) -> None:
        of = ", ".join(found.dimensions) or "all"
        self.stdout.write(
            f"{day.organization.slug} {found.starts_at:%Y-%m-%d %H:%M} {found.grain.name.lower()} by {of}: "
            f"{found.column} is {found.stored}, not {found.expected}"
        )

    def _show_waiting(self) -> None:
        for family in FAMILIES:
            self.stdout.write(f"{family.pending}: {count_waiting(family)} waiting")


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _organization(slug: str | None) -> UUID | None:
    if slug is None:
        return None
    found = Organization.objects.filter(slug=slug).first()
    if found is None:
        raise CommandError(f"--organization: there is no {slug!r}")
    return UUID(str(found.pk))
