"""Step 2: from what was asked to the version, the rendered messages and the models, in that order of precedence.

Room for the next: a running A/B test chooses the version when neither a number nor a label is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.executions.budgets.amounts import allowed_output_tokens, most_output_tokens
from apps.executions.orchestrator import budgeting, candidates
from apps.executions.orchestrator.command import Command, InlinePrompt, Json
from apps.models import gate
from apps.models.models import LLMModel
from apps.prompts import published
from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.rendering import CompiledPrompt, PromptError, check_parameters, check_response_schema, check_tools
from apps.prompts.rendering.messages import check_messages
from everquant.api.errors import BadRequest, Conflict, NotFound
from everquant.memory import EpochMemory

# Of a batch: enough to see what is wrong with a file.
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    version: PromptVersion
    compiled: CompiledPrompt


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the call needs: nothing of it is read again.

    With `is_limited` a call whose parameters do not limit its output is sent the limit that budgets reserve for.
    What has no prompt has a version that is not stored, without id and number. `provider_key` and `is_embedding`: see
    Command.
    """

    version: PromptVersion
    messages: list[Json]
    candidates: tuple[LLMModel, ...]
    own_parameters: Json
    is_limited: bool = False
    provider_key: str = ""
    is_embedding: bool = False

    def parameters_for(self, candidate: LLMModel) -> Json:
        """The model's defaults, then the version's, then the request's; embeddings have none."""
        if self.is_embedding:
            return {}
        parameters = {**candidate.default_parameters, **self.own_parameters}
        if self.is_limited and allowed_output_tokens(parameters) is None:
            # Adapters send it by the name that their provider takes.
            parameters["max_tokens"] = most_output_tokens(candidate, parameters)
        return parameters


def resolve(command: Command) -> Plan:
    """Raises BadRequest naming the inputs that are wrong, NotFound, Conflict for what cannot be executed now."""
    if command.inline is not None:
        return _resolve_inline(command, command.inline)
    key = (command.prompt_id, command.version, command.label)
    resolved = _memory.get(command.organization_id, key, lambda: _load(command))
    version = resolved.version
    try:
        check_parameters(command.parameters)
        messages = [*resolved.compiled.render_messages(command.variables), *command.append_messages]
    except PromptError as error:
        raise BadRequest(error.message, details=error.details) from error
    model_id = command.model_id or version.model_id
    return _plan(command, version, messages, model_id, {**version.parameters, **command.parameters})


def _resolve_inline(command: Command, inline: InlinePrompt) -> Plan:
    messages = [*inline.messages, *command.append_messages]
    try:
        check_parameters(command.parameters)
        check_messages(messages)
        check_tools(inline.tools)
        if inline.response_schema is not None:
            check_response_schema(inline.response_schema)
    except PromptError as error:
        raise BadRequest(error.message, details=error.details) from error
    version = unstored_version(inline.tools, inline.response_schema)
    return _plan(command, version, messages, command.model_id, command.parameters)


def _plan(
    command: Command, version: PromptVersion, messages: list[Json], model_id: UUID | None, parameters: Json
) -> Plan:
    if command.is_embedding:
        models = candidates.embedding_models(command.organization_id, model_id)
    else:
        models = candidates.candidates_for(command.organization_id, model_id)
    return Plan(
        version,
        messages,
        models[:1] if command.is_pinned else models,
        parameters,
        is_limited=command.is_limited,
        provider_key=command.provider_key,
        is_embedding=command.is_embedding,
    )


def unstored_version(tools: list[Json], response_schema: Json | None) -> PromptVersion:
    """Of messages that come from no prompt."""
    nothing: Any = None
    return PromptVersion(id=nothing, version_number=nothing, tools=tools, response_schema=response_schema)


def resolve_rows(command: Command, rows: Sequence[Json]) -> tuple[Plan, list[list[Json]]]:
    """As `resolve`, for many values of the variables: one plan (without messages), and the messages of each row.

    Raises BadRequest naming what is wrong as `rows.17.name`, at most MOST_PROBLEMS.
    """
    key = (command.prompt_id, command.version, command.label)
    resolved = _memory.get(command.organization_id, key, lambda: _load(command))
    version = resolved.version
    try:
        check_parameters(command.parameters)
    except PromptError as error:
        raise BadRequest(error.message, details=error.details) from error
    models = candidates.candidates_for(command.organization_id, command.model_id or version.model_id)
    messages: list[list[Json]] = []
    problems: dict[str, str] = {}
    for number, variables in enumerate(rows):
        try:
            messages.append(resolved.compiled.render_messages(variables))
        except PromptError as error:
            for path, why in error.details.items():
                problems[f"rows.{number}.{path.removeprefix('variables.')}"] = why
            if len(problems) >= MOST_PROBLEMS:
                break
    if problems:
        raise BadRequest("Rows cannot be rendered; nothing was stored.", details=first_problems(problems))
    return Plan(version, [], models, {**version.parameters, **command.parameters}), messages


def first_problems(problems: dict[str, str]) -> dict[str, str]:
    return dict(list(problems.items())[:MOST_PROBLEMS])


def names_to_prefetch(organization_id: UUID) -> tuple[str, ...]:
    """What is read of Redis to resolve a command, for one round trip with whatever else a caller reads."""
    return (
        *published.answers.names(organization_id, ""),
        *candidates.names(organization_id),
        *budgeting.names(organization_id),
        *gate.names(organization_id),
    )


def _load(command: Command) -> ResolvedVersion:
    prompts = Prompt.objects.for_organization(command.organization_id).alive().with_current()
    prompt = prompts.filter(id=command.prompt_id).first()
    if prompt is None:
        raise NotFound("No such object.")
    if not prompt.is_active:
        raise Conflict("The prompt is not active.")
    version = published.resolve_version(prompt, version=command.version, label=command.label)
    return ResolvedVersion(version, version.compiled())


def _read_epoch(organization_id: UUID) -> bytes | None:
    return published.answers.epoch(organization_id)


_memory: EpochMemory[ResolvedVersion] = EpochMemory(_read_epoch)
