"""A call of a model with messages that stand in the definition."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.prompts.rendering import PromptError, check_response_schema, check_tools
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeKind, Result


class Llm(NodeKind):
    """Output as a prompt's. Pin: `{"model_id"?}`."""

    kind = "llm"
    literals = frozenset({"response_schema", "tools"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Calls a model with messages of its own.",
        {
            "prompt": fields.value_of(description="What the user says; or `messages`."),
            "messages": fields.value_of("array", description="In OpenAI's form: [{role, content}]."),
            "system": fields.value_of(description="What the system says, before the rest."),
            "model": fields.model(),
            "parameters": fields.value_of(description="temperature, max_tokens, …"),
            "response_schema": {"type": "object", "description": "JSON Schema of the answer, which is then JSON."},
            "tools": {"type": "array", "description": "Functions the model may ask to call, in OpenAI's form."},
        },
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        problems = []
        if ("prompt" in config) == ("messages" in config):
            problems.append(("INVALID_CONFIG", "Exactly one of prompt and messages is expected.", ""))
        for key, check in (("response_schema", check_response_schema), ("tools", check_tools)):
            try:
                if key in config:
                    check(config[key])
            except PromptError as error:
                path, why = next(iter(error.details.items()), (key, error.message))
                problems.append(("INVALID_CONFIG", why, path.replace(".", "/")))
        return problems

    def run(self, call: NodeCall) -> Result:
        raise NotImplementedError
