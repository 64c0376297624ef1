"""What the API says of queues, tasks and annotations."""

from typing import Any

from apps.evaluations.annotation.values import configs_of, named_values
from apps.evaluations.models import Annotation, AnnotationQueue, AnnotationTask, ScoreConfig

_CONFIG = ("id", "name", "description", "type", "minimum", "maximum", "categories")
_SOURCE = ("execution_id", "evaluation_id", "item_id")
_SNAPSHOT = ("input", "output", "expected", "has_expected", "context")


def represent_queue(queue: AnnotationQueue) -> dict[str, Any]:
    return {
        "id": queue.id,
        "organization_id": queue.organization_id,
        "name": queue.name,
        "instructions": queue.instructions,
        "score_configs": [_config(config) for config in configs_of(queue)],
        "annotations_per_task": queue.annotations_per_task,
        "assignees": queue.assignees,
        "is_active": queue.is_active,
        "created_by": queue.created_by_id,
        "created_at": queue.created_at,
        "updated_at": queue.updated_at,
    }


def _config(config: ScoreConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in _CONFIG}


def summarize_task(task: AnnotationTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "queue_id": task.queue_id,
        "position": task.position,
        **{name: getattr(task, name) for name in _SOURCE},
        "open_count": task.taken_count - task.submitted_count,
        "submitted_count": task.submitted_count,
        "created_at": task.created_at,
    }


def represent_task(task: AnnotationTask) -> dict[str, Any]:
    return {**summarize_task(task), **{name: getattr(task, name) for name in _SNAPSHOT}}


def summarize_annotation(annotation: Annotation) -> dict[str, Any]:
    return {
        "id": annotation.id,
        "queue_id": annotation.queue_id,
        "task_id": annotation.task_id,
        "annotator_id": annotation.annotator_id,
        "status": annotation.status,
        "claimed_until": annotation.claimed_until,
        "values": named_values(configs_of(annotation.queue), annotation.values),
        "comment": annotation.comment,
        "score_ids": annotation.score_ids,
        "started_at": annotation.started_at,
        "submitted_at": annotation.submitted_at,
        "duration_ms": annotation.duration_ms,
        "created_at": annotation.created_at,
        "updated_at": annotation.updated_at,
    }


def represent_annotation(annotation: Annotation) -> dict[str, Any]:
    return {**summarize_annotation(annotation), "task": represent_task(annotation.task)}
