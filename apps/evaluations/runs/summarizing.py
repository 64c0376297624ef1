"""What an evaluation came to, by subject and metric: aggregated in the database, so that its size does not matter.

Repeats of an item are averaged before anything else: they are not more items.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db import connection

from apps.evaluations.models import Evaluation, EvaluationMetric
from apps.evaluations.runs.representation import dollars
from apps.workflows.evaluating import evaluators

Json = dict[str, Any]
CONFIDENCE = 0.95
MOST_ERRORS, MOST_LABELS = 10, 50
SHOWN_K = (1, 2, 3, 5, 10, 20, 50, 100)
_SUBJECTS = """
SELECT subject, count(*), count(*) FILTER (WHERE status = 'succeeded'), count(*) FILTER (WHERE status = 'failed'),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms),
    coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cost_usd), 0),
    count(*) FILTER (WHERE cost_usd IS NULL AND status IN ('answered', 'succeeded'))
FROM evaluations_evaluationcase WHERE evaluation_id = %s GROUP BY subject
"""
_FAILURES = """
SELECT subject, error_code, count(*) FROM evaluations_evaluationcase
WHERE evaluation_id = %s AND status = 'failed' GROUP BY subject, error_code ORDER BY count(*) DESC, error_code
"""
_SCORES = "evaluations_evaluationscore s JOIN evaluations_evaluationcase c ON c.id = s.case_id"
_BY_ITEM = f"""
SELECT c.subject, s.metric, c.item_id, count(*) AS n, avg(s.value) AS mean, var_samp(s.value) AS variance,
    count(s.passed) AS judged, count(*) FILTER (WHERE s.passed) AS passed
FROM {_SCORES} WHERE s.evaluation_id = %s AND s.error_code = '' GROUP BY c.subject, s.metric, c.item_id
"""  # noqa: S608 (this module's own text)
_MOMENTS = f"""
SELECT subject, metric, sum(n), count(*), avg(mean), stddev_samp(mean), sum(judged), sum(passed),
    count(*) FILTER (WHERE judged > 0), avg(passed::float / nullif(judged, 0)),
    stddev_samp(passed::float / nullif(judged, 0)), sum((n - 1) * variance) / nullif(sum(n - 1), 0)
FROM ({_BY_ITEM}) items GROUP BY subject, metric
"""  # noqa: S608 (this module's own text)
_PASSES = f"""
SELECT subject, metric, judged, passed, count(*) FROM ({_BY_ITEM}) items WHERE judged > 0
GROUP BY subject, metric, judged, passed
"""  # noqa: S608 (this module's own text)
_SCORE_ERRORS = f"""
SELECT c.subject, s.metric, count(*) FROM {_SCORES}
WHERE s.evaluation_id = %s AND s.error_code <> '' GROUP BY c.subject, s.metric
"""  # noqa: S608 (this module's own text)
_LABELS = f"""
SELECT c.subject, s.metric, s.label, count(*) FROM {_SCORES}
WHERE s.evaluation_id = %s AND s.label <> '' GROUP BY c.subject, s.metric, s.label ORDER BY count(*) DESC, s.label
"""  # noqa: S608 (this module's own text)
Place = tuple[int, int]
"""A subject and a metric, by position."""


def summarize(evaluation: Evaluation) -> Json:
    """Of a row of `with_parts`; five queries, six with repeats."""
    subjects = {row[0]: row[1:] for row in _rows(_SUBJECTS, evaluation)}
    failures = _grouped(((row[0], row[1:]) for row in _rows(_FAILURES, evaluation)), MOST_ERRORS)
    scores = _Scores(evaluation)
    return {
        "status": evaluation.status,
        "items": evaluation.item_count,
        "repeats": evaluation.repeats,
        "cost_usd": dollars(evaluation.cost_usd),
        "evaluator_cost_usd": dollars(evaluation.evaluator_cost_usd),
        "subjects": [
            {
                "subject": subject.name,
                **_subject(subjects.get(subject.position) or (0, 0, 0, None, None, 0, 0, 0, 0)),
                "errors": failures.get(subject.position, {}),
                "metrics": [
                    scores.summary(metric, subject.position, subjects.get(subject.position, (0,))[0])
                    for metric in evaluation.metrics.all()
                ],
            }
            for subject in evaluation.subjects.all()
        ],
    }


def _subject(row: tuple[Any, ...]) -> Json:
    cases, succeeded, failed, p50, p95, input_tokens, output_tokens, cost, unpriced = row
    ended = succeeded + failed
    return {
        "cases": cases,
        "succeeded": succeeded,
        "failed": failed,
        "failure_rate": failed / ended if ended else None,
        "latency_ms": {"p50": p50, "p95": p95},
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost_usd": f"{cost:f}" if cost else "0",
        "n_unpriced": unpriced,
    }


class _Scores:
    """What the scores of an evaluation come to."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._moments = {row[:2]: row[2:] for row in _rows(_MOMENTS, evaluation)}
        self._errors = {row[:2]: row[2] for row in _rows(_SCORE_ERRORS, evaluation)}
        self._labels = _grouped(((row[:2], row[2:]) for row in _rows(_LABELS, evaluation)), MOST_LABELS)
        self._passes: dict[Place, list[tuple[int, int, int]]] = defaultdict(list)
        self._ks = sorted({k for k in (*SHOWN_K, evaluation.repeats) if k <= evaluation.repeats})
        if evaluation.repeats > 1:
            for row in _rows(_PASSES, evaluation):
                self._passes[row[0], row[1]].append(row[2:])

    def summary(self, metric: EvaluationMetric, subject: int, cases: int) -> Json:
        place = (subject, metric.position)
        version = metric.evaluator_version
        kind = evaluators().get(version.evaluator.kind)
        errors = self._errors.get(place, 0)
        figures = _figures(self._moments.get(place))
        return {
            "metric": metric.name,
            "score_type": kind.score_type_of(version.config) if kind else "numeric",
            **figures,
            "n_errors": errors,
            "n_missing": max(0, cases - figures["n"] - errors),
            "labels": self._labels.get(place, {}),
            "by_k": self._by_k(place),
        }

    def _by_k(self, place: Place) -> list[Json]:
        if not self._passes[place]:
            return []
        import numpy as np  # noqa: PLC0415 (slow to import)

        from apps.evaluations.statistics.repeats import pass_at_k, pass_hat_k  # noqa: PLC0415 (as numpy)

        judged, passed, items = (np.array(column) for column in zip(*self._passes[place], strict=True))
        counts, good = np.repeat(judged, items), np.repeat(passed, items)
        found = ((k, pass_at_k(counts, good, k), pass_hat_k(counts, good, k)) for k in self._ks)
        return [{"k": k, "pass_at_k": one, "pass_hat_k": each} for k, one, each in found if one is not None]


def _figures(row: tuple[Any, ...] | None) -> Json:
    """Pass rates are of single verdicts when no item has two, and then Wilson's; else of items, and Student's."""
    from apps.evaluations.statistics.binary import wilson_interval  # noqa: PLC0415 (slow to import)
    from apps.evaluations.statistics.means import student_interval_of  # noqa: PLC0415 (slow to import)

    n, items, mean, deviation, judged, passed, judged_items, rate, rate_deviation, within = row or (0, 0, *[None] * 8)
    rate_interval = None
    if judged:
        is_single = judged == judged_items
        rate_interval = (
            wilson_interval(int(passed), int(judged), CONFIDENCE)
            if is_single
            else student_interval_of(rate, rate_deviation or 0.0, judged_items, CONFIDENCE)
        )
    return {
        "n": int(n),
        "n_items": items,
        "mean": mean,
        "mean_interval": _interval(student_interval_of(mean or 0.0, deviation or 0.0, items, CONFIDENCE)),
        "pass_rate": rate,
        "pass_rate_interval": _interval(rate_interval),
        "within_item_variance": within,
    }


def _interval(interval: Any) -> Json | None:
    if interval is None or not interval.is_known or interval.is_degenerate:
        return None
    return {"low": interval.low, "high": interval.high, "confidence": CONFIDENCE, "method": interval.method}


def _rows(query: str, evaluation: Evaluation) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, [evaluation.id])
        return list(cursor.fetchall())


def _grouped(rows: Iterable[tuple[Any, tuple[str, int]]], most: int) -> dict[Any, dict[str, int]]:
    """Name → how often, the commonest of each group."""
    groups: dict[Any, dict[str, int]] = defaultdict(dict)
    for key, (name, count) in rows:
        if len(groups[key]) < most:
            groups[key][name] = count
    return groups
