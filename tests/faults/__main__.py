"""`python -m tests.faults [WORD ...]`: all faults, or those whose names contain one of the words."""

import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from tests.faults import ab_tests, clients, datasets, evaluations, money, processes, providers, workflows
from tests.faults.invariants import CHECKS, LAST_CHECKS, violations
from tests.faults.registry import FAULTS, Fault
from tests.faults.stack import Stack, running_stack

REQUEUED_WITHIN_S = 130
# Importing them registers their faults.
_MODULES = (providers, clients, money, processes, workflows, evaluations, datasets, ab_tests)


@dataclass(frozen=True)
class Outcome:
    fault: str
    seen: str
    problems: list[str]
    seconds: float


def run(stack: Stack, fault: Fault) -> Outcome:
    started = time.monotonic()
    problems, seen = [], ""
    stack.upstream.reset()
    try:
        seen = fault.do(stack)
        stack.settle()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is shown, and the other faults are done)
        traceback.print_exc()
        problems.append(f"{type(error).__name__}: {error}")
        if not stack.workers:  # it came to its end before it had started one again
            stack.start_worker()
    problems += lasting_violations(stack)
    return Outcome(fault.name, seen, problems, time.monotonic() - started)


def afterwards(stack: Stack) -> Outcome:
    started = time.monotonic()
    problems = lasting_violations(stack, LAST_CHECKS)
    return Outcome("afterwards", "no job is left with a worker that was killed", problems, time.monotonic() - started)


def lasting_violations(stack: Stack, checks: Mapping[str, str] = CHECKS) -> list[str]:
    """Jobs of a dead worker are queued again within about two minutes."""
    deadline = time.monotonic() + REQUEUED_WITHIN_S
    while (found := violations(stack, checks)) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def show(outcomes: list[Outcome]) -> None:
    width = max(len(outcome.fault) for outcome in outcomes)
    for outcome in outcomes:
        mark = "FAIL" if outcome.problems else "ok  "
        print(f"{mark} {outcome.fault:<{width}}  {outcome.seconds:5.1f} s  {outcome.seen}")
        for problem in outcome.problems:
            print(f"       {problem}")


def main() -> int:
    words = sys.argv[1:]
    wanted = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    outcomes = []
    with running_stack() as stack:
        for fault in wanted:
            print(f"… {fault.name}", flush=True)
            outcomes.append(run(stack, fault))
        print("… afterwards", flush=True)
        outcomes.append(afterwards(stack))
        failed = [outcome for outcome in outcomes if outcome.problems]
        if failed:
            lines = stack.log_path.read_text(errors="replace").splitlines()
            print("\n".join([line for line in lines if '"event":"request"' not in line][-40:]))
    print()
    show(outcomes)
    print(f"\n{len(outcomes) - len(failed)} of {len(outcomes)} survived; after each fault, every invariant was read")
    return 1 if failed or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
