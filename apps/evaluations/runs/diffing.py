"""Two subjects of an evaluation, answer by answer: what the output says otherwise, and what it scored and cost."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import connection

from apps.evaluations.models import Evaluation
from apps.evaluations.runs.representation import dollars
from apps.evaluations.runs.result_rows import Cut, Key, Names, read_rows
from apps.prompts.diff import diff_versions
from everquant.api.envelope import dumps

Json = dict[str, Any]
DIFF_CUT = Cut(text=8000, reason=500)
# Lines of one side times lines of the other, of all rows of a page: comparing costs time.
MOST_COMPARISONS = 2_000_000
_PAIRS = """
FROM evaluations_evaluationcase b JOIN evaluations_evaluationcase c
    ON c.evaluation_id = b.evaluation_id AND c.item_id = b.item_id AND c.repeat = b.repeat
WHERE b.evaluation_id = %(evaluation)s AND b.subject = %(baseline)s AND c.subject = %(candidate)s
"""
_BOTH = "b.status IN ('answered', 'succeeded') AND c.status IN ('answered', 'succeeded')"
_TOTALS = f"""
SELECT count(*) FILTER (WHERE {_BOTH}),
    count(*) FILTER (WHERE {_BOTH} AND b.output::text IS NOT DISTINCT FROM c.output::text),
    count(*) FILTER (WHERE b.status IN ('answered', 'succeeded') AND c.status NOT IN ('answered', 'succeeded')),
    count(*) FILTER (WHERE c.status IN ('answered', 'succeeded') AND b.status NOT IN ('answered', 'succeeded')),
    count(*), sum(b.cost_usd) FILTER (WHERE {_BOTH}), sum(c.cost_usd) FILTER (WHERE {_BOTH}),
    avg(b.latency_ms) FILTER (WHERE {_BOTH}), avg(c.latency_ms) FILTER (WHERE {_BOTH})
{_PAIRS}
"""  # noqa: S608 (this module's own text)
_METRICS = f"""
SELECT s.metric, count(*), avg(s.value), avg(t.value), avg(t.value - s.value),
    count(*) FILTER (WHERE t.value > s.value), count(*) FILTER (WHERE t.value < s.value)
{
    _PAIRS.replace(
        "WHERE",
        '''
JOIN evaluations_evaluationscore s ON s.case_id = b.id AND s.error_code = ''
JOIN evaluations_evaluationscore t ON t.case_id = c.id AND t.metric = s.metric AND t.error_code = ''
WHERE''',
    )
} GROUP BY s.metric
"""
_NO_PAIRS = (0, None, None, None, 0, 0)


def totals(evaluation: Evaluation, names: Names, baseline: int, candidate: int) -> Json:
    """Two queries."""
    parameters: dict[str, Any] = {"evaluation": evaluation.id, "baseline": baseline, "candidate": candidate}
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS, parameters)
        pairs, same, only_b, only_c, rows, cost_b, cost_c, latency_b, latency_c = cursor.fetchone()
        cursor.execute(_METRICS, parameters)
        found = {row[0]: row[1:] for row in cursor.fetchall()}
    return {
        "pairs": pairs,
        "same": same,
        "changed": pairs - same,
        "only_baseline": only_b,
        "only_candidate": only_c,
        "neither": rows - pairs - only_b - only_c,
        "baseline_cost_usd": dollars(cost_b),
        "candidate_cost_usd": dollars(cost_c),
        "baseline_latency_ms": None if latency_b is None else float(latency_b),
        "candidate_latency_ms": None if latency_c is None else float(latency_c),
        "metrics": [_total(name, found.get(metric, _NO_PAIRS)) for metric, name in names.metrics.items()],
    }


def _total(name: str, row: tuple[Any, ...]) -> Json:
    n, baseline, candidate, difference, higher, lower = row
    figures = {"baseline": baseline, "candidate": candidate, "difference": difference}
    return {"metric": name, "n": n, **figures, "higher": higher, "lower": lower}


def diff_rows(evaluation: Evaluation, names: Names, keys: Sequence[Key], baseline: int, candidate: int) -> list[Json]:
    left = MOST_COMPARISONS
    rows = []
    for row in read_rows(evaluation, names, keys, DIFF_CUT, [baseline, candidate]):
        before, after = (_answer_of(row, names.subjects[position]) for position in (baseline, candidate))
        hunks, spent = _hunks(before, after, left)
        left -= spent
        rows.append({**_item(row), **_compared(before, after), "hunks": hunks})
    return rows


def _answer_of(row: Json, subject: str) -> Json | None:
    return next((answer for answer in row["answers"] if answer["subject"] == subject), None)


def _item(row: Json) -> Json:
    return {name: row[name] for name in ("item_id", "position", "repeat", "input", "is_input_cut")}


def _compared(before: Json | None, after: Json | None) -> Json:
    is_pair = _has_answered(before) and _has_answered(after)
    same = None
    if before and after and is_pair and not (before["is_output_cut"] and after["is_output_cut"]):
        same = before["output"] == after["output"]
    return {
        "baseline": before,
        "candidate": after,
        "is_same": same,
        "scores": _score_changes(before, after),
        "cost_difference_usd": _cost_difference(before, after),
        "latency_difference_ms": _difference(*(answer and answer["latency_ms"] for answer in (before, after))),
    }


def _has_answered(answer: Json | None) -> bool:
    return answer is not None and answer["status"] in {"answered", "succeeded"}


def _cost_difference(before: Json | None, after: Json | None) -> str | None:
    if before is None or after is None or before["cost_usd"] is None or after["cost_usd"] is None:
        return None
    return dollars(Decimal(after["cost_usd"]) - Decimal(before["cost_usd"]))


def _score_changes(before: Json | None, after: Json | None) -> list[Json]:
    old, new = (_values(answer) for answer in (before, after))
    return [
        {
            "metric": metric,
            "baseline": old.get(metric),
            "candidate": new.get(metric),
            "difference": _difference(old.get(metric), new.get(metric)),
        }
        for metric in dict.fromkeys([*old, *new])
    ]


def _values(answer: Json | None) -> dict[str, float | None]:
    return {score["metric"]: score["value"] for score in answer["scores"]} if answer else {}


def _difference(before: Any, after: Any) -> Any:
    return None if before is None or after is None else after - before


def _hunks(before: Json | None, after: Json | None, left: int) -> tuple[list[Json] | None, int]:
    """Hunks of a unified diff, and what they cost of MOST_COMPARISONS; None for what is cut or costs more than left."""
    if before is None or after is None or not (_has_answered(before) and _has_answered(after)):
        return None, 0
    cost = _lines(before["output"]) * _lines(after["output"])
    if before["is_output_cut"] or after["is_output_cut"] or cost > left:
        return None, 0
    changes = diff_versions({"output": before["output"]}, {"output": after["output"]})
    return (changes[0]["hunks"] if changes else []), cost


def _lines(output: Any) -> int:
    return 1 + (output if isinstance(output, str) else dumps(output).decode().replace(",", "\n")).count("\n")
