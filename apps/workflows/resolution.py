"""Which version of a workflow is meant, and whether the inputs of a run are those that it takes."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from apps.prompts.models import PRODUCTION
from apps.prompts.rendering.schema import defaults, value_problems
from apps.workflows.models import Workflow, WorkflowVersion
from everquant.api.errors import BadRequest, Conflict, NotFound
from everquant.db import prepared_cursor
from everquant.memory import RecentMemory
from everquant.rows import stored_row

_READ = ("id", "organization_id", "current_version_id", "is_active")
_RUNNABLE = (
    f"SELECT {', '.join(_READ)}, (SELECT jsonb_object_agg(label.name, version.version_number)::text "  # noqa: S608 (names above)
    "FROM workflows_workflowlabel label JOIN workflows_workflowversion version ON version.id = label.version_id "
    "WHERE label.workflow_id = workflow.id) "
    "FROM workflows_workflow workflow WHERE id = %s AND organization_id = %s AND deleted_at IS NULL"
)
_versions: RecentMemory[UUID, WorkflowVersion] = RecentMemory(500)


def version_by_id(version_id: UUID) -> WorkflowVersion:
    """Read once in each process, as long as it is in use: versions never change."""
    found = _versions.get(version_id)
    if found is None:
        found = WorkflowVersion.objects.get(id=version_id)
        _versions.keep(version_id, found)
    return found


def runnable_workflow(organization_id: UUID, workflow_id: UUID) -> Workflow:
    """A living workflow with what a run is begun by, and nothing else of it. Raises NotFound."""
    with prepared_cursor() as cursor:
        cursor.execute(_RUNNABLE, [workflow_id, organization_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("No such object.")
    *values, labels = row
    workflow = stored_row(Workflow, **dict(zip(_READ, values, strict=True)))
    workflow.label_numbers = orjson.loads(labels or "{}")
    if workflow.current_version_id is not None:
        workflow.current_version = version_by_id(workflow.current_version_id)
    return workflow


def resolve_version(workflow: Workflow, *, version: int | None = None, label: str | None = None) -> WorkflowVersion:
    """The version asked for: by number, else by label, else `production` when it is set, else the current one.

    With both, the label must name that version. Raises NotFound, and Conflict when nothing is published.
    """
    labels = workflow.labels
    if label is not None and label not in labels:
        raise NotFound(f"The workflow has no label {label}.", details={"label": "No such label."})
    if label is not None and version not in {None, labels[label]}:
        raise NotFound(f"The label {label} is elsewhere.", details={"label": "Names another version."})
    number = version if version is not None else labels.get(label or PRODUCTION)
    current = workflow.current_version
    if current is not None and number in {None, current.version_number}:
        return current
    if number is None:
        raise Conflict("The workflow has no version yet: publish it.", details={"version": "Nothing is published."})
    found = WorkflowVersion.objects.filter(workflow=workflow, version_number=number).first()
    if found is None:
        raise NotFound(f"The workflow has no version {number}.", details={"version": "No such version."})
    return found


def check_inputs(version: WorkflowVersion, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs with the defaults of their schema; raises BadRequest naming `inputs.<path>`."""
    schema = version.definition.get("inputs") or {}
    complete = {**defaults(schema), **inputs}
    details = value_problems(schema, complete, "inputs")
    if details:
        raise BadRequest("The inputs do not fit the workflow.", details=details)
    return complete


def require_active(workflow: Workflow) -> None:
    """Raises Conflict for a workflow that is switched off."""
    if not workflow.is_active:
        raise Conflict("The workflow is not active.", details={"is_active": "It is switched off."})
