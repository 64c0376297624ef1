"""Webhooks of runs and approvals; in the transaction of what happened."""

import orjson

from apps.organizations.webhooks import emit
from apps.workflows.models import Approval, RunSource, RunStatus, WorkflowRun

EVENTS = {
    RunStatus.SUCCEEDED: "workflow_run.completed",
    RunStatus.FAILED: "workflow_run.failed",
    RunStatus.TIMED_OUT: "workflow_run.failed",
    RunStatus.CANCELLED: "workflow_run.cancelled",
}


# Larger outputs are left out of a webhook: they are at the run.
OUTPUT_BYTES = 64 * 1024


def tell_of_end(run: WorkflowRun) -> None:
    """Not of an evaluation's: it is told of as a whole."""
    if run.source == RunSource.EVALUATION:
        return
    error = {"code": run.error_code, "message": run.error_message, "path": run.error_path} if run.error_code else None
    data = {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "version_number": run.version_number,
        "status": run.status,
        "source": run.source,
        "outputs": run.outputs if len(orjson.dumps(run.outputs)) <= OUTPUT_BYTES else None,
        "error": error,
        "cost_usd": f"{run.cost_usd:f}",
        "metadata": run.metadata,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }
    emit(organization_id=run.organization_id, event=EVENTS[RunStatus(run.status)], data=data)


def tell_of_request(approval: Approval) -> None:
    data = {
        "id": approval.id,
        "run_id": approval.run_id,
        "path": approval.path,
        "title": approval.title,
        "message": approval.message,
        "assignees": approval.assignees,
        "expires_at": approval.expires_at,
    }
    emit(organization_id=approval.organization_id, event="approval.requested", data=data)
