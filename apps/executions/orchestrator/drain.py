"""What the end of a worker has stopped before anything came of it is queued again: the one step back of the states.

Why this is safe, and what it may cost, is in docs/decisions/0011-one-step-back.md.
"""

from django.db import transaction

from apps.executions.models import INTERRUPTED, Execution, ExecutionAttempt
from apps.executions.orchestrator import queueing
from apps.executions.orchestrator.calling import Call
from apps.executions.orchestrator.outcome import attempts_of
from apps.models.providers.base import ErrorCode
from everquant.db import patiently

# Providers may charge for each call that was stopped.
MOST_INTERRUPTED = 3


def may_be_handed_back(execution: Execution, call: Call) -> bool:
    """Whether it is in the background, and the end of the process has stopped it before a provider said anything."""
    error = call.tries[-1].error if call.tries else None
    if not execution.is_background or error is None or error.code != ErrorCode.INTERRUPTED:
        return False
    return not error.started and all(each.received is None for each in call.tries)


def hand_back(execution: Execution, call: Call) -> bool:
    """Store what was tried, and queue the execution with a runner for it; its reservations stay.

    False when it is to end instead: it was to be cancelled, has ended, or this would be its MOST_INTERRUPTED + 1st
    call that was stopped. Then nothing is written.
    """
    attempts = attempts_of(execution, [each for each in call.tries if each.was_asked])
    before = execution.attempt_count

    def write() -> bool:
        with transaction.atomic():
            stopped = ExecutionAttempt.objects.filter(execution_id=execution.id, error_code=INTERRUPTED).count()
            if stopped >= MOST_INTERRUPTED or not execution.hand_back(attempt_count=before + len(attempts)):
                return False
            ExecutionAttempt.objects.bulk_create(attempts)
            queueing.call_runners(execution.organization_id, 1)
        return True

    return patiently(write, execution_id=str(execution.id))
