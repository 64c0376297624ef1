"""Workflows, runs, steps and approvals as they are answered: plain values made once."""

from typing import Any

from apps.workflows.models import Approval, Workflow, WorkflowRun, WorkflowStep, WorkflowVersion

Json = dict[str, Any]


def summarize_workflow(workflow: Workflow) -> Json:
    """What a list shows: everything but the draft."""
    return {
        "id": workflow.id,
        "organization_id": workflow.organization_id,
        "slug": workflow.slug,
        "name": workflow.name,
        "description": workflow.description,
        "version": workflow.version_number,
        "labels": workflow.labels,
        "has_unpublished_changes": workflow.has_unpublished_changes,
        "tags": workflow.tags,
        "is_active": workflow.is_active,
        "max_concurrent_runs": workflow.max_concurrent_runs,
        "created_by": workflow.created_by_id,
        "created_at": workflow.created_at,
        "updated_at": workflow.updated_at,
        "deleted_at": workflow.deleted_at,
    }


def represent_workflow(workflow: Workflow) -> Json:
    return {**summarize_workflow(workflow), "definition": workflow.draft}


def summarize_version(version: WorkflowVersion) -> Json:
    """Everything but what it says."""
    return {
        "id": version.id,
        "workflow_id": version.workflow_id,
        "version_number": version.version_number,
        "message": version.message,
        "created_by": version.created_by_id,
        "created_at": version.created_at,
    }


def represent_version(version: WorkflowVersion) -> Json:
    return {**summarize_version(version), "definition": version.definition, "pins": version.pins}


def summarize_run(run: WorkflowRun) -> Json:
    """Everything but inputs and outputs."""
    error = {"code": run.error_code, "message": run.error_message, "path": run.error_path or None}
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "version_id": run.version_id,
        "version_number": run.version_number,
        "status": run.status,
        "source": run.source,
        "error": error if run.error_code else None,
        "metadata": run.metadata,
        "node_count": run.node_count,
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "cost_usd": f"{run.cost_usd:f}",
        "active_ms": run.active_ms,
        "created_by": run.created_by_id,
        "api_key_id": run.api_key_id,
        "schedule_id": run.schedule_id,
        "trigger_id": run.trigger_id,
        "origin_id": run.origin_id,
        "origin_node": run.origin_node or None,
        "wake_at": run.wake_at,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "cancel_requested_at": run.cancel_requested_at,
    }


def represent_run(run: WorkflowRun) -> Json:
    return {**summarize_run(run), "inputs": run.inputs, "outputs": run.outputs}


def represent_step(step: WorkflowStep) -> Json:
    return {
        "id": step.id,
        "path": step.path,
        "node_id": step.node_id,
        "kind": step.kind,
        "attempt": step.attempt,
        "status": step.status,
        "handle": step.handle or None,
        "input": step.input,
        "output": step.output,
        "error": {"code": step.error_code, "message": step.error_message} if step.error_code else None,
        "execution_id": step.execution_id,
        "input_tokens": step.input_tokens,
        "output_tokens": step.output_tokens,
        "cost_usd": None if step.cost_usd is None else f"{step.cost_usd:f}",
        "is_reused": step.is_reused,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
    }


def represent_approval(approval: Approval) -> Json:
    """Of one with its run."""
    return {
        "id": approval.id,
        "run_id": approval.run_id,
        "workflow_id": approval.run.workflow_id,
        "path": approval.path,
        "title": approval.title,
        "message": approval.message,
        "assignees": approval.assignees,
        "form": approval.form,
        "status": approval.status,
        "data": approval.data,
        "comment": approval.comment,
        "expires_at": approval.expires_at,
        "decided_at": approval.decided_at,
        "decided_by": approval.decided_by_id,
        "created_at": approval.created_at,
    }
