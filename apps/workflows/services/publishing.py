"""Publishing: a draft that is valid in its organization becomes a version, and what it refers to is pinned."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.prompts.labelling import move_label
from apps.prompts.naming import change_fields
from apps.users.models import User
from apps.workflows.definition.model import Definition
from apps.workflows.definition.parsing import parse
from apps.workflows.definition.problems import Problem
from apps.workflows.definition.validation import problems as problems_of
from apps.workflows.models import Workflow, WorkflowVersion
from apps.workflows.nodes.registry import kinds
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest
from everquant.db import lock_for_update

MAX_LEVELS = 8
Pins = dict[str, dict[str, Any]]


class InvalidWorkflow(BadRequest):
    """Names every problem by its JSON pointer in the definition."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        details: dict[str, str] = {}
        for problem in problems:
            at = problem.pointer or "definition"
            said = f"{problem.code}: {problem.message}"
            details[at] = f"{details[at]} {said}" if at in details else said
        super().__init__("The workflow is not valid.", details=details)
        self.problems = list(problems)


class _Pinner:
    """Of one node at a time; see `nodes.base.Pinner`."""

    def __init__(self, organization_id: UUID) -> None:
        self.organization_id = organization_id
        self.problems: list[Problem] = []
        self.pointer = ""

    def problem(self, code: str, message: str, field: str) -> None:
        self.problems.append(Problem(code, f"{self.pointer}/config/{field}".removesuffix("/"), message))


def check_definition(
    definition: Any, organization_id: UUID, *, workflow: Workflow | None = None
) -> tuple[Pins, list[Problem]]:
    """What the definition's references are now, and everything that is wrong with it, for this workflow if given."""
    problems = problems_of(definition)
    if problems:
        return {}, problems
    parsed = parse(definition)
    pinner = _Pinner(organization_id)
    pins: Pins = {}
    for node in parsed.all_nodes():
        pinner.pointer = node.pointer
        found = kinds()[node.kind].pin(node.config, pinner)
        if found:
            pins[node.id] = found
    problems = pinner.problems or _recursion(parsed, pins, workflow)
    return pins, problems


def _recursion(definition: Definition, pins: Mapping[str, Any], workflow: Workflow | None) -> list[Problem]:
    """One problem for each node whose workflow would come to run this one, or lies too deep; a query a level."""
    found: list[Problem] = []
    nodes = [node for node in definition.all_nodes() if node.kind == "subworkflow"]
    start: tuple[str, ...] = (workflow.slug,) if workflow is not None else ()
    level = {(f"{node.pointer}/config/workflow", pins[node.id]["version_id"]): start for node in nodes}
    seen = set(level)
    for _ in range(MAX_LEVELS):
        if not level:
            break
        versions = _versions({version_id for _, version_id in level})
        below: dict[tuple[str, str], tuple[str, ...]] = {}
        for (pointer, version_id), path in level.items():
            version = versions[version_id]
            longer = (*path, version.workflow.slug)
            if workflow is not None and version.workflow_id == workflow.id:
                found.append(Problem("RECURSION", pointer, f"It would run itself: {' → '.join(longer)}."))
                continue
            below |= {(pointer, child): longer for child in _children(version)}
        level = {key: path for key, path in below.items() if key not in seen}
        seen |= set(level)
    deep = dict.fromkeys(pointer for pointer, _ in level)
    return found + [Problem("TOO_DEEP", pointer, f"More than {MAX_LEVELS} levels of workflows.") for pointer in deep]


def _versions(ids: set[str]) -> dict[str, WorkflowVersion]:
    found = WorkflowVersion.objects.filter(id__in=ids).select_related("workflow").defer("definition", "workflow__draft")
    return {str(version.id): version for version in found}


def _children(version: WorkflowVersion) -> list[str]:
    """The versions of other workflows that it runs."""
    return [pin["version_id"] for pin in version.pins.values() if "workflow_id" in pin]


@transaction.atomic(savepoint=False)
def publish(
    *,
    workflow: Workflow,
    published_by: User | None,
    message: str = "",
    labels: Sequence[str] = (),
    may_move_protected: bool = False,
) -> tuple[WorkflowVersion, bool]:
    """The version that says what the draft says, and whether it is new. It becomes current, and labels move to it.

    A draft that the current version says already, with the same pins, makes none. Concurrent calls wait for each
    other and get distinct numbers. Raises InvalidWorkflow, Forbidden for a protected label.
    """
    locked = lock_for_update(Workflow.objects.all(), pk=workflow.pk)
    pins, problems = check_definition(locked.draft, locked.organization_id, workflow=locked)
    if problems:
        raise InvalidWorkflow(problems)
    current = locked.current_version
    is_new = current is None or dumps([current.definition, current.pins]) != dumps([locked.draft, pins])
    version = _new_version(locked, pins, message, published_by) if is_new else current
    workflow.current_version = version
    for name in dict.fromkeys(labels):
        move_label(
            owner=workflow,
            name=name,
            version=version,
            moved_by=published_by,
            may_move_protected=may_move_protected,
            reason=message,
        )
    return version, is_new


def _new_version(workflow: Workflow, pins: Pins, message: str, created_by: User | None) -> WorkflowVersion:
    current = workflow.current_version
    version = WorkflowVersion(
        organization_id=workflow.organization_id,
        workflow=workflow,
        version_number=current.version_number + 1 if current is not None else 1,
        definition=workflow.draft,
        pins=pins,
        message=message,
        created_by=created_by,
    )
    version.save(force_insert=True)
    workflow.current_version = version
    workflow.save_fields("current_version")
    return version


@transaction.atomic(savepoint=False)
def restore_version(*, workflow: Workflow, version: WorkflowVersion) -> Workflow:
    """What an older version says becomes the draft; nothing is published."""
    change_fields(workflow, {"draft": version.definition})
    return workflow
