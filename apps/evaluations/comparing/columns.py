"""Results as columns: one number for each item, however many repeats it has, straight from PostgreSQL into arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from apps.evaluations.comparing.metrics import Metric
from apps.evaluations.models import CaseStatus, Evaluation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Items = NDArray[np.bytes_]

MEASURES = ("latency_ms", "cost_usd", "input_tokens", "output_tokens")
MAX_LABELS = 100


@dataclass(frozen=True, slots=True)
class Values:
    """Of the items that have a score: the number of scores, their mean, sample variance (NaN for one), and errors.

    An item whose scores are all errors has a count of 0 and the mean NaN.
    """

    items: Items
    counts: Ints
    means: Floats
    variances: Floats
    errors: Ints


@dataclass(frozen=True, slots=True)
class Subject:
    """All that one subject gave. `items` are sorted; `cases`, `failed` and `open` are counts of cases by item.

    `open` are those that never came to an end. `values` are by the name of the metric, `labels` (a count of each, the
    most frequent ones first) by that of a categorical one.
    """

    items: Items
    cases: Ints
    failed: Ints
    open: Ints
    values: dict[str, Values]
    labels: dict[str, dict[str, int]]


_MEASURED = ", ".join(
    f"count({name}) FILTER (WHERE answered) AS n_{name}, avg({name}) FILTER (WHERE answered)::float8 AS {name}, "
    f"var_samp({name}::float8) FILTER (WHERE answered) AS v_{name}"
    for name in MEASURES
)
_AS_COLUMNS = "string_agg({send}(coalesce({name}, {absent})), ''::bytea ORDER BY item_id)"


def _ints(name: str) -> str:
    return _AS_COLUMNS.format(send="int8send", name=f"{name}::int8", absent=0)


def _numbers(name: str) -> str:
    return _AS_COLUMNS.format(send="float8send", name=f"{name}::float8", absent="'NaN'")


_ITEMS = "string_agg(uuid_send(item_id), ''::bytea ORDER BY item_id)"
# Names are constants above; whatever a caller gives is a parameter.
_CASES = f"""
    SELECT subject, {_ITEMS}, {_ints("n")}, {_ints("failed")}, {_ints("unfinished")},
        {", ".join(f"{_ints(f'n_{name}')}, {_numbers(name)}, {_numbers(f'v_{name}')}" for name in MEASURES)}
    FROM (
        SELECT subject, item_id, count(*) AS n, count(*) FILTER (WHERE status = '{CaseStatus.FAILED}') AS failed,
            count(*) FILTER (WHERE NOT answered AND status <> '{CaseStatus.FAILED}') AS unfinished, {_MEASURED}
        FROM (
            SELECT *, status IN ('{CaseStatus.ANSWERED}', '{CaseStatus.SUCCEEDED}') AS answered
            FROM evaluations_evaluationcase WHERE evaluation_id = %s AND subject = ANY(%s)
        ) AS one GROUP BY subject, item_id
    ) AS item GROUP BY subject
"""  # noqa: S608
_SCORES = f"""
    SELECT subject, metric, {_ITEMS}, {_ints("n")}, {_numbers("mean")}, {_numbers("variance")}, {_ints("errors")}
    FROM (
        SELECT subject, metric, item_id, count(number) AS n, avg(number) AS mean, var_samp(number) AS variance,
            count(*) FILTER (WHERE error_code <> '') AS errors
        FROM (
            SELECT c.subject, s.metric, c.item_id, s.error_code,
                CASE WHEN s.metric = ANY(%s) THEN s.passed::int::float8 ELSE s.value END AS number
            FROM evaluations_evaluationcase c
            JOIN evaluations_evaluationscore s ON s.case_id = c.id
            WHERE c.evaluation_id = %s AND s.evaluation_id = %s AND c.subject = ANY(%s) AND s.metric = ANY(%s)
        ) AS score GROUP BY subject, metric, item_id
    ) AS item GROUP BY subject, metric
"""  # noqa: S608
_LABELS = """
    SELECT c.subject, s.metric, s.label, count(*)
    FROM evaluations_evaluationcase c
    JOIN evaluations_evaluationscore s ON s.case_id = c.id
    WHERE c.evaluation_id = %s AND c.subject = ANY(%s) AND s.metric = ANY(%s) AND s.error_code = ''
    GROUP BY c.subject, s.metric, s.label ORDER BY count(*) DESC, s.label
"""


def load_subjects(evaluation: Evaluation, positions: Sequence[int], metrics: Sequence[Metric]) -> dict[int, Subject]:
    """By position: three queries at most, however many subjects, items and metrics."""
    subjects = {position: Subject(*_nothing(), {}, {}) for position in positions}
    with connection.cursor() as cursor:
        cursor.execute(_CASES, [evaluation.id, list(positions)])
        for position, *columns in cursor.fetchall():
            subjects[position] = _subject(columns)
        _add_scores(cursor, evaluation, subjects, metrics)
        _add_labels(cursor, evaluation, subjects, metrics)
    return subjects


def _nothing() -> tuple[Items, Ints, Ints, Ints]:
    none = np.zeros(0, dtype=np.int64)
    return np.zeros(0, dtype="S16"), none, none, none


def _subject(columns: Sequence[Any]) -> Subject:
    items, cases, failed, unfinished = _ids(columns[0]), *map(_whole, columns[1:4])
    values = {
        name: Values(items, _whole(columns[at]), _real(columns[at + 1]), _real(columns[at + 2]), np.zeros_like(cases))
        for name, at in zip(MEASURES, range(4, len(columns), 3), strict=True)
    }
    ended = cases - unfinished
    rate = np.divide(failed, ended, out=np.full(len(items), np.nan), where=ended > 0)
    spread = np.divide(ended * rate * (1 - rate), ended - 1, out=np.full(len(items), np.nan), where=ended > 1)
    values["failed"] = Values(items, ended, rate, spread, np.zeros_like(cases))
    return Subject(items, cases, failed, unfinished, values, {})


def _add_scores(cursor: Any, evaluation: Evaluation, subjects: dict[int, Subject], metrics: Sequence[Metric]) -> None:
    by_position = {metric.position: metric for metric in metrics if metric.position is not None}
    if not by_position:
        return
    boolean = [position for position, metric in by_position.items() if metric.type == "boolean"]
    wanted = [boolean, evaluation.id, evaluation.id, list(subjects), list(by_position)]
    cursor.execute(_SCORES, wanted)
    for position, metric, items, counts, means, variances, errors in cursor.fetchall():
        values = Values(_ids(items), _whole(counts), _real(means), _real(variances), _whole(errors))
        subjects[position].values[by_position[metric].name] = values


def _add_labels(cursor: Any, evaluation: Evaluation, subjects: dict[int, Subject], metrics: Sequence[Metric]) -> None:
    names = {metric.position: metric.name for metric in metrics if metric.type == "categorical"}
    if not names:
        return
    cursor.execute(_LABELS, [evaluation.id, list(subjects), list(names)])
    for position, metric, label, count in cursor.fetchall():
        labels = subjects[position].labels.setdefault(names[metric], {})
        if len(labels) < MAX_LABELS:
            labels[label] = count


def _ids(column: bytes) -> Items:
    """UUIDs as 16 bytes each, in PostgreSQL's order, which is that of the bytes."""
    return np.frombuffer(column, dtype="S16")


def _whole(column: bytes) -> Ints:
    return np.frombuffer(column, dtype=">i8").astype(np.int64)


def _real(column: bytes) -> Floats:
    return np.frombuffer(column, dtype=">f8").astype(np.float64)
