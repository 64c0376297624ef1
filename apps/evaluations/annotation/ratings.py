"""What several people said of the same tasks, config by config."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from apps.evaluations.annotation.values import configs_of, labels_of, problem_finder
from apps.evaluations.models import Annotation, AnnotationQueue, ScoreConfig, ScoreType

Json = Any
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(slots=True)
class Ratings:
    """`by_task[task][annotator]` is the value, annotators in the order in which they submitted."""

    config: ScoreConfig
    by_task: dict[UUID, dict[UUID, Json]] = field(default_factory=dict)

    def shared(self) -> dict[UUID, dict[UUID, Json]]:
        """Of the tasks that two people or more have rated."""
        return {task: values for task, values in self.by_task.items() if len(values) > 1}


def ratings_of(queue: AnnotationQueue) -> list[Ratings]:
    """One for each score config of the queue. A value that no longer fits its config is left out."""
    ratings = [Ratings(config) for config in configs_of(queue)]
    prepared = [(one.by_task, str(one.config.id), problem_finder(one.config)) for one in ratings]
    rows = (
        Annotation.objects.filter(queue=queue).submitted().order_by("task__position", "task_id", "submitted_at", "id")
    )
    for task_id, annotator_id, values in rows.values_list("task_id", "annotator_id", "values").iterator(2_000):
        for by_task, key, problem in prepared:
            value = values.get(key)
            if value is not None and problem(value) is None:
                by_task.setdefault(task_id, {})[annotator_id] = value
    return ratings


def level_of(config: ScoreConfig) -> Level | None:
    """How values are compared; categories are in an order when each has a number. None for texts."""
    if config.type == ScoreType.TEXT:
        return None
    if config.type == ScoreType.NUMERIC:
        return "interval"
    is_ordered = config.type == ScoreType.CATEGORICAL and all(one.get("value") is not None for one in config.categories)
    return "ordinal" if is_ordered else "nominal"


def categories_of(config: ScoreConfig) -> Sequence[Json] | None:
    """In their order; None for what has no categories."""
    if config.type == ScoreType.BOOLEAN:
        return [False, True]
    if config.type != ScoreType.CATEGORICAL:
        return None
    if level_of(config) == "ordinal":
        return [one["label"] for one in sorted(config.categories, key=lambda one: float(one["value"]))]
    return labels_of(config)
