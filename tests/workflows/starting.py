"""A published workflow for schedules and triggers to start, without the API that makes one."""

from typing import Any

from apps.workflows.models import Workflow, WorkflowVersion

DEFINITION: dict[str, Any] = {
    "schema_version": 1,
    "inputs": {
        "type": "object",
        "properties": {"ticket": {"type": "string"}, "priority": {"type": "integer", "default": 3}},
        "required": ["ticket"],
        "additionalProperties": False,
    },
    "nodes": [{"id": "say", "kind": "template", "config": {"template": "{{inputs.ticket}}"}}],
    "edges": [],
    "outputs": {"said": {"$ref": "nodes.say.output"}},
}


def make_workflow(person: Any, slug: str = "triage", *, is_published: bool = True) -> Workflow:
    workflow: Workflow = Workflow.objects.create(
        organization=person.organization, slug=slug, name=slug, draft=DEFINITION, created_by=person.user
    )
    if is_published:
        publish(workflow)
    return workflow


def publish(workflow: Workflow, **changes: Any) -> WorkflowVersion:
    number = workflow.versions.count() + 1
    version: WorkflowVersion = WorkflowVersion.objects.create(
        organization_id=workflow.organization_id,
        workflow=workflow,
        version_number=number,
        definition={**DEFINITION, **changes},
    )
    workflow.current_version = version
    workflow.save_fields("current_version")
    return version
