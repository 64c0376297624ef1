"""Webhooks of executions that nobody waits for; in the transaction of what happened."""

from apps.executions.models import Execution, Source, Status
from apps.executions.representation import summarize
from apps.organizations.webhooks import emit

EVENTS = {
    Status.SUCCEEDED: "execution.completed",
    Status.FAILED: "execution.failed",
    Status.CANCELLED: "execution.cancelled",
}


def is_told(execution: Execution) -> bool:
    """Whether its end is an event of its own: batches and evaluations are told of as a whole."""
    is_part = execution.batch_id is not None or execution.source == Source.EVALUATION
    return execution.is_background and not is_part


def tell_of_end(execution: Execution) -> None:
    if is_told(execution):
        event = EVENTS[Status(execution.status)]
        emit(organization_id=execution.organization_id, event=event, data=summarize(execution))
