"""A prompt of the registry."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.prompts import models as prompts
from apps.prompts.published import resolve_version
from apps.workflows.nodes import fields
from apps.workflows.nodes.asking import ask, checked_messages
from apps.workflows.nodes.base import NodeCall, NodeKind, Pinner, Result
from apps.workflows.nodes.pinning import pin_model, pointer
from apps.workflows.nodes.resolving import pinned_id, resolved_list, resolved_object
from everquant.api.errors import NotFound


class Prompt(NodeKind):
    """Output: the text; the JSON where the version has a response schema; `{"text", "tool_calls"}` for calls of tools.

    Pin: `{"prompt_id", "version", "has_schema", "model_id"?}`. What has a schema is not streamed: an answer that does
    not fit is asked for again.
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

    def pin(self, config: Mapping[str, Any], pinner: Pinner) -> dict[str, Any]:
        found = prompts.Prompt.objects.for_organization(pinner.organization_id).alive().with_current()
        prompt: prompts.Prompt | None = found.filter(slug=config["prompt"], is_active=True).first()
        pins = pin_model(config, pinner)
        if prompt is None:
            pinner.problem("UNKNOWN_PROMPT", "There is no such prompt, or it is not active.", "prompt")
            return pins
        try:
            version = resolve_version(prompt, version=config.get("version"), label=config.get("label"))
        except NotFound as error:
            pinner.problem("UNKNOWN_VERSION", error.message, "label" if "label" in config else "version")
            return pins
        _check_variables(config.get("variables", {}), version, pinner)
        has_schema = version.response_schema is not None
        return {"prompt_id": str(prompt.id), "version": version.version_number, "has_schema": has_schema, **pins}

    def run(self, call: NodeCall) -> Result:
        variables, parameters = resolved_object(call, "variables"), resolved_object(call, "parameters")
        messages = resolved_list(call, "messages")
        said = {"prompt": call.config["prompt"], "version": call.pin["version"], "variables": variables}
        said |= {key: value for key, value in (("parameters", parameters), ("messages", messages)) if value}
        wish = {
            "prompt_id": pinned_id(call, "prompt_id"),
            "version": call.pin["version"],
            "model_id": pinned_id(call, "model_id"),
            "variables": variables,
            "parameters": parameters,
            "append_messages": checked_messages(messages),
        }
        return ask(call, wish, said, is_streamed=not call.pin.get("has_schema", False))


def _check_variables(given: Any, version: prompts.PromptVersion, pinner: Pinner) -> None:
    """Names only: values are mostly not known before the run."""
    if not isinstance(given, dict) or "$ref" in given:
        return
    known = {variable["name"]: variable["required"] for variable in version.variables}
    for name in given.keys() - known.keys():
        where = pointer("variables", name)
        pinner.problem("UNKNOWN_VARIABLE", f"The prompt has no variable {name[:100]}.", where)
    for name, is_required in known.items():
        if is_required and name not in given:
            pinner.problem("MISSING_VARIABLE", f"The prompt's variable {name} is missing.", "variables")
