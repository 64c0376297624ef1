"""What people may say of a task: one value for each score config of its queue."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from apps.evaluations.models import AnnotationQueue, ScoreConfig, ScoreType
from everquant.api.errors import BadRequest

LONGEST_TEXT = 5_000

Json = Any


def configs_of(queue: AnnotationQueue) -> list[ScoreConfig]:
    """In the order of the queue."""
    return [criterion.score_config for criterion in queue.criteria.all()]


def value_problem(config: ScoreConfig, value: Json) -> str | None:
    """Why this cannot be a value of the score config; None when it can."""
    if config.type == ScoreType.BOOLEAN:
        return None if isinstance(value, bool) else "Must be true or false."
    if config.type == ScoreType.NUMERIC:
        return _number_problem(config, value)
    if not isinstance(value, str):
        return "Must be text."
    if config.type == ScoreType.CATEGORICAL:
        labels = labels_of(config)
        return None if value in labels else f"Must be one of: {', '.join(labels)}."[:500]
    return None if value.strip() and len(value) <= LONGEST_TEXT else f"Must have 1 to {LONGEST_TEXT} characters."


def labels_of(config: ScoreConfig) -> list[str]:
    return [category["label"] for category in config.categories]


def checked_values(configs: Sequence[ScoreConfig], given: Mapping[str, Json]) -> dict[str, Json]:
    """By the id of the config, what is given by name. Only texts may be left out.

    Raises BadRequest naming `values.<name>`.
    """
    known = {config.name: config for config in configs}
    details = {f"values.{name}": "The queue does not ask for this." for name in given if name not in known}
    values = {}
    for name, config in known.items():
        value = given.get(name)
        if value is None or (value == "" and config.type == ScoreType.TEXT):
            if config.type != ScoreType.TEXT:
                details[f"values.{name}"] = "This field is required."
        elif problem := value_problem(config, value):
            details[f"values.{name}"] = problem
        else:
            values[str(config.id)] = value
    if details:
        raise BadRequest("The values do not fit the queue's score configs.", details=details)
    return values


def named_values(configs: Sequence[ScoreConfig], values: Mapping[str, Json]) -> dict[str, Json]:
    """By the name of the config; those that the queue no longer asks for, or that no longer fit, are left out."""
    return {
        config.name: values[str(config.id)]
        for config in configs
        if str(config.id) in values and value_problem(config, values[str(config.id)]) is None
    }


def _number_problem(config: ScoreConfig, value: Json) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "Must be a number."
    if config.minimum is not None and value < config.minimum:
        return f"Must be at least {config.minimum:g}."
    if config.maximum is not None and value > config.maximum:
        return f"Must be at most {config.maximum:g}."
    return None
