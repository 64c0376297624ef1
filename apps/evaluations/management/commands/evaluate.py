"""`manage.py evaluate`: evaluations, comparisons and gates of a running server, for CI."""

import signal
import sys
import traceback
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.evaluations.ci import running
from apps.evaluations.ci.client import Client
from apps.evaluations.ci.configuration import read_configuration
from apps.evaluations.ci.failures import INFRASTRUCTURE, INTERRUPTED, PASSED, USAGE, CommandFailure, UsageFailure
from apps.evaluations.ci.reporting import Outcome, write_json, write_junit

if TYPE_CHECKING:
    from rich.console import Console

Json = Any
DEFAULT_FILE = Path("evaluation.yaml")
LOG_WIDTH = 140


class Command(BaseCommand):
    help = (
        "Evaluate, compare and gate on a running server, with the API key in EVERQUANT_API_KEY. "
        "Ends with 0 for pass, 1 for fail, 2 for inconclusive, and 3 or more where there is no verdict."
    )
    requires_system_checks: list[str] = []
    requires_migrations_checks = False
    exit_code = PASSED

    def run_from_argv(self, argv: list[str]) -> None:
        """1 and 2 are verdicts: whatever else ends the command has another exit code."""
        given = ["gate" if word == "--gate" and place == 2 else word for place, word in enumerate(argv)]
        try:
            super().run_from_argv(given)
        except SystemExit as ended:
            sys.exit(USAGE if ended.code not in {None, 0} else 0)
        except CommandFailure as failure:
            self.stderr.write(str(failure))
            sys.exit(failure.exit_code)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except Exception:  # noqa: BLE001 (Python's own exit code is 1, which says that a gate failed)
            traceback.print_exc()
            sys.exit(INFRASTRUCTURE)
        sys.exit(self.exit_code)

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="run|compare|gate")
        run = actions.add_parser("run", help="make an evaluation, wait for it, and gate it by the rules of the file")
        _add_file(run)
        _add_policy(run)
        run.add_argument("--resume", type=UUID, metavar="EVALUATION", help="wait for this one, and make it go on")
        run.add_argument("--timeout", type=_seconds, metavar="S", help="wait at most so many seconds")
        run.add_argument("--cancel-on-interrupt", action="store_true", help="Ctrl-C cancels the evaluation")
        compare = actions.add_parser("compare", help="compare the subjects of an evaluation that has ended")
        compare.add_argument("evaluation", type=UUID)
        compare.add_argument("--baseline", metavar="NAME")
        compare.add_argument("--candidate", metavar="NAME")
        gate = actions.add_parser("gate", help="put an evaluation that has ended through the rules of the file")
        gate.add_argument("evaluation", type=UUID)
        _add_file(gate)
        _add_policy(gate)
        for one in (compare, gate):
            one.add_argument("--against", type=UUID, metavar="EVALUATION", help="take the baseline from this one")
        for one in (run, compare, gate):
            one.add_argument("--url", default=settings.EVERQUANT_URL, help="where the server is")
            one.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
            one.add_argument("--junit", type=Path, metavar="FILE", help="write a report for CI there")

    def handle(self, *_args: Any, action: str, **options: Any) -> None:
        from rich.console import Console  # noqa: PLC0415 (only this command shows tables)

        from apps.evaluations.ci.showing import show_outcome  # noqa: PLC0415 (as above)

        api_key = settings.EVERQUANT_API_KEY
        if not api_key:
            raise UsageFailure("EVERQUANT_API_KEY is not set.")
        client, console = Client(options["url"], api_key), Console()
        if not console.is_terminal:
            console.width = LOG_WIDTH
        outcome: Outcome = getattr(self, f"_{action}")(client, console, options)
        show_outcome(console, outcome)
        if options["json"]:
            write_json(options["json"], outcome)
        if options["junit"]:
            write_junit(options["junit"], outcome)
        self.exit_code = outcome.exit_code

    def _run(self, client: Client, console: "Console", options: Json) -> Outcome:
        _require_version(options)
        body, gate = ({}, {}) if options["policy"] else read_configuration(options["file"], options["set"])
        evaluation = _begin(client, body, options)
        console.print(f"Evaluation {evaluation['id']}")
        evaluation = self._follow(client, console, evaluation, options)
        return _outcome(client, evaluation, gate, options)

    def _follow(self, client: Client, console: "Console", evaluation: Json, options: Json) -> Json:
        """Raises KeyboardInterrupt once it has said, or done, what becomes of the evaluation."""
        from apps.evaluations.ci.showing import ProgressView  # noqa: PLC0415 (as in handle)

        stopped_before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with ProgressView(console) as view:
                return running.follow(client, evaluation, view.show, options["timeout"])
        except KeyboardInterrupt:
            if options["cancel_on_interrupt"]:
                running.cancel(client, evaluation["id"])
                self.stderr.write(f"Evaluation {evaluation['id']} is cancelled.")
            else:
                self.stderr.write(f"The evaluation goes on. Wait for it with --resume {evaluation['id']}")
            raise
        finally:
            signal.signal(signal.SIGTERM, stopped_before)

    def _compare(self, client: Client, console: "Console", options: Json) -> Outcome:
        evaluation = client.get(f"evaluations/{options['evaluation']}")
        asked = {name: options[name] for name in ("baseline", "candidate", "against")}
        comparison = client.get(f"evaluations/{evaluation['id']}/compare", **asked)
        return Outcome(evaluation, client.get(f"evaluations/{evaluation['id']}/summary"), comparison)

    def _gate(self, client: Client, console: "Console", options: Json) -> Outcome:
        if options["policy"] and options["against"]:
            raise UsageFailure("--policy says itself what is compared: leave --against out.")
        gate = {} if options["policy"] else read_configuration(options["file"], options["set"])[1]
        if not options["policy"] and not gate.get("rules"):
            raise UsageFailure(f"{options['file']} has no gate.rules.")
        evaluation = client.get(f"evaluations/{options['evaluation']}")
        return _outcome(client, evaluation, gate, options)


def _begin(client: Client, body: Json, options: Json) -> Json:
    if options["resume"]:
        return running.resume(client, str(options["resume"]))
    if options["policy"]:
        return running.begin_for_policy(client, str(options["policy"]), options["version"])
    return running.begin(client, body)


def _outcome(client: Client, evaluation: Json, gate: Json, options: Json) -> Outcome:
    path, against = f"evaluations/{evaluation['id']}", options.get("against")
    result = comparison = None
    if options["policy"]:
        asked = {"evaluation_id": evaluation["id"], "version": options["version"]}
        result = client.post(f"promotion-policies/{options['policy']}/gate", asked)
    elif gate.get("rules"):
        result = client.post(f"{path}/gate", {**gate, **({"against": str(against)} if against else {})})
    if against or len(evaluation["subjects"]) > 1:
        comparison = client.get(f"{path}/compare", baseline=gate.get("baseline"), against=against)
    return Outcome(evaluation, client.get(f"{path}/summary"), comparison, result)


def _require_version(options: Json) -> None:
    if options["policy"] and not options["version"] and not options["resume"]:
        raise UsageFailure("--policy needs --version: which one is to be promoted?")


def _add_file(parser: Any) -> None:
    parser.add_argument("--file", type=Path, default=DEFAULT_FILE, metavar="YAML", help=f"{DEFAULT_FILE} by default")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="change the file: subjects.1.version=7"
    )


def _add_policy(parser: Any) -> None:
    parser.add_argument("--policy", type=UUID, metavar="ID", help="do what this promotion policy demands")
    parser.add_argument("--version", type=_whole, metavar="N", dest="version", help="the version for the policy")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError("more than 0")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError("at least 1")
    return value
