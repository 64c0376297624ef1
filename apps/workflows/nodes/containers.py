"""Nodes that run a body, or another workflow."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.workflows.definition.expressions import check_expression
from apps.workflows.definition.values import ValueProblem
from apps.workflows.models import Workflow
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import ContainerKind, Pinner
from apps.workflows.resolution import resolve_version
from everquant.api.errors import ApiError


class Map(ContainerKind):
    """Output: `{"items": […], "errors": [{"index", "code", "message"}]}`, the items in the order of the list."""

    kind = "map"
    literals = frozenset({"body"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Runs its body once for each item of a list.",
        {
            "items": fields.value_of("array", description="The list, which may be empty."),
            "body": fields.BODY,
            "max_concurrency": fields.whole(1, 64, "How many items at once.", 4),
            "max_items": fields.whole(1, 10_000, "A longer list fails the node.", 1000),
            "on_item_error": fields.choice(
                "fail",
                "continue",
                "drop",
                description="fail: the node fails; continue: null in the item's place; drop: without the item.",
                default="fail",
            ),
        },
        "items",
        "body",
    )


class Loop(ContainerKind):
    """Output: `{"last": …, "iterations": n, "is_done": bool}`."""

    kind = "loop"
    literals = frozenset({"body", "until"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Runs its body again and again.",
        {
            "body": fields.BODY,
            "max_iterations": fields.whole(1, 100, "How often at most."),
            "until": fields.text(
                "CEL, asked after each pass: `last.score >= 0.8`. It sees the body's nodes, `iteration` and `last`.",
                fields.MAX_EXPRESSION,
                1,
            ),
        },
        "body",
        "max_iterations",
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        try:
            if "until" in config:
                check_expression(config["until"])
        except ValueProblem as problem:
            return [(problem.code, problem.message, "until")]
        return []


class Subworkflow(ContainerKind):
    """Output: the child's outputs. Pin: `{"workflow_id", "version_id", "version"}`."""

    kind = "subworkflow"
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Runs a version of another workflow, pinned at publish.",
        {
            "workflow": fields.slug("The workflow's slug."),
            "version": fields.whole(1, 2**31 - 1, "Exactly this version."),
            "label": fields.label(
                "The version that has this label at publish; without both, `production`, else the current one."
            ),
            "inputs": fields.value_of(description="The child's inputs, by name."),
        },
        "workflow",
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        if "version" in config and "label" in config:
            return [("INVALID_CONFIG", "Either version or label.", "label")]
        return []

    def pin(self, config: Mapping[str, Any], pinner: Pinner) -> dict[str, Any]:
        found = Workflow.objects.for_organization(pinner.organization_id).alive().with_current()
        workflow: Workflow | None = found.filter(slug=config["workflow"]).first()
        if workflow is None:
            pinner.problem("UNKNOWN_WORKFLOW", "There is no such workflow.", "workflow")
            return {}
        try:
            version = resolve_version(workflow, version=config.get("version"), label=config.get("label"))
        except ApiError as error:
            key = "label" if "label" in config else "version" if "version" in config else "workflow"
            pinner.problem("UNKNOWN_VERSION", error.message, key)
            return {}
        return {"workflow_id": str(workflow.id), "version_id": str(version.id), "version": version.version_number}
