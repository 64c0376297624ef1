"""A call of a model with messages that stand in the definition."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.executions.orchestrator import InlinePrompt
from apps.prompts.rendering import PromptError, check_response_schema, check_tools
from apps.workflows.nodes import fields
from apps.workflows.nodes.asking import ask
from apps.workflows.nodes.base import NodeCall, NodeKind, Pinner, Result
from apps.workflows.nodes.pinning import pin_model
from apps.workflows.nodes.resolving import pinned_id, resolved_list, resolved_object, resolved_text


class Llm(NodeKind):
    """Output as a prompt's. Pin: `{"model_id"?}`."""

    kind = "llm"
    calls_model = True
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

    def pin(self, config: Mapping[str, Any], pinner: Pinner) -> dict[str, Any]:
        return pin_model(config, pinner)

    def run(self, call: NodeCall) -> Result:
        parameters = resolved_object(call, "parameters")
        messages = _messages(call)
        said = {"messages": messages, **({"parameters": parameters} if parameters else {})}
        schema = call.config.get("response_schema")
        wish = {
            "inline": InlinePrompt(messages, list(call.config.get("tools", [])), schema),
            "model_id": pinned_id(call, "model_id"),
            "parameters": parameters,
        }
        return ask(call, wish, said, is_streamed=schema is None)


def _messages(call: NodeCall) -> list[dict[str, Any]]:
    if "messages" in call.config:
        messages = resolved_list(call, "messages")
    else:
        messages = [{"role": "user", "content": resolved_text(call, "prompt")}]
    if "system" in call.config:
        messages = [{"role": "system", "content": resolved_text(call, "system")}, *messages]
    return messages
