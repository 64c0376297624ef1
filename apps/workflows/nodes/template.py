"""Text from a sandboxed template."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from apps.prompts.rendering import CompiledPrompt, PromptError, compile_prompt
from apps.prompts.rendering.jinja import paths_of
from apps.workflows.definition.values import Reference, ValueProblem, references, render_text
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Result
from apps.workflows.nodes.resolving import visible_roots


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

    def references(self, config: Mapping[str, Any]) -> list[Reference]:
        if _is_jinja(config):
            return [Reference(path, is_optional, "/template") for path, is_optional in paths_of(config["template"])]
        return [replace(one, pointer="/template") for one in references(config["template"])]

    def run(self, call: NodeCall) -> Result:
        try:
            if not _is_jinja(call.config):
                return Result(render_text(call.config["template"], call.scope))
            compiled, roots = _compiled(call.config), visible_roots(call.scope)
            named = (variable.name for variable in compiled.variables)
            return Result(compiled.render({name: roots[name] for name in named if name in roots}))
        except ValueProblem as problem:
            raise NodeFailure(problem.code, problem.message) from problem
        except PromptError as error:
            raise NodeFailure("TEMPLATE_FAILED", "; ".join(error.details.values()) or error.message) from error


def _is_jinja(config: Mapping[str, Any]) -> bool:
    return bool(config.get("format", "simple") == "jinja2")


def _compiled(config: Mapping[str, Any]) -> CompiledPrompt:
    return compile_prompt(content=config["template"], format=config.get("format", "simple"))
