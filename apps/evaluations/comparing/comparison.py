"""A comparison of subjects on the items that both have, as it is answered."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from apps.evaluations.comparing.choosing import Contest, metrics_of_other
from apps.evaluations.comparing.columns import Subject, load_subjects
from apps.evaluations.comparing.metrics import Metric
from apps.evaluations.comparing.pairing import Pairs, Side, pairs_of
from apps.evaluations.comparing.testing import Tested, is_yes_or_no, test_all
from apps.evaluations.models import EvaluationSubject
from apps.evaluations.statistics import binary, repeats
from apps.evaluations.statistics.multiplicity import holm
from everquant.api.errors import BadRequest
from everquant.db import release_connection

Json = dict[str, Any]
Wanted = list[tuple[Metric, Pairs]]

KS = (1, 2, 3, 5, 10, 25, 50, 100)


def compare(contest: Contest, *, confidence: float = 0.95) -> Json:
    """Every candidate with the baseline by every metric. Raises BadRequest where there is nothing to compare with."""
    if contest.baseline is None or not contest.candidates:
        raise BadRequest(
            "There is nothing to compare with.",
            details={"baseline": "Name another subject, or an evaluation in against."},
        )
    compared = [metric for name, metric in contest.metrics.items() if name not in contest.not_compared]
    positions = [one.position for one in contest.candidates]
    baseline, subjects = _load(contest, compared, positions, contest.baseline.position)
    release_connection()
    items = {position: np.union1d(baseline.items, subjects[position].items) for position in positions}
    pairs = {
        position: _with_data(metric_pairs(baseline, subjects[position], compared, items[position]))
        for position in positions
    }
    wanted = [one for position in positions for one in pairs[position] if one[0].is_number]
    tested = test_all(wanted, confidence)
    adjusted = iter(holm([test.p_value for test in tested if test is not None]))
    of_tests = iter([(test, None if test is None else next(adjusted)) for test in tested])
    comparisons = [
        _comparison(candidate, baseline, subjects[candidate.position], pairs[candidate.position], of_tests, confidence)
        for candidate in contest.candidates
    ]
    return {
        "evaluation_id": contest.evaluation.id,
        "against_id": contest.against.id if contest.is_across else None,
        "baseline": _subject(contest.baseline),
        "confidence": confidence,
        "tests": sum(test is not None for test in tested),
        "not_compared": [{"metric": name, "reason": why} for name, why in contest.not_compared.items()],
        "comparisons": comparisons,
    }


def _load(
    contest: Contest, metrics: Sequence[Metric], candidates: Sequence[int], baseline: int
) -> tuple[Subject, dict[int, Subject]]:
    if not contest.is_across:
        subjects = load_subjects(contest.evaluation, [baseline, *candidates], metrics)
        return subjects[baseline], subjects
    other = load_subjects(contest.against, [baseline], metrics_of_other(contest))
    return other[baseline], load_subjects(contest.evaluation, candidates, metrics)


def metric_pairs(baseline: Subject, candidate: Subject, metrics: Sequence[Metric], items: Any) -> Wanted:
    return [(metric, pairs_of(baseline, candidate, metric, items)) for metric in metrics]


def _with_data(wanted: Wanted) -> Wanted:
    """Without what nobody measured: tokens and costs of recorded answers."""
    return [
        (metric, pairs)
        for metric, pairs in wanted
        if metric.position is not None or pairs.baseline.has_value.any() or pairs.candidate.has_value.any()
    ]


def _comparison(
    candidate: EvaluationSubject,
    before: Subject,
    after: Subject,
    wanted: Wanted,
    of_tests: Iterator[tuple[Tested | None, float | None]],
    confidence: float,
) -> Json:
    shared = int(np.isin(after.items, before.items, assume_unique=True).sum())
    metrics = []
    for metric, pairs in wanted:
        test, adjusted = next(of_tests) if metric.is_number else (None, None)
        labels = (before.labels.get(metric.name, {}), after.labels.get(metric.name, {}))
        metrics.append(_metric(metric, pairs, test, adjusted, labels, confidence))
    return {
        "candidate": _subject(candidate),
        "items": {
            "paired": shared,
            "baseline_only": len(before.items) - shared,
            "candidate_only": len(after.items) - shared,
        },
        "metrics": metrics,
    }


def _metric(
    metric: Metric,
    pairs: Pairs,
    test: Tested | None,
    adjusted: float | None,
    labels: tuple[dict[str, int], dict[str, int]],
    confidence: float,
) -> Json:
    has_interval = test is not None and test.interval.is_known
    return {
        "metric": metric.name,
        "type": metric.type,
        "direction": metric.direction,
        "unit": metric.unit,
        "n": pairs.n,
        "missing": {"baseline": pairs.baseline.why_missing(), "candidate": pairs.candidate.why_missing()},
        "missing_share": {"baseline": pairs.baseline.missing_share, "candidate": pairs.candidate.missing_share},
        "baseline_mean": float(pairs.before.mean()) if pairs.n and metric.is_number else None,
        "candidate_mean": float(pairs.after.mean()) if pairs.n and metric.is_number else None,
        "difference": test.difference if test else None,
        "low": test.interval.low if test and has_interval else None,
        "high": test.interval.high if test and has_interval else None,
        "interval_method": test.interval.method if test and has_interval else None,
        "is_degenerate": test.interval.is_degenerate if test else False,
        "test": test.test if test else None,
        "p_value": test.p_value if test else None,
        "p_adjusted": adjusted,
        "effect": {"name": test.effect, "size": test.effect_size} if test else None,
        "minimum_detectable_effect": test.detectable if test else None,
        "changes": _changes(test),
        "worst_case": _worst_case(metric, pairs, confidence),
        "repeats": None if pairs.is_single else _repeats(metric, pairs),
        "categories": _categories(*labels) if metric.type == "categorical" else None,
        "verdict": verdict_of(metric, test, adjusted, confidence),
    }


def verdict_of(metric: Metric, test: Tested | None, adjusted: float | None, confidence: float) -> str | None:
    """better, worse, different (of what has no better) or no_difference_shown; None for what is not tested."""
    if test is None or adjusted is None:
        return None
    if adjusted > 1 - confidence or test.difference == 0:
        return "no_difference_shown"
    if metric.direction == "none":
        return "different"
    return "better" if (test.difference > 0) == (metric.direction == "higher") else "worse"


def _changes(test: Tested | None) -> Json | None:
    if test is None or test.odds is None:
        return None
    odds = [one if one is not None and math.isfinite(one) else None for one in test.odds]
    return {
        "gained": test.gained,
        "lost": test.lost,
        "odds": odds[0],
        "odds_low": odds[1],
        "odds_high": odds[2],
    }


def _worst_case(metric: Metric, pairs: Pairs, confidence: float) -> Json | None:
    """Of yes and no with missing pairs: as if the candidate had been wrong wherever one of the two is missing.

    Items that one of them never got are left out.
    """
    given = ~(pairs.baseline.absent | pairs.candidate.absent)
    missing = given & ~pairs.complete
    if not is_yes_or_no(metric, pairs) or not missing.any():
        return None
    bad, good = (0.0, 1.0) if metric.direction != "lower" else (1.0, 0.0)
    before = np.where(pairs.baseline.has_value, pairs.baseline.values, good)[given]
    after = np.where(pairs.candidate.has_value, pairs.candidate.values, bad)[given]
    gained, lost = int((after > before).sum()), int((after < before).sum())
    test = binary.mcnemar(gained=gained, lost=lost, n=len(before), confidence=confidence)
    return {
        "n": len(before),
        "difference": test.difference,
        "low": test.interval.low,
        "high": test.interval.high,
        "p_value": test.p_value,
    }


def _repeats(metric: Metric, pairs: Pairs) -> Json:
    return {"baseline": _repeated(metric, pairs.baseline), "candidate": _repeated(metric, pairs.candidate)}


def _repeated(metric: Metric, side: Side) -> Json | None:
    """None without an item that was scored twice."""
    has = side.has_value & (side.counts > 0)
    counts, values = side.counts[has], side.values[has]
    if not (counts > 1).any():
        return None
    found = repeats.variation(counts, values, side.variances[has])
    passed = np.rint(values * counts).astype(np.int64)
    is_pass = metric.type == "boolean" and metric.position is not None
    ks = [k for k in KS if is_pass and k <= counts.max()]
    return {
        "within_variance": found.within if found else None,
        "within_share": found.within_share if found else None,
        "icc": found.icc if found else None,
        "pass_at_k": [
            {"k": k, "any": repeats.pass_at_k(counts, passed, k), "all": repeats.pass_hat_k(counts, passed, k)}
            for k in ks
        ],
    }


def _categories(before: dict[str, int], after: dict[str, int]) -> list[Json]:
    labels = dict.fromkeys([*before, *after])
    return [{"label": one, "baseline": before.get(one, 0), "candidate": after.get(one, 0)} for one in labels]


def _subject(subject: EvaluationSubject) -> Json:
    return {"position": subject.position, "name": subject.name}
