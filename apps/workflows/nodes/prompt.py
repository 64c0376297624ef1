"""A prompt of the registry."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.executions.models import UNIT_ID_LENGTH
from apps.prompts import models as prompts
from apps.prompts.published import resolve_version
from apps.prompts.rendering.values import UNSTORABLE, to_text
from apps.workflows.nodes import fields
from apps.workflows.nodes.asking import ask, checked_messages
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Pinner, Result
from apps.workflows.nodes.pinning import pin_model, pointer
from apps.workflows.nodes.resolving import pinned_id, resolved, resolved_list, resolved_object
from everquant.api.errors import NotFound


class Prompt(NodeKind):
    """Output: the text; the JSON where the version has a response schema; `{"text", "tool_calls"}` for calls of tools.

    Pin: `{"prompt_id", "version", "has_schema", "model_id"?}`. What has a schema is not streamed: an answer that does
    not fit is asked for again. Nor is what a live A/B test chooses, whose variants may have schemas; the pinned version
    is then that of units which do not take part. The segments of the test look at the run's metadata.
    """

    kind = "prompt"
    calls_model = True
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Calls a model with a prompt of the registry, whose version is pinned at publish.",
        {
            "prompt": fields.slug("The prompt's slug."),
            "version": fields.whole(1, 2**31 - 1, "Exactly this version."),
            "label": fields.label(
                "The version that has this label at publish; without both, `production`, else the current one."
            ),
            "ab_test": {
                "type": "boolean",
                "description": "Whether a live A/B test of the prompt chooses the version, in place of the pinned one.",
            },
            "unit": fields.value(
                "Whom the A/B test assigns; without it the run's input `unit_id`, else the run. A text or a number."
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
        if config.get("ab_test"):
            named = [key for key in ("version", "label") if key in config]
            return [("INVALID_CONFIG", "An A/B test chooses the version.", key) for key in named]
        return [("INVALID_CONFIG", "Only with ab_test.", "unit")] if "unit" in config else []

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
        is_in_test = bool(call.config.get("ab_test"))
        if is_in_test:
            said["unit"] = wish["unit_id"] = _unit(call)
            wish |= {"is_in_test": True, "segment_metadata": dict(call.run.metadata)}
        return ask(call, wish, said, is_streamed=not (is_in_test or call.pin.get("has_schema", False)))


def _unit(call: NodeCall) -> str:
    """Raises NodeFailure for a configured one that is no unit id."""
    given = resolved(call, "unit") if "unit" in call.config else _input_unit(call)
    unit = to_text(given).strip() if _is_name(given) else ""
    if 0 < len(unit) <= UNIT_ID_LENGTH and not UNSTORABLE.search(unit):
        return unit
    if "unit" in call.config:
        raise NodeFailure("INVALID_CONFIG", f"unit: Must be text of 1 to {UNIT_ID_LENGTH} characters, or a number.")
    return str(call.run.id)


def _input_unit(call: NodeCall) -> Any:
    inputs = call.scope.roots.get("inputs")
    return inputs.get("unit_id") if isinstance(inputs, Mapping) else None


def _is_name(given: Any) -> bool:
    return isinstance(given, str | int | float) and not isinstance(given, bool)


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
