"""Results as a file, made piece by piece while it is sent."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from apps.evaluations.models import Evaluation
from apps.evaluations.runs.result_rows import Names, all_rows, names_of
from everquant.api.envelope import dumps
from everquant.spreadsheets import as_text

Json = dict[str, Any]
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
_ITEM = ("item_id", "position", "split", "repeat", "input", "expected")
_ANSWER = ("status", "output", "error", "latency_ms", "cost_usd")


def export(evaluation: Evaluation, file_format: str) -> Iterator[bytes]:
    """A line for each item and repeat. The JSON lines say all that is stored; the CSV is for spreadsheets."""
    names = names_of(evaluation)
    rows = all_rows(evaluation, names)
    return _csv(rows, names) if file_format == "csv" else (dumps(row) + b"\n" for row in rows)


def _csv(rows: Iterator[Json], names: Names) -> Iterator[bytes]:
    metrics = list(names.metrics.values())
    header = [*_ITEM]
    for subject in names.subjects.values():
        header += [f"{subject}.{name}" for name in _ANSWER]
        header += [f"{subject}.{metric}{what}" for metric in metrics for what in ("", ".passed", ".reason")]
    yield _line([_cell(name) for name in header])
    for row in rows:
        cells = [_cell(row[name]) for name in _ITEM]
        answers = {answer["subject"]: answer for answer in row["answers"]}
        for subject in names.subjects.values():
            cells += _answer(answers.get(subject), metrics)
        yield _line(cells)


def _answer(answer: Json | None, metrics: list[str]) -> list[str]:
    if answer is None:
        return [""] * (len(_ANSWER) + 3 * len(metrics))
    cells = [_cell(_said(answer[name])) for name in _ANSWER]
    scores = {score["metric"]: score for score in answer["scores"]}
    for metric in metrics:
        score = scores.get(metric) or {"value": None, "passed": None, "reason": "", "error": None}
        value = score["value"] if score["error"] is None else score["error"]["code"]
        cells += [_cell(value), _cell(score["passed"]), _cell(score["reason"])]
    return cells


def _said(value: Any) -> Any:
    is_failure = isinstance(value, dict) and value.keys() == {"code", "message"}
    return f"{value['code']}: {value['message']}" if is_failure else value


def _cell(value: Any) -> str:
    """Text as it is, but no formula; everything else as JSON."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return dumps(value).decode().strip('"')
    return as_text(value)


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
