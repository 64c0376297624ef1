from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from apps.evaluations.ab_tests.verifying import HistoryGone, rebuild, verify
from apps.prompts.models import ABTest, ABTestStatus


class Command(BaseCommand):
    help = (
        "Compare the sums that results of A/B tests come from with their executions, scores and observations (verify; "
        "exits with 1 on a difference), or compute them anew (rebuild)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["verify", "rebuild"])
        parser.add_argument("--test", help="the id of one; without it, all that were started")
        parser.add_argument(
            "--force", action="store_true", help="rebuild also where executions are no longer there to be added up"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        problems = 0
        for test in _tests(options["test"]):
            if options["action"] == "verify":
                problems += self._verify(test)
            else:
                self._rebuild(test, force=options["force"])
        if problems:
            raise CommandError(f"{problems} differences")

    def _verify(self, test: ABTest) -> int:
        units, problems = verify(test)
        self.stdout.write(f"{test.id}: {units} units, {len(problems) or 'no'} differences")
        for problem in problems:
            self.stdout.write(f"  {problem}")
        return len(problems)

    def _rebuild(self, test: ABTest, *, force: bool) -> None:
        try:
            units = rebuild(test, force=force)
        except HistoryGone as error:
            raise CommandError(f"{test.id}: {error}. It is left as it is; --force rebuilds it all the same.") from None
        self.stdout.write(f"{test.id}: {units} units")


def _tests(wanted: str | None) -> list[ABTest]:
    started: Any = ABTest.objects.exclude(status=ABTestStatus.DRAFT).order_by("id")
    if wanted is None:
        return list(started)
    try:
        found = started.filter(id=UUID(wanted)).first()
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"--test: there is no {wanted!r} that was started")
    return [found]
