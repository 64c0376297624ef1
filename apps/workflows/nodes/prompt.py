"""A prompt of the registry."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeKind, Result


class Prompt(NodeKind):
    """Output: the text; the JSON where the version has a response schema; `{"text", "tool_calls"}` for calls of tools.

    Pin: `{"prompt_id", "version", "model_id"?}`.
    """

    kind = "prompt"
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Calls a model with a prompt of the registry, whose version is pinned at publish.",
        {
            "prompt": fields.slug("The prompt's slug."),
            "version": fields.whole(1, 2**31 - 1, "Exactly this version."),
            "label": fields.label(
                "The version that has this label at publish; without both, `production`, else the current one."
            ),
            "variables": fields.value_of(description="The prompt's variables, by name."),
            "model": fields.model(),
            "parameters": fields.value_of(description="In place of the version's: temperature, max_tokens, …"),
            "messages": fields.value_of("array", description="Follow those of the prompt."),
        },
        "prompt",
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        if "version" in config and "label" in config:
            return [("INVALID_CONFIG", "Either version or label.", "label")]
        return []

    def run(self, call: NodeCall) -> Result:
        raise NotImplementedError
