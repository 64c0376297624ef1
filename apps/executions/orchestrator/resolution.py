"""Step 2: from what was asked to the version, the rendered messages and the models.

A version is an exact number, else what a label names, else what the prompt's live A/B test gives, else `production`,
else the current one. Model and parameters of the request go before those of a variant: what was meant for the unit is
what counts, so the exposure is recorded all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from apps.executions.budgets.amounts import allowed_output_tokens, most_output_tokens
from apps.executions.orchestrator import budgeting, candidates
from apps.executions.orchestrator.command import Command, InlinePrompt, Json, Row
from apps.models import gate
from apps.models.models import LLMModel
from apps.prompts import published
from apps.prompts.ab_tests import serving
from apps.prompts.ab_tests.routing import Choice, Served, with_live_test
from apps.prompts.ab_tests.serving import Serving
from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.rendering import PromptError, check_parameters, check_response_schema, check_tools
from apps.prompts.rendering.messages import check_messages
from everquant.api.errors import BadRequest, Conflict, NotFound
from everquant.memory import EpochMemory

# Of a batch: enough to see what is wrong with a file.
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the call needs: nothing of it is read again.

    With `is_limited` a call whose parameters do not limit its output is sent the limit that budgets reserve for.
    What has no prompt has a version that is not stored, without id and number. `provider_key` and `is_embedding`: see
    Command. `choice` is what an A/B test gave.
    """

    version: PromptVersion
    messages: list[Json]
    candidates: tuple[LLMModel, ...]
    own_parameters: Json
    is_limited: bool = False
    provider_key: str = ""
    is_embedding: bool = False
    choice: Choice | None = None

    @property
    def ab_columns(self) -> Json:
        """The execution's columns of its A/B test, in this order."""
        choice = self.choice
        if choice is None or not choice.is_exposed:
            return {"ab_test_id": None, "ab_variant": "", "ab_phase": None}
        return {"ab_test_id": choice.test_id, "ab_variant": choice.arm.name, "ab_phase": choice.phase}

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
    metadata = command.metadata if command.segment_metadata is None else command.segment_metadata
    served, choice = _serving(command).places([(command.unit_id, metadata)])[0]
    try:
        check_parameters(command.parameters)
        messages = [*served.compiled.render_messages(command.variables), *command.append_messages]
    except PromptError as error:
        raise BadRequest(error.message, details=error.details) from error
    return replace(_plan_of(command, served), messages=messages, choice=choice)


def _plan_of(command: Command, served: Served) -> Plan:
    """Without messages."""
    model_id = command.model_id or served.model_id
    return _plan(command, served.version, [], model_id, {**served.parameters, **command.parameters})


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


def resolve_rows(command: Command, rows: Sequence[Row]) -> list[Plan]:
    """As `resolve`, for many rows.

    Raises BadRequest naming what is wrong as `rows.17.name`, at most MOST_PROBLEMS.
    """
    try:
        check_parameters(command.parameters)
    except PromptError as error:
        raise BadRequest(error.message, details=error.details) from error
    places = _serving(command).places([(row.unit_id, row.metadata) for row in rows])
    # models are looked up once for what many rows are served
    plans = {id(served): _plan_of(command, served) for served in {id(each): each for each, _ in places}.values()}
    resolved: list[Plan] = []
    problems: dict[str, str] = {}
    for number, (row, (served, choice)) in enumerate(zip(rows, places, strict=True)):
        try:
            messages = served.compiled.render_messages(row.variables)
            resolved.append(replace(plans[id(served)], messages=messages, choice=choice))
        except PromptError as error:
            for path, why in error.details.items():
                problems[f"rows.{number}.{path.removeprefix('variables.')}"] = why
            if len(problems) >= MOST_PROBLEMS:
                break
    if problems:
        raise BadRequest("Rows cannot be rendered; nothing was stored.", details=first_problems(problems))
    return resolved


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


def _serving(command: Command) -> Serving:
    key = (command.prompt_id or command.slug, command.version, command.label, command.is_in_test)
    return _memory.get(command.organization_id, key, lambda: _load(command))


def _load(command: Command) -> Serving:
    prompts = with_live_test(Prompt.objects.for_organization(command.organization_id).alive().with_current())
    named = {"id": command.prompt_id} if command.slug is None else {"slug": command.slug}
    prompt = prompts.filter(**named).first()
    if prompt is None:
        raise NotFound("No such object.")
    if not prompt.is_active:
        raise Conflict("The prompt is not active.")
    return serving.load(prompt, version=command.version, label=command.label, is_in_test=command.is_in_test)


_memory: EpochMemory[Serving] = EpochMemory(published.answers.epoch)
