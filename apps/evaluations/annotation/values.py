"""What people may say of a task: one value for each score config of its queue."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
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
    return problem_finder(config)(value)


def problem_finder(config: ScoreConfig) -> Callable[[Json], str | None]:
    """`value_problem` for many values of the config."""
    if config.type == ScoreType.BOOLEAN:
        return lambda value: None if isinstance(value, bool) else "Must be true or false."
    if config.type == ScoreType.NUMERIC:
        return lambda value: _number_problem(config, value)
    if config.type == ScoreType.TEXT:
        return _text_problem
    labels = dict.fromkeys(labels_of(config))
    return lambda value: _label_problem(labels, value)


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
    return value_namer(configs)(values)


def value_namer(configs: Sequence[ScoreConfig]) -> Callable[[Mapping[str, Json]], dict[str, Json]]:
    """`named_values` for many annotations of the configs."""
    prepared = [(str(config.id), config.name, problem_finder(config)) for config in configs]
    return lambda values: {
        name: values[key] for key, name, problem in prepared if key in values and problem(values[key]) is None
    }


def _label_problem(labels: Collection[str], value: Json) -> str | None:
    if not isinstance(value, str):
        return "Must be text."
    return None if value in labels else f"Must be one of: {', '.join(labels)}."[:500]


def _text_problem(value: Json) -> str | None:
    if not isinstance(value, str):
        return "Must be text."
    return None if value.strip() and len(value) <= LONGEST_TEXT else f"Must have 1 to {LONGEST_TEXT} characters."


def _number_problem(config: ScoreConfig, value: Json) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "Must be a number."
    if config.minimum is not None and value < config.minimum:
        return f"Must be at least {config.minimum:g}."
    if config.maximum is not None and value > config.maximum:
        return f"Must be at most {config.maximum:g}."
    return None
