"""What came of an item in one repeat, all subjects side by side: read page by page, large texts cut in the database."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from apps.evaluations.models import Evaluation
from apps.evaluations.runs.representation import dollars, failure

Json = dict[str, Any]
Key = tuple[UUID, int]
"""An item's id and a repeat."""

WHOLE = 2**30
# Answers that are read at once by an export.
CHUNK = 50
_CASES = """
SELECT c.id, c.item_id, c.repeat, c.subject, c.status, c.execution_id, c.workflow_run_id,
    json_typeof(c.output), left(c.output #>> '{}', %(cut)s + 1), c.error_code, c.error_message, c.latency_ms,
    c.input_tokens, c.output_tokens, c.cost_usd, c.finished_at
FROM unnest(%(items)s::uuid[], %(repeats)s::int[]) w(item_id, repeat)
CROSS JOIN unnest(%(subjects)s::int[]) s(subject)
JOIN evaluations_evaluationcase c ON c.evaluation_id = %(evaluation)s AND c.item_id = w.item_id
    AND c.subject = s.subject AND c.repeat = w.repeat
"""
_SCORES = """
SELECT s.case_id, s.metric, s.value, s.passed, s.label, left(s.reason, %(cut)s + 1), s.error_code, s.error_message,
    s.cost_usd, s.execution_ids, CASE WHEN %(is_whole)s THEN s.details END
FROM evaluations_evaluationscore s WHERE s.case_id = ANY(%(cases)s) ORDER BY s.case_id, s.metric
"""
_ITEMS = """
SELECT i.id, i.position, i.split, json_typeof(i.input), left(i.input #>> '{}', %(cut)s + 1), i.has_expected,
    json_typeof(i.expected), left(i.expected #>> '{}', %(cut)s + 1), i.metadata, i.source_execution_id
FROM evaluations_datasetitem i WHERE i.id = ANY(%(items)s)
"""
_NEXT_KEYS = """
SELECT id, item_id, repeat FROM evaluations_evaluationcase
WHERE evaluation_id = %s AND subject = 0 AND id > %s ORDER BY id LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Names:
    """Of the evaluation's subjects and metrics, by position."""

    subjects: dict[int, str]
    metrics: dict[int, str]


def names_of(evaluation: Evaluation) -> Names:
    """Two queries."""
    subjects, metrics = (
        dict(rows.values_list("position", "name")) for rows in (evaluation.subjects, evaluation.metrics)
    )
    return Names(subjects, metrics)


@dataclass(frozen=True, slots=True)
class Cut:
    """How many characters of a text are shown, and of a reason."""

    text: int = WHOLE
    reason: int = WHOLE

    @property
    def is_whole(self) -> bool:
        return self.text == WHOLE


def read_rows(
    evaluation: Evaluation, names: Names, keys: Sequence[Key], cut: Cut, subjects: Sequence[int] | None = None
) -> list[Json]:
    """One row for each key, in their order, with the answers of these subjects (all); three queries."""
    if not keys:
        return []
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = {
            "evaluation": evaluation.id,
            "items": [item_id for item_id, _ in keys],
            "repeats": [repeat for _, repeat in keys],
            "subjects": list(names.subjects if subjects is None else subjects),
            "cut": cut.text,
        }
        cursor.execute(_CASES, parameters)
        cases = cursor.fetchall()
        scores = _scores(cursor, [case[0] for case in cases], names, cut)
        cursor.execute(_ITEMS, parameters)
        items = {row[0]: _item(row, cut) for row in cursor.fetchall()}
    answers: dict[Key, list[Json]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case[3]):
        answers[case[1], case[2]].append(_answer(case, names, scores.get(case[0], []), cut))
    return [{**items[item_id], "repeat": repeat, "answers": answers[item_id, repeat]} for item_id, repeat in keys]


def all_rows(evaluation: Evaluation, names: Names) -> Iterator[Json]:
    """Every row as a whole, in order, a few at a time: each piece is read when it is asked for."""
    last, rows = 0, max(1, CHUNK // max(1, len(names.subjects)))
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_NEXT_KEYS, [evaluation.id, last, rows])
            found = cursor.fetchall()
        if not found:
            return
        last = found[-1][0]
        yield from read_rows(evaluation, names, [(item_id, repeat) for _, item_id, repeat in found], Cut())


def _scores(cursor: Any, cases: list[int], names: Names, cut: Cut) -> dict[int, list[Json]]:
    cursor.execute(_SCORES, {"cases": cases, "cut": cut.reason, "is_whole": cut.is_whole})
    scores: dict[int, list[Json]] = defaultdict(list)
    for case_id, metric, value, passed, label, reason, code, message, cost, execution_ids, details in cursor.fetchall():
        scores[case_id].append(
            {
                "metric": names.metrics[metric],
                "value": value,
                "passed": passed,
                "label": label or None,
                "reason": reason[: cut.reason],
                "is_reason_cut": len(reason) > cut.reason,
                "error": failure(code, message),
                "cost_usd": dollars(cost),
                "execution_ids": execution_ids,
                "details": _loaded(details),
            }
        )
    return scores


def _item(row: tuple[Any, ...], cut: Cut) -> Json:
    item_id, position, split, input_type, said, has_expected, expected_type, expected, metadata, source = row
    given, is_given_cut = _value(input_type, said, cut.text)
    wanted, is_wanted_cut = _value(expected_type, expected, cut.text)
    return {
        "item_id": item_id,
        "position": position,
        "split": split,
        "input": given,
        "is_input_cut": is_given_cut,
        "has_expected": has_expected,
        "expected": wanted,
        "is_expected_cut": is_wanted_cut,
        "metadata": _loaded(metadata),
        "source_execution_id": source,
    }


def _answer(row: tuple[Any, ...], names: Names, scores: list[Json], cut: Cut) -> Json:
    (
        case_id, _, _, subject, status, execution_id, run_id, output_type, output, code, message, latency_ms,
        input_tokens, output_tokens, cost, finished_at,
    ) = row  # fmt: skip
    value, is_cut = _value(output_type, output, cut.text)
    return {
        "case_id": case_id,
        "subject": names.subjects[subject],
        "status": status,
        "output": value,
        "is_output_cut": is_cut,
        "error": failure(code, message),
        "latency_ms": latency_ms,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost_usd": dollars(cost),
        "execution_id": execution_id,
        "workflow_run_id": run_id,
        "finished_at": finished_at,
        "scores": scores,
    }


def _value(kind: str | None, text: str | None, longest: int) -> tuple[Any, bool]:
    """The value whose text this is; of one that is longer, the beginning of its text."""
    if text is None:
        return None, False
    if len(text) > longest:
        return text[:longest], True
    return (text if kind == "string" else orjson.loads(text)), False


def _loaded(value: Any) -> Any:
    """JSON as the driver gives it: read, or as text."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value
