"""From wishes to rows that name exact versions and models, with everything that is wrong with the wishes at once."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q

from apps.evaluations.models import (
    NAME_LENGTH,
    Dataset,
    DatasetVersion,
    EvaluationMetric,
    EvaluationSubject,
    Evaluator,
    EvaluatorVersion,
    SubjectKind,
)
from apps.evaluations.runs.wishes import MetricWish, Reference, SubjectWish
from apps.executions.orchestrator.candidates import candidates_for
from apps.models.models import LLMModel
from apps.prompts import published
from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.rendering import PromptError, check_parameters, check_response_schema, compile_prompt
from apps.users.principal import Principal
from apps.workflows import resolution
from apps.workflows.evaluating import evaluators
from apps.workflows.models import Workflow, WorkflowVersion
from everquant.api.errors import ApiError

Problems = dict[str, str]
"""Dotted path of the request → one sentence."""

_NO_SUCH = "No such object."
_NEEDED = {
    SubjectKind.PROMPT: "prompts:execute",
    SubjectKind.INLINE: "prompts:execute",
    SubjectKind.WORKFLOW: "workflows:execute",
}


def find(queryset: Any, reference: Reference) -> Any:
    """The living row with this id or slug, or None."""
    wanted: dict[str, Any] = {"id": reference} if isinstance(reference, UUID) else {"slug": reference}
    return queryset.alive().filter(**wanted).first()


def pin_dataset(
    organization_id: UUID, reference: Reference, version: int | None, problems: Problems
) -> DatasetVersion | None:
    datasets = Dataset.objects.for_organization(organization_id).select_related("current_version__dataset")
    dataset = find(datasets, reference)
    if dataset is None:
        problems["dataset"] = _NO_SUCH
        return None
    if dataset.current_version is None:
        problems["dataset"] = "It has no items yet."
        return None
    if version is None or version == dataset.current_version.version_number:
        current: DatasetVersion = dataset.current_version
        return current
    found = DatasetVersion.objects.filter(dataset=dataset, version_number=version).select_related("dataset").first()
    if found is None:
        problems["dataset_version"] = "No such version."
    return found


def missing_permissions(wishes: Sequence[SubjectWish], by: Principal) -> Problems:
    needed = ((number, _NEEDED.get(wish.kind)) for number, wish in enumerate(wishes))
    return {
        f"subjects.{number}": f"Needs {permission}."
        for number, permission in needed
        if permission is not None and not by.can(permission)
    }


def pin_subjects(
    organization_id: UUID, wishes: Sequence[SubjectWish], budget_usd: Decimal | None, problems: Problems
) -> list[EvaluationSubject]:
    """Rows without their evaluation; those that have problems are left out."""
    subjects = []
    for number, wish in enumerate(wishes):
        found: Problems = {}
        subject = EvaluationSubject(position=number, kind=wish.kind, name=wish.name, parameters=wish.parameters)
        try:
            called = _PIN[wish.kind](organization_id, wish, subject, found)
        except ApiError as error:
            found.update(error.details or {"": error.message})
        else:
            subject.name = subject.name or called[:NAME_LENGTH]
        if wish.kind == SubjectKind.WORKFLOW and budget_usd is not None and not found:
            _require_limit(subject, found)
        problems.update({f"subjects.{number}.{path}".rstrip("."): why for path, why in found.items()})
        subjects += [subject] if not found else []
    _name_apart(subjects, [wish.name for wish in wishes], "subjects", problems)
    return subjects


def _pin_prompt(organization_id: UUID, wish: SubjectWish, subject: EvaluationSubject, found: Problems) -> str:
    prompts = Prompt.objects.for_organization(organization_id).with_current()
    prompt = find(prompts, wish.prompt or "")
    if prompt is None or not prompt.is_active:
        found["prompt"] = _NO_SUCH if prompt is None else "The prompt is not active."
        return ""
    version: PromptVersion = published.resolve_version(prompt, version=wish.version, label=wish.label)
    _check_parameters(wish, found)
    subject.prompt_id, subject.prompt_version_id = prompt.id, version.id
    subject.version_number = version.version_number
    subject.model_id = _model(organization_id, wish.model_id or version.model_id).id
    return f"{_short(prompt.slug)} v{version.version_number}"


def _pin_inline(organization_id: UUID, wish: SubjectWish, subject: EvaluationSubject, found: Problems) -> str:
    try:
        compile_prompt(messages=wish.messages)
        if wish.response_schema is not None:
            check_response_schema(wish.response_schema)
    except PromptError as error:
        found.update(error.details)
    _check_parameters(wish, found)
    subject.messages, subject.response_schema = wish.messages, wish.response_schema
    model = _model(organization_id, wish.model_id)
    subject.model_id = model.id
    return model.slug


def _pin_workflow(organization_id: UUID, wish: SubjectWish, subject: EvaluationSubject, found: Problems) -> str:
    workflows = Workflow.objects.for_organization(organization_id).with_current().defer("draft")
    workflow = find(workflows, wish.workflow or "")
    if workflow is None or not workflow.is_active:
        found["workflow"] = _NO_SUCH if workflow is None else "The workflow is not active."
        return ""
    version = resolution.resolve_version(workflow, version=wish.version, label=wish.label)
    subject.workflow_id, subject.workflow_version_id = workflow.id, version.id
    subject.version_number = version.version_number
    return f"{_short(workflow.slug)} v{version.version_number}"


def _pin_recorded(organization_id: UUID, wish: SubjectWish, subject: EvaluationSubject, found: Problems) -> str:
    return "recorded"


_PIN = {
    SubjectKind.PROMPT: _pin_prompt,
    SubjectKind.INLINE: _pin_inline,
    SubjectKind.WORKFLOW: _pin_workflow,
    SubjectKind.RECORDED: _pin_recorded,
}


def _short(slug: str) -> str:
    return slug[: NAME_LENGTH - 12]


def _model(organization_id: UUID, model_id: UUID | None) -> LLMModel:
    return candidates_for(organization_id, model_id)[0]


def _check_parameters(wish: SubjectWish, found: Problems) -> None:
    try:
        check_parameters(wish.parameters)
    except PromptError as error:
        found.update(error.details)


def _require_limit(subject: EvaluationSubject, found: Problems) -> None:
    """What a run may cost at most is held back within the budget while it runs."""
    version: Any = WorkflowVersion.objects.get(pk=str(subject.workflow_version_id))
    settings = version.definition.get("settings") or {}
    if settings.get("max_cost_usd") is None:
        found["workflow"] = "With a budget it needs a limit of its own: settings.max_cost_usd."


def pin_metrics(
    organization_id: UUID, wishes: Sequence[MetricWish], subject_count: int, problems: Problems
) -> list[EvaluationMetric]:
    """As `pin_subjects`."""
    by_reference = _evaluators(organization_id, wishes)
    metrics = []
    for number, wish in enumerate(wishes):
        found: Problems = {}
        version = _evaluator_version(by_reference.get(wish.evaluator), wish, found)
        if version is not None:
            _check_kind(version.evaluator.kind, subject_count, found)
        problems.update({f"evaluators.{number}.{path}": why for path, why in found.items()})
        if version is not None and not found:
            name = wish.name or version.evaluator.slug[:NAME_LENGTH]
            metrics.append(EvaluationMetric(position=number, name=name, evaluator_version=version))
    _name_apart(metrics, [wish.name for wish in wishes], "evaluators", problems)
    return metrics


def _evaluators(organization_id: UUID, wishes: Iterable[MetricWish]) -> dict[Reference, Evaluator]:
    ids = [wish.evaluator for wish in wishes if isinstance(wish.evaluator, UUID)]
    slugs = [wish.evaluator for wish in wishes if isinstance(wish.evaluator, str)]
    mine = Evaluator.objects.for_organization(organization_id).alive().filter(Q(id__in=ids) | Q(slug__in=slugs))
    found = list(mine.select_related("current_version"))
    return {key: evaluator for evaluator in found for key in (evaluator.id, evaluator.slug)}


def _evaluator_version(evaluator: Evaluator | None, wish: MetricWish, found: Problems) -> EvaluatorVersion | None:
    if evaluator is None or evaluator.current_version is None:
        found["evaluator"] = _NO_SUCH if evaluator is None else "It has no version yet."
        return None
    version: EvaluatorVersion | None = evaluator.current_version
    if wish.version not in {None, evaluator.current_version.version_number}:
        version = EvaluatorVersion.objects.filter(evaluator=evaluator, version_number=wish.version).first()
    if version is None:
        found["version"] = "No such version."
        return None
    version.evaluator = evaluator
    return version


def _check_kind(kind: str, subject_count: int, found: Problems) -> None:
    evaluator = evaluators().get(kind)
    if evaluator is None:
        found["evaluator"] = f"Evaluators of the kind {kind} are not installed."
    elif evaluator.compares_two and subject_count < 2:
        found["evaluator"] = "It compares with the first subject: name a second one."


def _name_apart(rows: Sequence[Any], wished: Sequence[str], at: str, problems: Problems) -> None:
    """Names that were given must differ; those that were made get a number."""
    taken: set[str] = set()
    for number, name in enumerate(wished):
        if name and name in taken:
            problems[f"{at}.{number}.name"] = "Another one has this name."
        taken.add(name)
    for row in rows:
        if wished[row.position]:
            continue
        made, count = row.name, 1
        while row.name in taken:
            count += 1
            row.name = f"{made[: NAME_LENGTH - 4]} {count}"
        taken.add(row.name)
