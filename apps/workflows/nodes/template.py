"""Text from a sandboxed template."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.prompts.rendering import PromptError, compile_prompt
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Result


class Template(NodeKind):
    kind = "template"
    is_instant = True
    literals = frozenset({"template"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Text from a template over inputs, nodes and the other roots.",
        {
            "template": fields.text("As in prompts: `Dear {{ inputs.name }}, {{ nodes.answer.output }}`."),
            "format": fields.choice("simple", "jinja2", description="As in prompts.", default="simple"),
        },
        "template",
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        try:
            _compiled(config)
        except PromptError as error:
            return [("INVALID_TEMPLATE", next(iter(error.details.values()), error.message), "template")]
        return []

    def run(self, call: NodeCall) -> Result:
        compiled = _compiled(call.config)
        named = {variable.name for variable in compiled.variables}
        values = {root: value for root, value in call.scope.roots.items() if root in named}
        try:
            return Result(compiled.render(values))
        except PromptError as error:
            raise NodeFailure("TEMPLATE_FAILED", "; ".join(error.details.values()) or error.message) from error


def _compiled(config: Mapping[str, Any]) -> Any:
    return compile_prompt(content=config["template"], format=config.get("format", "simple"))
