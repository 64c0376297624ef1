from argparse import ArgumentParser
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from apps.analytics.retention.planning import outlook, policies
from apps.analytics.retention.purging import BATCH, PAUSE_S, Purge
from apps.organizations.models import Organization

_ROW = "{:<32} {:<44} {:>12}  {}"


class Command(BaseCommand):
    help = (
        "Delete what is older than the retention policies of organizations say: payloads and attempts first, whole "
        "executions later. The worker does it every night. It may be interrupted at any time, and goes on with the "
        "next run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only show what would go")
        parser.add_argument("--organization", help="slug or id; everybody's by default")
        parser.add_argument("--batch", type=int, default=BATCH, help=f"executions in a transaction ({BATCH})")
        parser.add_argument("--pause", type=float, default=PAUSE_S, help=f"seconds between two ({PAUSE_S})")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["batch"] < 1 or not 0 <= options["pause"] < 3600:
            raise CommandError("--batch is at least 1, and --pause from 0 to an hour")
        organization = _organization(options["organization"]) if options["organization"] else None
        for policy in policies(organization):
            if policy.legal_hold:
                self.stdout.write(f"{policy.organization.slug}: legal hold. {policy.legal_hold_reason}".rstrip())
        if options["dry_run"]:
            self._show(organization)
        else:
            self._purge(Purge(organization, batch=options["batch"], pause_s=options["pause"]))

    def _show(self, organization: Organization | None) -> None:
        self.stdout.write(_ROW.format("organization", "partition", "rows", "how"))
        for part in outlook(organization):
            how = "with the partition" if part.is_dropped else "in batches"
            self.stdout.write(_ROW.format(part.organization, part.partition, part.rows, how))
        self.stdout.write("Nothing was deleted.")

    def _purge(self, purge: Purge) -> None:
        for step in purge.run():
            self.stdout.write(
                f"{step.what}: dropped" if step.rows is None else f"{step.organization}: {step.rows} {step.what}"
            )
        for reason in purge.left:
            self.stdout.write(f"Left for the next run: {reason}")


def _organization(text: str) -> Organization:
    found = Organization.objects.filter(slug=text).first()
    if found is None:
        with suppress(ValueError):
            found = Organization.objects.filter(id=UUID(text)).first()
    if found is None:
        raise CommandError(f"--organization: there is no {text!r}")
    return found
