from argparse import ArgumentParser
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from apps.executions.repricing import Repricing, Selection, Totals
from apps.organizations.models import Organization

_ROW = "{:<40} {:>9} {:>9} {:>9} {:>20} {:>20} {:>20}"


class Command(BaseCommand):
    help = (
        "Compute the cost of finished executions again, from the tokens that were recorded and the prices of today. "
        "Without this command, executions keep the price that they were recorded with."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")
        parser.add_argument("--since", help="made at this time (UTC, ISO 8601) or later")
        parser.add_argument("--until", help="made before this time")
        parser.add_argument("--organization", help="slug or id")
        parser.add_argument("--model", default="", help="id, slug, or the provider's name of it")
        parser.add_argument("--only-unknown", action="store_true", help="only those whose cost is not known")

    def handle(self, *args: Any, **options: Any) -> None:
        selection = Selection(
            since=_moment("--since", options["since"]),
            until=_moment("--until", options["until"]),
            organization_id=_organization(options["organization"]),
            model=options["model"],
            only_unknown=options["only_unknown"],
        )
        repricing = Repricing(selection, is_dry=options["dry_run"])
        for seen in repricing.run():
            self.stderr.write(f"{seen} executions")
        self._show(repricing.totals)
        if options["dry_run"]:
            self.stdout.write("Nothing was changed.")

    def _show(self, totals: dict[str, Totals]) -> None:
        self.stdout.write(_ROW.format("model", "count", "changed", "unknown", "old USD", "new USD", "difference"))
        whole = Totals()
        for name, part in sorted(totals.items()):
            self._show_row(name, part)
            for column in ("seen", "changed", "unknown", "old_usd", "new_usd"):
                setattr(whole, column, getattr(whole, column) + getattr(part, column))
        self._show_row("all", whole)

    def _show_row(self, name: str, part: Totals) -> None:
        amounts = (_plain(amount) for amount in (part.old_usd, part.new_usd, part.new_usd - part.old_usd))
        self.stdout.write(_ROW.format(name, part.seen, part.changed, part.unknown, *amounts))


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text) if len(text) > 10 else datetime.combine(date.fromisoformat(text), time())
    except ValueError:
        raise CommandError(f"{option}: {text!r} is not a date or time such as 2026-11-01 or 2026-11-01T12:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _organization(text: str | None) -> UUID | None:
    if text is None:
        return None
    found = Organization.objects.filter(slug=text).first()
    if found is None:
        try:
            found = Organization.objects.filter(id=UUID(text)).first()
        except ValueError:
            found = None
    if found is None:
        raise CommandError(f"--organization: there is no {text!r}")
    return UUID(str(found.pk))
