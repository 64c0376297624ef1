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
from apps.prompts.ab_tests.assignment import choose_each
from apps.prompts.ab_tests.routing import Choice, LiveTest, Served, load_live, serve, with_live_test
from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.rendering import PromptError, check_parameters, check_response_schema, check_tools
from apps.prompts.rendering.messages import check_messages
from everquant.api.errors import BadRequest, Conflict, NotFound
from everquant.memory import EpochMemory

# Of a batch: enough to see what is wrong with a file.
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Resolved:
    """What is served without a test, and the live test that the command goes through."""

    served: Served
    test: LiveTest | None

    def places(self, requests: Sequence[tuple[str, Json]]) -> list[tuple[Served, Choice | None]]:
        """For each unit id with its metadata what it is served, and the variant that it is exposed to."""
        if self.test is None:
            return [(self.served, None)] * len(requests)
        choices = choose_each(self.test, requests)
        return [
            (choice.arm, choice if choice.is_exposed else None) if choice else (self.served, None) for choice in choices
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the call needs: nothing of it is read again.

    With `is_limited` a call whose parameters do not limit its output is sent the limit that budgets reserve for.
    What has no prompt has a version that is not stored, without id and number. `provider_key` and `is_embedding`: see
    Command. `exposure` is the variant of an A/B test that this is recorded for.
    """

    version: PromptVersion
    messages: list[Json]
    candidates: tuple[LLMModel, ...]
    own_parameters: Json
    is_limited: bool = False
    provider_key: str = ""
    is_embedding: bool = False
    exposure: Choice | None = None

    @property
    def ab_columns(self) -> Json:
        """The execution's columns of its A/B test, in this order."""
        if self.exposure is None:
            return {"ab_test_id": None, "ab_variant": "", "ab_phase": None}
        said = self.exposure
        return {"ab_test_id": said.test_id, "ab_variant": said.arm.name, "ab_phase": said.phase}

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
    served, exposure = _resolved(command).places([(command.unit_id, metadata)])[0]
    try:
        check_parameters(command.parameters)
        messages = [*served.compiled.render_messages(command.variables), *command.append_messages]
    except PromptError as error:
        raise BadRequest(error.message, details=error.details) from error
    return replace(_plan_of(command, served), messages=messages, exposure=exposure)


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
    places = _resolved(command).places([(row.unit_id, row.metadata) for row in rows])
    # models are looked up once for what many rows are served
    plans = {id(served): _plan_of(command, served) for served in {id(each): each for each, _ in places}.values()}
    resolved: list[Plan] = []
    problems: dict[str, str] = {}
    for number, (row, (served, exposure)) in enumerate(zip(rows, places, strict=True)):
        try:
            messages = served.compiled.render_messages(row.variables)
            resolved.append(replace(plans[id(served)], messages=messages, exposure=exposure))
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


def _resolved(command: Command) -> Resolved:
    key = (command.prompt_id or command.slug, command.version, command.label, command.is_in_test)
    return _memory.get(command.organization_id, key, lambda: _load(command))


def _load(command: Command) -> Resolved:
    prompts = with_live_test(Prompt.objects.for_organization(command.organization_id).alive().with_current())
    named = {"id": command.prompt_id} if command.slug is None else {"slug": command.slug}
    prompt = prompts.filter(**named).first()
    if prompt is None:
        raise NotFound("No such object.")
    if not prompt.is_active:
        raise Conflict("The prompt is not active.")
    version = published.resolve_version(prompt, version=command.version, label=command.label)
    is_in_test = command.is_in_test or (command.version is None and command.label is None)
    return Resolved(serve(version), load_live(prompt) if is_in_test else None)


def _read_epoch(organization_id: UUID) -> bytes | None:
    return published.answers.epoch(organization_id)


_memory: EpochMemory[Resolved] = EpochMemory(_read_epoch)
