"""Cases of an evaluation as rows: made once, read a few at a time, opened again and cancelled in chunks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction

from apps.evaluations.engine.changes import LeaseLost, Started, count
from apps.evaluations.models import Evaluation, Reopening

_CHUNK = 5000
# An item's cases follow each other, and the items are in their order.
_MAKE = """
WITH chosen AS (
    SELECT id, position FROM evaluations_datasetitem
    WHERE dataset_id = %(dataset)s AND since <= %(version)s AND (until IS NULL OR until > %(version)s)
    AND (%(split)s = '' OR split = %(split)s) AND (position, id) > (%(position)s, %(item)s::uuid)
    ORDER BY position, id LIMIT %(limit)s
),
made AS (
    INSERT INTO evaluations_evaluationcase (evaluation_id, subject, item_id, repeat, status, error_code, error_message)
    SELECT %(evaluation)s, s, chosen.id, r, 'pending', '', '' FROM chosen
    CROSS JOIN generate_series(0, %(repeats)s - 1) r CROSS JOIN generate_series(0, %(subjects)s - 1) s
    ORDER BY chosen.position, chosen.id, r, s
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM chosen), (SELECT count(*) FROM made), last.position, last.id
FROM (SELECT position, id FROM chosen ORDER BY position DESC, id DESC LIMIT 1) last
"""
_LAST = """
SELECT i.position, i.id FROM evaluations_evaluationcase c JOIN evaluations_datasetitem i ON i.id = c.item_id
WHERE c.evaluation_id = %s ORDER BY c.id DESC LIMIT 1
"""
_MADE = """
UPDATE evaluations_evaluation SET item_count = item_count + %s, case_count = case_count + %s, has_cases = %s
WHERE id = %s AND fence = %s AND status = 'running'
"""
_PENDING = """
SELECT c.id, c.subject, c.item_id, i.input, i.output, i.has_output, i.source_execution_id
FROM evaluations_evaluationcase c JOIN evaluations_datasetitem i ON i.id = c.item_id
WHERE c.evaluation_id = %s AND c.status = 'pending' AND c.id > %s ORDER BY c.id LIMIT %s
"""
_RUNNING = """
SELECT id, subject, item_id, execution_id, workflow_run_id, reserved_usd FROM evaluations_evaluationcase
WHERE evaluation_id = %s AND status = 'running'
"""
_BASELINE = """
LEFT JOIN evaluations_evaluationcase b ON b.evaluation_id = c.evaluation_id AND b.item_id = c.item_id
AND b.repeat = c.repeat AND b.subject = 0 AND c.subject > 0
"""
_ANSWERED = """
SELECT c.id, c.subject, c.output, c.latency_ms, c.cost_usd, i.input, i.expected, i.has_expected, i.metadata,
    {other}, c.prepaid,
    ARRAY(SELECT metric FROM evaluations_evaluationscore s WHERE s.case_id = c.id)
FROM evaluations_evaluationcase c JOIN evaluations_datasetitem i ON i.id = c.item_id {baseline}
WHERE c.evaluation_id = %s AND c.status = 'answered' AND c.id <> ALL(%s) {condition} ORDER BY c.id LIMIT %s
"""
_ANSWERED_ALONE = _ANSWERED.format(other="NULL, NULL", baseline="", condition="")
_ANSWERED_WITH_BASELINE = _ANSWERED.format(
    other="b.status IN ('answered', 'succeeded'), b.output",
    baseline=_BASELINE,
    condition="AND (c.subject = 0 OR b.status NOT IN ('pending', 'running'))",
)
_ITEMS = "SELECT id, input, expected, has_expected, metadata FROM evaluations_datasetitem WHERE id = ANY(%s)"
_NO_ANSWER = """
output = NULL, error_code = '', error_message = '', latency_ms = NULL, input_tokens = NULL, output_tokens = NULL,
cost_usd = NULL, reserved_usd = NULL, finished_at = NULL, execution_id = NULL, workflow_run_id = NULL
"""
_SOME = """
SELECT id FROM evaluations_evaluationcase WHERE evaluation_id = %(evaluation)s AND status = %(status)s
ORDER BY id LIMIT %(limit)s
"""
_OPEN = f"""
UPDATE evaluations_evaluationcase SET status = 'pending', {_NO_ANSWER} WHERE id IN ({_SOME})
"""  # noqa: S608 (statements of this module)
_CANCEL = f"""
UPDATE evaluations_evaluationcase SET status = 'cancelled', finished_at = now(), reserved_usd = NULL
WHERE id IN ({_SOME})
"""  # noqa: S608 (as above)
_OPEN_SCORES = """
WITH erring AS (
    SELECT case_id, metric FROM evaluations_evaluationscore
    WHERE evaluation_id = %(evaluation)s AND error_code <> '' ORDER BY case_id LIMIT %(limit)s
),
gone AS (
    DELETE FROM evaluations_evaluationscore s USING erring e WHERE s.case_id = e.case_id AND s.metric = e.metric
    RETURNING s.case_id
),
opened AS (
    UPDATE evaluations_evaluationcase SET status = 'answered', finished_at = NULL
    WHERE id IN (SELECT case_id FROM gone) AND status = 'succeeded' RETURNING 1
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM opened)
"""
_LEFT = """
SELECT EXISTS (SELECT FROM evaluations_evaluationcase WHERE evaluation_id = %s AND status = 'pending'),
       EXISTS (SELECT FROM evaluations_evaluationcase WHERE evaluation_id = %s AND status IN ('running', 'answered'))
"""


@dataclass(frozen=True, slots=True)
class Pending:
    case_id: int
    subject: int
    item_id: UUID
    input: Any
    output: Any
    has_output: bool
    source_execution_id: UUID | None


@dataclass(frozen=True, slots=True)
class Item:
    input: Any
    expected: Any
    has_expected: bool
    metadata: Any


@dataclass(frozen=True, slots=True)
class Answered:
    """A case with an answer and not all its scores. `other_output` is the baseline's, where it has one; `prepaid` is
    what metrics have cost in this round that have no score yet.
    """

    case_id: int
    subject: int
    output: Any
    latency_ms: int | None
    cost_usd: Any
    item: Item
    has_other: bool
    other_output: Any
    scored: frozenset[int]
    prepaid: Mapping[int, Decimal] = field(default_factory=dict)


def make(evaluation: Evaluation, subjects: int) -> bool:
    """The next chunk of cases. Whether these were the last ones. Raises LeaseLost."""
    version, per_item = evaluation.dataset_version, subjects * evaluation.repeats
    limit = max(1, _CHUNK // per_item)
    if evaluation.item_limit is not None:
        limit = min(limit, evaluation.item_limit - evaluation.item_count)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LAST, [evaluation.id])
        position, item = cursor.fetchone() or (-(2**63), UUID(int=0))
        parameters = {
            "evaluation": evaluation.id, "dataset": version.dataset_id, "version": version.version_number,
            "split": evaluation.split, "position": position, "item": item, "limit": limit,
            "repeats": evaluation.repeats, "subjects": subjects,
        }  # fmt: skip
        cursor.execute(_MAKE, parameters)
        items, made, *_ = cursor.fetchone() or (0, 0)
        is_done = items < limit or evaluation.item_count + items == evaluation.item_limit
        cursor.execute(_MADE, [items, made, is_done, evaluation.id, evaluation.fence])
        if not cursor.rowcount:
            raise LeaseLost
    evaluation.item_count += items
    evaluation.case_count += made
    evaluation.has_cases = is_done
    return is_done


def pending(evaluation: Evaluation, after: int, limit: int) -> list[Pending]:
    """The next ones after the case `after`, in their order."""
    return [Pending(*row) for row in _rows(_PENDING, evaluation.id, after, limit)]


def running(evaluation: Evaluation) -> list[Started]:
    return [Started(*row) for row in _rows(_RUNNING, evaluation.id)]


def answered(evaluation: Evaluation, but: list[int], limit: int, *, with_baseline: bool) -> list[Answered]:
    """Those that can be scored now, in their order; with the baseline's answer, once its case has come to an end."""
    statement = _ANSWERED_WITH_BASELINE if with_baseline else _ANSWERED_ALONE
    return [
        Answered(
            row[0], row[1], row[2], row[3], row[4], _item(row[5:9]), bool(row[9]), row[10], frozenset(row[12]),
            _prepaid(row[11], evaluation.round),
        )
        for row in _rows(statement, evaluation.id, but, limit)
    ]  # fmt: skip


def _prepaid(stored: str | None, this_round: int) -> dict[int, Decimal]:
    paid = ((key.split("/"), amount) for key, amount in orjson.loads(stored or "{}").items())
    return {int(metric): Decimal(amount) for (when, metric), amount in paid if int(when) == this_round}


def items(ids: list[UUID]) -> dict[UUID, Item]:
    return {row[0]: _item(row[1:]) for row in _rows(_ITEMS, ids)}


def _item(row: tuple[Any, ...]) -> Item:
    """What Django leaves as text is `jsonb`."""
    said, expected, has_expected, metadata = row
    return Item(said, expected, has_expected, orjson.loads(metadata))


def left(evaluation: Evaluation) -> tuple[bool, bool]:
    """Whether cases are pending, and whether some run or wait for scores."""
    is_pending, is_open = next(_rows(_LEFT, evaluation.id, evaluation.id))
    return is_pending, is_open


def reopen(evaluation: Evaluation) -> bool:
    """A chunk of what a resumed evaluation is to open again. Whether nothing is left of it. Raises LeaseLost."""
    parts = [_open_cancelled]
    if evaluation.reopening == Reopening.ERRORS:
        parts += [_open_failed, _open_scores]
    with transaction.atomic():
        is_done = not any(part(evaluation) for part in parts)
        if is_done:
            Evaluation.objects.filter(id=evaluation.id, fence=evaluation.fence).update(reopening="")
    return is_done


def cancel_pending(evaluation: Evaluation) -> bool:
    """A chunk of them. Whether none is left. Raises LeaseLost."""
    with transaction.atomic():
        count(evaluation)
        return not _change(_CANCEL, evaluation, "pending")


def _open_cancelled(evaluation: Evaluation) -> int:
    count(evaluation)
    return _change(_OPEN, evaluation, "cancelled")


def _open_failed(evaluation: Evaluation) -> int:
    count(evaluation)
    changed = _change(_OPEN, evaluation, "failed")
    count(evaluation, failed=-changed)
    return changed


def _open_scores(evaluation: Evaluation) -> int:
    count(evaluation)
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_SCORES, {"evaluation": evaluation.id, "limit": _CHUNK})
        gone, opened = cursor.fetchone()
    count(evaluation, score_errors=-gone, succeeded=-opened)
    return int(gone)


def _change(statement: str, evaluation: Evaluation, status: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"evaluation": evaluation.id, "status": status, "limit": _CHUNK})
        return int(cursor.rowcount)


def _rows(statement: str, *parameters: Any) -> Iterator[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(parameters))
        yield from cursor.fetchall()
