"""Do the annotators of a queue agree, beyond what chance gives?"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any
from uuid import UUID

from apps.evaluations.annotation.ratings import Ratings, categories_of, level_of, ratings_of
from apps.evaluations.models import AnnotationQueue
from apps.evaluations.statistics.agreement import cohen_kappa, krippendorff_alpha

CONFIDENCE = 0.95
MIN_OVERLAP = 5
_MOST_TASKS, _MOST_PAIRS = 10, 100

Json = Any


def agreement_of(queue: AnnotationQueue) -> dict[str, Any]:
    """By score config, but texts: Krippendorff's alpha, Cohen's kappa of pairs, and the tasks most disagreed on."""
    return {
        "confidence": CONFIDENCE,
        "min_overlap": MIN_OVERLAP,
        "score_configs": [_of_config(ratings) for ratings in ratings_of(queue)],
    }


def _of_config(ratings: Ratings) -> dict[str, Any]:
    config, level = ratings.config, level_of(ratings.config)
    told = {"score_config_id": config.id, "name": config.name, "type": config.type, "level": level}
    shared = ratings.shared()
    if level is None:
        nothing = dict.fromkeys(("alpha", "low", "high"))
        counts = {"n_tasks": len(shared), "n_annotations": sum(map(len, shared.values()))}
        return {**told, **nothing, **counts, "pairs": [], "most_disagreed": []}
    categories = categories_of(config)
    found = krippendorff_alpha([list(one.values()) for one in shared.values()], level, categories, CONFIDENCE)
    return {
        **told,
        "alpha": found.alpha,
        "low": found.low,
        "high": found.high,
        "n_tasks": found.n_units,
        "n_annotations": found.n_ratings,
        "pairs": [] if categories is None else _pairs(shared, categories, is_ordered=level == "ordinal"),
        "most_disagreed": _most_disagreed(shared, categories, is_nominal=level == "nominal"),
    }


def _pairs(
    shared: dict[UUID, dict[UUID, Json]], categories: Sequence[Json], *, is_ordered: bool
) -> list[dict[str, Any]]:
    """Of those who have enough tasks in common, the most first; quadratic weights where the categories are ordered."""
    common: dict[tuple[UUID, UUID], list[tuple[Json, Json]]] = {}
    for values in shared.values():
        for one, other in combinations(sorted(values), 2):
            common.setdefault((one, other), []).append((values[one], values[other]))
    most = sorted(common.items(), key=lambda found: (-len(found[1]), found[0]))[:_MOST_PAIRS]
    told = []
    for annotator_ids, pairs in most:
        if len(pairs) < MIN_OVERLAP:
            break
        a, b = zip(*pairs, strict=True)
        kappa = cohen_kappa(a, b, categories, "quadratic" if is_ordered else None, CONFIDENCE)
        said = {"n": kappa.n, "kappa": kappa.kappa, "low": kappa.low, "high": kappa.high}
        told.append({"annotator_ids": list(annotator_ids), **said})
    return told


def _most_disagreed(
    shared: dict[UUID, dict[UUID, Json]], categories: Sequence[Json] | None, *, is_nominal: bool
) -> list[dict[str, Any]]:
    """By the mean distance of two of a task's annotations: 1 for the farthest apart that there are, 0 for the same."""
    place = {one: number for number, one in enumerate(categories)} if categories is not None else None
    numbered = {
        task: [float(one) if place is None else float(place[one]) for one in values.values()]
        for task, values in shared.items()
    }
    every = [number for numbers in numbered.values() for number in numbers]
    span = 1.0 if is_nominal or not every else (max(every) - min(every)) or 1.0
    distances = {task: _mean_distance(numbers, span, is_nominal=is_nominal) for task, numbers in numbered.items()}
    worst = sorted((task for task, far in distances.items() if far > 0), key=lambda task: (-distances[task], task))
    return [
        {"task_id": task, "disagreement": distances[task], "values": list(shared[task].values())}
        for task in worst[:_MOST_TASKS]
    ]


def _mean_distance(numbers: Sequence[float], span: float, *, is_nominal: bool) -> float:
    pairs = list(combinations(numbers, 2))
    far = sum((one != other) if is_nominal else abs(one - other) / span for one, other in pairs)
    return far / len(pairs)
