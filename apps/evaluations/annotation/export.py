"""Annotations as files, a row for each submitted one. A few are read at a time: nothing is held while they are sent."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from apps.evaluations.annotation.services import emails_of
from apps.evaluations.annotation.values import configs_of, value_namer
from apps.evaluations.models import Annotation, AnnotationQueue
from everquant.api.envelope import dumps
from everquant.spreadsheets import as_text

_BLOCK = 200
_TASK = ("input", "output", "expected")

Json = Any


def export_jsonl(queue: AnnotationQueue) -> Iterator[bytes]:
    named = value_namer(configs_of(queue))
    for annotation, email in _submitted(queue):
        yield dumps({**_row(annotation, email), "values": named(annotation.values)}) + b"\n"


def export_csv(queue: AnnotationQueue) -> Iterator[bytes]:
    """With a header. What is no text is JSON; text that begins like a formula gets an apostrophe before it."""
    configs = configs_of(queue)
    named, columns = value_namer(configs), [f"values.{config.name}" for config in configs]
    yield _line([*_columns(), *columns])
    for annotation, email in _submitted(queue):
        values = named(annotation.values)
        yield _line([*_row(annotation, email).values(), *(values.get(config.name) for config in configs)])


def _columns() -> list[str]:
    return [
        "annotation_id", "task_id", "position", "execution_id", "evaluation_id", "item_id", "annotator_id", "annotator",
        "submitted_at", "duration_ms", "comment", *_TASK,
    ]  # fmt: skip


def _row(annotation: Annotation, email: str | None) -> dict[str, Json]:
    task = annotation.task
    told = (
        annotation.id, task.id, task.position, task.execution_id, task.evaluation_id, task.item_id,
        annotation.annotator_id, email, annotation.submitted_at, annotation.duration_ms, annotation.comment,
        *(getattr(task, name) for name in _TASK),
    )  # fmt: skip
    return dict(zip(_columns(), told, strict=True))


def _submitted(queue: AnnotationQueue) -> Iterator[tuple[Annotation, str | None]]:
    """Each with the annotator's address, in the order in which they were begun."""
    rows = Annotation.objects.filter(queue=queue).submitted().select_related("task").order_by("id")
    last: UUID | None = None
    while block := list((rows if last is None else rows.filter(id__gt=last))[:_BLOCK]):
        emails = emails_of(annotation.annotator_id for annotation in block)
        yield from ((annotation, emails.get(annotation.annotator_id)) for annotation in block)
        last = block[-1].id


def _line(values: Sequence[Json]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow([_cell(value) for value in values])
    return text.getvalue().encode()


def _cell(value: Json) -> str:
    if value is None:
        return ""
    return as_text(value) if isinstance(value, str) else dumps(value).decode().strip('"')
