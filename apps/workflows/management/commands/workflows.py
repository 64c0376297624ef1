"""`manage.py workflows import`: workflows from files into an organization."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rest_framework.exceptions import APIException

from apps.organizations.models import Organization
from apps.prompts.services import OnConflict
from apps.workflows.definition.transfer import TransferProblem
from apps.workflows.examples import EXAMPLES
from apps.workflows.importing import import_files
from everquant.api.errors import ApiError


class Command(BaseCommand):
    help = "Import workflows from YAML or JSON files, or the examples that come with EverQuant: all of them or none."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["import"])
        parser.add_argument("files", nargs="+", metavar="FILE|examples", help="files; `examples` for the shipped ones")
        parser.add_argument("--organization", required=True, metavar="SLUG", help="the organization's slug")
        parser.add_argument("--publish", action="store_true", help="publish them too")
        parser.add_argument(
            "--on-conflict",
            choices=OnConflict.__members__.values(),
            type=OnConflict,
            default=OnConflict.FAIL,
            help="what to do with a slug that is taken: refuse all, leave it, or give it this draft",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        organization = Organization.objects.filter(slug=options["organization"]).first()
        if organization is None:
            raise CommandError(f"There is no organization {options['organization']}.")
        paths = [path for name in options["files"] for path in (EXAMPLES if name == "examples" else [Path(name)])]
        try:
            imported = import_files(
                paths,
                organization=organization,
                author=None,
                on_conflict=options["on_conflict"],
                is_published=options["publish"],
            )
        except ApiError as error:
            raise CommandError("\n".join([error.message, *map(": ".join, error.details.items())])) from error
        except (OSError, UnicodeDecodeError, TransferProblem, APIException) as error:
            raise CommandError(str(error)) from error
        for workflow, outcome in imported:
            number = workflow.version_number
            self.stdout.write(f"{workflow.slug}: {outcome}, {f'version {number}' if number else 'not published'}")
