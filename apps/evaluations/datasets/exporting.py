"""A version as a file, written while it is read: no more than SMALL_BLOCK items are in memory.

Versions never change, so that pages of them are the whole, and no connection is held while a client reads slowly.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection

from apps.evaluations.datasets.columns import JSON_MARK
from apps.evaluations.datasets.items import said_of
from apps.evaluations.datasets.services.versions import SMALL_BLOCK, content_of
from apps.evaluations.models import DatasetItem, DatasetVersion, ImportFormat
from apps.prompts.rendering.values import to_text
from everquant.api.envelope import dumps
from everquant.api.errors import Conflict
from everquant.db import release_connection
from everquant.spreadsheets import as_text

Json = Any
MAX_KEY_COLUMNS = 200


@dataclass(frozen=True, slots=True)
class Export:
    """What to write. `split` None is all splits; `escapes_formulas` changes cells for the sake of spreadsheets."""

    version: DatasetVersion
    split: str | None = None
    escapes_formulas: bool = False

    def items(self) -> Any:
        items = DatasetItem.objects.of_version(self.version)
        return items if self.split is None else items.filter(split=self.split)

    def blocks(self) -> Iterator[list[DatasetItem]]:
        position = -1
        while block := list(self.items().filter(position__gt=position)[:SMALL_BLOCK]):
            release_connection()
            yield block
            position = block[-1].position


def check_export(export: Export, file_format: str) -> None:
    """Raises Conflict where an item has nothing to be the answer of the assistant."""
    if file_format != ImportFormat.OPENAI:
        return
    without = export.items().filter(has_expected=False, has_output=False)
    count = without.count()
    if count:
        raise Conflict(f"{count} of the items have neither an expected value nor an output, which would be the answer.")


def write(export: Export, file_format: str) -> Iterator[bytes]:
    return _WRITERS[ImportFormat(file_format)](export)


def _write_jsonl(export: Export) -> Iterator[bytes]:
    for block in export.blocks():
        yield b"".join(dumps(said_of(content_of(item))) + b"\n" for item in block)


def _write_json(export: Export) -> Iterator[bytes]:
    yield b"["
    separator = b"\n"
    for block in export.blocks():
        yield separator + b",\n".join(dumps(said_of(content_of(item))) for item in block)
        separator = b",\n"
    yield b"\n]\n"


def _write_openai(export: Export) -> Iterator[bytes]:
    for block in export.blocks():
        yield b"".join(dumps(_to_messages(item)) + b"\n" for item in block)


def _to_messages(item: DatasetItem) -> Json:
    """The inverse of what `reading` makes of such a line; any other input is one message of the user."""
    given = item.input
    if isinstance(given, dict) and isinstance(given.get("messages"), list):
        line = given
    else:
        line = {"messages": [{"role": "user", "content": to_text(given)}]}
    answer = item.expected if item.has_expected else item.output
    if isinstance(answer, dict) and answer.keys() == {"tool_calls"}:
        said = {"role": "assistant", "content": None, **answer}
    else:
        said = {"role": "assistant", "content": to_text(answer)}
    return {**line, "messages": [*line["messages"], said]}


@dataclass(frozen=True, slots=True)
class _Column:
    field: str
    key: str | None
    is_json: bool

    @property
    def name(self) -> str:
        path = self.field if self.key is None else f"{self.field}.{self.key}"
        return path + (JSON_MARK if self.is_json else "")

    def cell(self, said: dict[str, Json]) -> str:
        if self.field not in said:
            return ""
        value = said[self.field]
        if self.key is not None:
            if self.key not in value:
                return ""
            value = value[self.key]
        return dumps(value).decode() if self.is_json else str(value)


def _write_csv(export: Export) -> Iterator[bytes]:
    columns = _columns(export)
    release_connection()
    yield _csv_lines([[column.name for column in columns]], escapes_formulas=export.escapes_formulas)
    for block in export.blocks():
        said = [said_of(content_of(item)) for item in block]
        cells = [[column.cell(one) for column in columns] for one in said]
        yield _csv_lines(cells, escapes_formulas=export.escapes_formulas)


def _csv_lines(rows: list[list[str]], *, escapes_formulas: bool) -> bytes:
    if escapes_formulas:
        rows = [[as_text(cell) for cell in row] for row in rows]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_MINIMAL).writerows(rows)
    return text.getvalue().encode()


def _columns(export: Export) -> list[_Column]:
    """Keys of the input as columns where all inputs are objects; text where it says the same, else JSON."""
    count, objects, is_text, expected, expected_text, outputs, output_text, metadata, splits = _survey(export)
    columns = _input_columns(export, count) if objects == count else None
    columns = columns or [_Column("input", None, is_json=not is_text)]
    if expected:
        columns.append(_Column("expected", None, is_json=not expected_text))
    if outputs:
        columns.append(_Column("output", None, is_json=not output_text))
    if metadata:
        columns.append(_Column("metadata", None, is_json=True))
    if splits:
        columns.append(_Column("split", None, is_json=False))
    return columns


_IS_FULL_TEXT = "coalesce(bool_and(coalesce(json_typeof({0}) = 'string' AND {0}::text <> '\"\"', false)) {1}, true)"
_SURVEY = f"""
SELECT count(*), count(*) FILTER (WHERE json_typeof(input) = 'object'),
    coalesce(bool_and(json_typeof(input) = 'string'), true),
    count(*) FILTER (WHERE has_expected), {_IS_FULL_TEXT.format("expected", "FILTER (WHERE has_expected)")},
    count(*) FILTER (WHERE has_output), {_IS_FULL_TEXT.format("output", "FILTER (WHERE has_output)")},
    count(*) FILTER (WHERE metadata <> jsonb_build_object()), count(*) FILTER (WHERE split <> '')
FROM ({{items}}) item
"""  # noqa: S608 (of constants)
_KEYS = """
SELECT one.key, count(*), bool_and(json_typeof(one.value) = 'string')
FROM ({items}) item, json_each(item.input) WITH ORDINALITY AS one(key, value, place)
GROUP BY one.key ORDER BY min(one.place), one.key LIMIT {most}
"""


def _survey(export: Export) -> Any:
    return _ask(_SURVEY, export)[0]


def _input_columns(export: Export, count: int) -> list[_Column] | None:
    """None where one column for all says it better. A key ending like a mark of JSON is written as JSON."""
    found = _ask(_KEYS, export, most=MAX_KEY_COLUMNS + 1)
    if not found or len(found) > MAX_KEY_COLUMNS:
        return None
    return [
        _Column("input", key, is_json=not (is_text and times == count and not key.endswith(JSON_MARK)))
        for key, times, is_text in found
    ]


def _ask(statement: str, export: Export, **options: Any) -> list[Any]:
    items, parameters = export.items().order_by().query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statement.format(items=items, **options), parameters)
        return list(cursor.fetchall())


_WRITERS: dict[ImportFormat, Callable[[Export], Iterator[bytes]]] = {
    ImportFormat.CSV: _write_csv,
    ImportFormat.JSONL: _write_jsonl,
    ImportFormat.JSON: _write_json,
    ImportFormat.OPENAI: _write_openai,
}
