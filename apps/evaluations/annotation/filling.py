"""Tasks of a queue: from executions, from the cases of an evaluation, or as given. Each is a snapshot."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, TextField, Value
from django.db.models.functions import MD5, Cast, Concat

from apps.evaluations.models import (
    AnnotationQueue,
    AnnotationTask,
    CaseStatus,
    Evaluation,
    EvaluationCase,
    EvaluationScore,
)
from apps.executions.models import Execution, Status
from everquant.api.errors import BadRequest
from everquant.db import lock_for_update

MAX_TASKS = 20_000
_BLOCK = 200
_WITH_OUTPUT = (CaseStatus.ANSWERED, CaseStatus.SUCCEEDED)

Json = Any


@transaction.atomic
def add_executions(*, queue: AnnotationQueue, ids: Sequence[UUID]) -> dict[str, int]:
    """In the order of the ids. Raises BadRequest naming `execution_ids.<n>` for one that is unknown or has no output.

    Gives how many tasks were added, and how many were in the queue already.
    """
    found = {execution.id: execution for execution in _answered(queue).filter(id__in=ids).select_related("payload")}
    details = {f"execution_ids.{n}": "No execution with an output." for n, one in enumerate(ids) if one not in found}
    if details:
        raise BadRequest("There are no such executions.", details=details)
    return _add(queue, (_of_execution(found[one]) for one in dict.fromkeys(ids)))


@transaction.atomic
def add_found_executions(*, queue: AnnotationQueue, executions: Any, limit: int) -> dict[str, int]:
    """The newest of a queryset that have an output, at most `limit`. Gives what `add_executions` does."""
    kept = executions.filter(status=Status.SUCCEEDED, payload__isnull=False)
    ids = [row.id for row in kept.order_by("-id").only("id")[:limit]]
    return _add(queue, map(_of_execution, _in_blocks(_answered(queue).select_related("payload"), ids)))


@transaction.atomic
def add_cases(
    *, queue: AnnotationQueue, evaluation: Evaluation, wanted: Mapping[str, Json], limit: int, seed: int | None
) -> dict[str, int]:
    """Cases with an output, in their order, or with a seed a random sample that is the same each time.

    `wanted` may name a subject's position, a metric, and `which` cases: `all`, `failed` (a metric did not pass),
    `errors` (a metric erred), `disagreement` (a metric passed and another did not). Raises BadRequest naming
    `filter.metric`. Gives what `add_executions` does.
    """
    cases: Any = EvaluationCase.objects.filter(evaluation=evaluation, status__in=_WITH_OUTPUT)
    if wanted.get("subject") is not None:
        cases = cases.filter(subject=wanted["subject"])
    cases = cases.filter(*_conditions(evaluation, wanted)).order_by("id")
    if seed is not None:
        cases = cases.order_by(MD5(Concat(Cast("id", TextField()), Value(f" {seed}"))), "id")
    ids = list(cases.values_list("id", flat=True)[:limit])
    return _add(queue, map(_of_case, _in_blocks(EvaluationCase.objects.select_related("item"), ids)))


@transaction.atomic
def add_items(*, queue: AnnotationQueue, items: Iterable[Mapping[str, Json]]) -> dict[str, int]:
    """Each with `input`, `output`, and perhaps `expected` and `context`. Gives what `add_executions` does."""
    return _add(queue, map(_of_item, items))


def _answered(queue: AnnotationQueue) -> Any:
    answered = Execution.objects.for_organization(queue.organization_id).filter(status=Status.SUCCEEDED)
    return answered.filter(payload__isnull=False)


def _conditions(evaluation: Evaluation, wanted: Mapping[str, Json]) -> list[Exists]:
    scores: Any = EvaluationScore.objects.filter(case_id=OuterRef("pk"))
    if wanted.get("metric"):
        position = evaluation.metrics.filter(name=wanted["metric"]).values_list("position", flat=True).first()
        if position is None:
            raise BadRequest("No such metric.", details={"filter.metric": "The evaluation has no such metric."})
        scores = scores.filter(metric=position)
    passed, failed = Exists(scores.filter(passed=True)), Exists(scores.filter(passed=False))
    conditions: dict[str, list[Exists]] = {
        "all": [],
        "failed": [failed],
        "errors": [Exists(scores.exclude(error_code=""))],
        "disagreement": [passed, failed],
    }
    return conditions[wanted.get("which", "all")]


def _in_blocks(rows: Any, ids: Sequence[Any]) -> Iterator[Any]:
    """In the order of the ids, a few in memory at a time."""
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        found = rows.in_bulk(block)
        yield from (found[one] for one in block if one in found)


def _of_execution(execution: Execution) -> dict[str, Json]:
    payload = execution.payload
    said = {"messages": payload.messages}
    is_templated = execution.prompt_id is not None and bool(payload.variables)
    context = dict(said) if is_templated else {}
    if payload.tool_calls:
        context["tool_calls"] = payload.tool_calls
    return {
        "source_key": f"execution:{execution.id}",
        "execution_id": execution.id,
        "input": payload.variables if is_templated else said,
        "output": payload.output,
        "context": context,
    }


def _of_case(case: EvaluationCase) -> dict[str, Json]:
    """Neither its scores nor what answered are shown: both would sway who judges."""
    return {
        "source_key": f"case:{case.id}",
        "execution_id": case.execution_id,
        "evaluation_id": case.evaluation_id,
        "item_id": case.item_id,
        "input": case.item.input,
        "output": case.output,
        "expected": case.item.expected,
        "has_expected": case.item.has_expected,
    }


def _of_item(item: Mapping[str, Json]) -> dict[str, Json]:
    content = {name: item[name] for name in ("input", "output", "expected") if name in item}
    digest = sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return {
        **content,
        "source_key": f"item:{digest}",
        "has_expected": "expected" in item,
        "context": item.get("context", {}),
    }


def _add(queue: AnnotationQueue, rows: Iterable[Mapping[str, Json]]) -> dict[str, int]:
    """Under the queue's lock, so that positions are in the order of what is added."""
    lock_for_update(AnnotationQueue.objects.only("id"), pk=queue.pk)
    counted = queue.tasks.count()
    position = queue.tasks.aggregate(last=Max("position"))["last"] or 0
    given, block = 0, []
    for given, row in enumerate(rows, start=1):
        if counted + given > MAX_TASKS:
            raise BadRequest(f"A queue has at most {MAX_TASKS} tasks.")
        block.append(
            AnnotationTask(organization_id=queue.organization_id, queue_id=queue.pk, position=position + given, **row)
        )
        if len(block) == _BLOCK:
            AnnotationTask.objects.bulk_create(block, ignore_conflicts=True)
            block = []
    AnnotationTask.objects.bulk_create(block, ignore_conflicts=True)
    added = queue.tasks.count() - counted
    return {"added": added, "already_there": given - added}
