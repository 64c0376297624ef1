"""Subjects of an evaluation as its driver needs them: from an item's input to the call that is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from apps.evaluations.models import Evaluation, EvaluationSubject, SubjectKind
from apps.executions.orchestrator.candidates import candidates_for
from apps.executions.orchestrator.cases import limited
from apps.executions.orchestrator.resolution import Plan, unstored_version
from apps.models.models import LLMModel
from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.rendering import CompiledPrompt, PromptError, compile_prompt
from apps.prompts.rendering.messages import check_messages
from apps.workflows.models import Workflow, WorkflowVersion
from apps.workflows.resolution import check_inputs
from everquant.api.errors import ApiError

Json = Any
Models = tuple[LLMModel, ...]
UNAVAILABLE = "SUBJECT_UNAVAILABLE"
INVALID_INPUT = "INVALID_INPUT"
MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
PRICE_UNKNOWN = "PRICE_UNKNOWN"


class CaseFailure(Exception):
    """The case has no answer: it cannot be asked for."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Unpriced(Exception):
    """Within a budget: what a call costs at most is not known."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was answered stands in the item."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not there any more, or is switched off."""

    why: str


@dataclass(frozen=True, slots=True)
class ModelSubject:
    """A version of a prompt, or messages of the evaluation's own with an unstored version."""

    organization_id: UUID
    prompt_id: UUID | None
    version: PromptVersion
    compiled: CompiledPrompt
    model_id: UUID | None
    parameters: dict[str, Json]

    def models(self) -> Models:
        """The model that answers, without its fallbacks. Raises CaseFailure."""
        try:
            return candidates_for(self.organization_id, self.model_id)[:1]
        except ApiError as error:
            raise CaseFailure(MODEL_UNAVAILABLE, error.message) from error

    def plan(self, said: Json, models: Models) -> tuple[Plan, dict[str, Json]]:
        """What is sent to the model for this input, and the variables. Raises CaseFailure."""
        variables, following = self._read(said)
        try:
            messages = self.compiled.render_messages(variables)
            if following:
                check_messages(following)
        except PromptError as error:
            told = "; ".join(f"{path}: {why}" for path, why in error.details.items())
            raise CaseFailure(INVALID_INPUT, told or error.message) from error
        return self._plan([*messages, *following], models), variables

    def limited_plan(self, said: Json, models: Models) -> tuple[Plan, dict[str, Json], Decimal]:
        """As `plan`, with the limit of output that goes with what it costs at most, in USD. Raises Unpriced too."""
        plan, variables = self.plan(said, models)
        plan, amount = limited(plan)
        if amount is None:
            raise Unpriced
        return plan, variables, amount

    def check_price(self) -> None:
        """Raises Unpriced."""
        try:
            plan = self._plan([], self.models())
        except CaseFailure:
            return
        if limited(plan)[1] is None:
            raise Unpriced

    def _plan(self, messages: list[dict[str, Json]], models: Models) -> Plan:
        return Plan(self.version, messages, models, {**self.version.parameters, **self.parameters})

    def _read(self, said: Json) -> tuple[dict[str, Json], list[dict[str, Json]]]:
        """The variables that the prompt takes, and messages that follow it.

        An object is the variables: what the prompt does not take is left out. One that has nothing but `messages` is
        the rest of a conversation. Anything else is the variable `input`.
        """
        names = {variable.name for variable in self.compiled.variables}
        if not isinstance(said, Mapping):
            return {"input": said}, []
        if said.keys() == {"messages"} and "messages" not in names:
            return {}, said["messages"]
        return {name: value for name, value in said.items() if name in names}, []


@dataclass(frozen=True, slots=True)
class WorkflowSubject:
    workflow: Workflow
    version: WorkflowVersion

    def inputs(self, said: Json) -> dict[str, Json]:
        """Raises CaseFailure."""
        try:
            return check_inputs(self.version, said if isinstance(said, Mapping) else {"input": said})
        except ApiError as error:
            told = "; ".join(f"{path}: {why}" for path, why in error.details.items())
            raise CaseFailure(INVALID_INPUT, told or error.message) from error

    def most_usd(self) -> Decimal:
        """What the workflow's own limit lets a run cost. Raises Unpriced."""
        limit = (self.version.definition.get("settings") or {}).get("max_cost_usd")
        if limit is None:
            raise Unpriced
        return Decimal(limit)


Subject = Recorded | Missing | ModelSubject | WorkflowSubject


def load_subjects(evaluation: Evaluation) -> list[Subject]:
    """In their order."""
    return [load_subject(evaluation.organization_id, subject) for subject in evaluation.subjects.order_by("position")]


def load_subject(organization_id: UUID, subject: EvaluationSubject) -> Subject:
    if subject.kind == SubjectKind.RECORDED:
        return Recorded()
    if subject.kind == SubjectKind.WORKFLOW:
        return _workflow(organization_id, subject)
    if subject.kind == SubjectKind.PROMPT:
        return _prompt(organization_id, subject)
    try:
        compiled = compile_prompt(messages=subject.messages)
    except PromptError as error:
        return Missing(error.message)
    version = unstored_version([], subject.response_schema)
    return ModelSubject(organization_id, None, version, compiled, subject.model_id, subject.parameters)


def _prompt(organization_id: UUID, subject: EvaluationSubject) -> Subject:
    prompts = Prompt.objects.for_organization(organization_id).alive().filter(is_active=True, id=subject.prompt_id)
    version = PromptVersion.objects.filter(prompt__in=prompts, id=subject.prompt_version_id).first()
    if version is None:
        return Missing("The prompt was deleted or is not active.")
    model_id = subject.model_id or version.model_id
    compiled = version.compiled()
    return ModelSubject(organization_id, subject.prompt_id, version, compiled, model_id, subject.parameters)


def _workflow(organization_id: UUID, subject: EvaluationSubject) -> Subject:
    workflows = Workflow.objects.for_organization(organization_id).alive().filter(is_active=True)
    versions = WorkflowVersion.objects.filter(workflow__in=workflows.filter(id=subject.workflow_id))
    version = versions.select_related("workflow").filter(id__in=[subject.workflow_version_id]).first()
    if version is None:
        return Missing("The workflow was deleted or is not active.")
    return WorkflowSubject(version.workflow, version)
