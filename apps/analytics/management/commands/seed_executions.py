import time
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils import timezone

from apps.analytics.rollups.rebuilding import days_between, rebuild
from apps.executions.partitions import ensure_partitions_between
from apps.organizations.models import Organization


class Command(BaseCommand):
    help = (
        "Store made-up executions that look like real traffic, with prompts, models, people and keys of their own, "
        "for benchmarks and demos. Made quickly: they pass no budget, send no webhook and count for no A/B test."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=int, required=True, help="how many executions")
        parser.add_argument("--days", type=int, default=30, help="over how many days up to now (default: 30)")
        parser.add_argument("--organization", default="demo", help="slug; made when there is none (default: demo)")
        parser.add_argument("--prompts", type=int, default=20)
        parser.add_argument("--users", type=int, default=25)
        parser.add_argument("--scores", type=float, default=0.05, help="share of executions with a score")
        parser.add_argument("--payloads", action="store_true", help="also short messages and outputs")
        parser.add_argument("--seed", type=int, default=7, help="the same one gives the same executions")
        parser.add_argument("--no-rollups", action="store_true", help="leave them to `manage.py rollup --rebuild`")

    def handle(self, *args: Any, **options: Any) -> None:
        for name, least in (("count", 1), ("days", 1), ("prompts", 1), ("users", 1)):
            if options[name] < least:
                raise CommandError(f"--{name} must be at least {least}")
        if not 0 <= options["scores"] <= 1:
            raise CommandError("--scores is a share between 0 and 1")
        organization = _organization(options["organization"])
        end = timezone.now().astimezone(UTC).replace(microsecond=0)
        start = end - timedelta(days=options["days"])
        self._seed(organization, start, end, options)
        if not options["no_rollups"]:
            self._roll_up(organization, start, end)

    def _seed(self, organization: Organization, start: datetime, end: datetime, options: dict[str, Any]) -> None:
        from apps.analytics.seeding.cast import gather_cast  # noqa: PLC0415 (with numpy, of this command alone)
        from apps.analytics.seeding.copying import copy, mark_days, one_ahead, write_rows  # noqa: PLC0415 (as above)
        from apps.analytics.seeding.drawing import Traffic  # noqa: PLC0415 (as above)

        ensure_partitions_between(start, end)
        cast = gather_cast(organization, prompts=options["prompts"], users=options["users"])
        began, stored = time.monotonic(), 0
        chunks = Traffic(cast, options["count"], start, end, options["seed"]).chunks()
        rows = write_rows(cast, chunks, share_scored=options["scores"], has_payloads=options["payloads"])
        for each in one_ahead(rows):
            stored += copy(each)
            rate = stored / (time.monotonic() - began)
            self.stdout.write(f"{stored}/{options['count']} executions, {rate:.0f} per second")
        mark_days(organization.id, start, end)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE executions_execution, executions_score")

    def _roll_up(self, organization: Organization, start: datetime, end: datetime) -> None:
        began = time.monotonic()
        days = list(days_between(start.date(), end.date() + timedelta(days=1), organization.id))
        for number, day in enumerate(days, 1):
            cells = rebuild(day)
            self.stdout.write(f"{number}/{len(days)} {day.day}: {cells} cells")
        self.stdout.write(f"Rollups in {time.monotonic() - began:.0f} s")


def _organization(slug: str) -> Organization:
    found: Organization | None = Organization.objects.filter(slug=slug).first()
    return found or Organization.objects.create(slug=slug, name=slug.title())
