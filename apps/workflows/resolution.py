"""Which version of a workflow is meant, and whether the inputs of a run are those that it takes."""

from collections.abc import Mapping
from typing import Any

from apps.prompts.models import PRODUCTION
from apps.prompts.rendering.schema import defaults, value_problems
from apps.workflows.models import Workflow, WorkflowVersion
from everquant.api.errors import BadRequest, Conflict, NotFound


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
