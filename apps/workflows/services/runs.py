"""Runs as people ask for them: begun, and begun again from what another has come to."""

from typing import Any
from uuid import UUID

from django.db import transaction

from apps.users.principal import Principal
from apps.workflows.engine.again import fork_run, retry_from
from apps.workflows.engine.queue import start_run
from apps.workflows.models import WorkflowRun
from apps.workflows.resolution import check_inputs, require_active, resolve_version, runnable_workflow
from everquant.api.errors import Conflict


def execute_workflow(
    *,
    organization_id: UUID,
    workflow_id: UUID,
    inputs: dict[str, Any],
    by: Principal,
    version: int | None = None,
    label: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> WorkflowRun:
    """A queued run. Raises Conflict for a workflow that is switched off or has no version, NotFound, BadRequest."""
    workflow = runnable_workflow(organization_id, workflow_id)
    require_active(workflow)
    chosen = resolve_version(workflow, version=version, label=label)
    return start_run(
        workflow=workflow,
        version=chosen,
        inputs=check_inputs(chosen, inputs),
        created_by_id=by.user_id,
        api_key_id=by.api_key_id,
        metadata=metadata,
    )


@transaction.atomic(savepoint=False)
def retry_run(*, run: WorkflowRun, by: Principal, node_id: str | None = None) -> WorkflowRun:
    """As `retry_from`; raises Conflict for a workflow that is gone or switched off too."""
    _require_usable(run)
    return retry_from(run=run, by=by, node_id=node_id)


@transaction.atomic(savepoint=False)
def fork(
    *,
    run: WorkflowRun,
    by: Principal,
    node_id: str | None = None,
    version: int | None = None,
    inputs: dict[str, Any] | None = None,
) -> WorkflowRun:
    """As `fork_run`, of a finished run; inputs are checked against the version that is to run."""
    _require_usable(run)
    if not run.is_finished:
        raise Conflict("The run has not ended.", details={"status": run.status})
    chosen = run.version if version is None else resolve_version(run.workflow, version=version)
    complete = check_inputs(chosen, run.inputs if inputs is None else inputs)
    return fork_run(run=run, by=by, node_id=node_id, version=chosen, inputs=complete)


def _require_usable(run: WorkflowRun) -> None:
    if run.workflow.is_deleted:
        raise Conflict("The workflow was deleted.", details={"workflow_id": "It was deleted."})
    require_active(run.workflow)
