"""Why the command ends without a verdict. 0, 1 and 2 are verdicts and nothing else."""

PASSED, FAILED, INCONCLUSIVE = 0, 1, 2
USAGE = 3
INFRASTRUCTURE = 4
INTERRUPTED = 130

EXIT_CODES = {"pass": PASSED, "fail": FAILED, "inconclusive": INCONCLUSIVE}


class CommandFailure(Exception):
    """Told on standard error; the process ends with `exit_code`."""

    exit_code = INFRASTRUCTURE


class UsageFailure(CommandFailure):
    """What was asked for cannot be done: arguments, the configuration, or what the server refused about them."""

    exit_code = USAGE
