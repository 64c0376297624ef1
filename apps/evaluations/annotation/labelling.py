"""Annotations as labels of a dataset, with which judges are compared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import fmean
from typing import Any
from uuid import UUID

from apps.evaluations.annotation.ratings import ratings_of
from apps.evaluations.models import AnnotationQueue, ScoreConfig, ScoreType

LABEL = "label"

Json = Any


class LabelRule(StrEnum):
    """What several values become: the most frequent one (none when two are), the mean of numbers, or the first."""

    MAJORITY = "majority"
    MEAN = "mean"
    FIRST = "first"


def label_of(config: ScoreConfig, values: Sequence[Json], rule: LabelRule, min_agreement: float) -> Json:
    """None when there is no label: nothing was said, two values are equally frequent, or too few agree.

    `min_agreement` is the share of the values that must be the label; a mean has no such share. Of texts the first is
    taken, and the mean of what are no numbers is the most frequent one.
    """
    if not values:
        return None
    if config.type == ScoreType.TEXT:
        return values[0]
    if rule is LabelRule.MEAN and config.type == ScoreType.NUMERIC:
        return fmean(values)
    (most, count), *rest = Counter(values).most_common(2)
    if rule is LabelRule.FIRST:
        most, count = values[0], list(values).count(values[0])
    elif rest and rest[0][1] == count:
        return None
    return most if count / len(values) >= min_agreement else None


def labels_by_task(queue: AnnotationQueue, rule: LabelRule, min_agreement: float) -> dict[UUID, dict[str, Json]]:
    """By the name of the score config, those that there are; every annotated task is in it."""
    labels: dict[UUID, dict[str, Json]] = {}
    for ratings in ratings_of(queue):
        for task_id, values in ratings.by_task.items():
            label = label_of(ratings.config, list(values.values()), rule, min_agreement)
            found = labels.setdefault(task_id, {})
            if label is not None:
                found[ratings.config.name] = label
    return labels


def metadata_of(first: ScoreConfig, labels: Mapping[str, Json]) -> dict[str, Json]:
    """Each label under the name of its score config, and the first config's under `label` too."""
    return ({LABEL: labels[first.name]} if first.name in labels else {}) | dict(labels)
