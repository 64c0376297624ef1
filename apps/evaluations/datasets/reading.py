"""Rows of files, one after the other: nothing is held but the row that is read."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, BinaryIO

import orjson

from apps.evaluations.datasets.columns import ColumnProblem, assemble, parse_target, targets_of
from apps.evaluations.datasets.items import InvalidItem, Problem
from apps.evaluations.models import ImportFormat
from everquant.api.parsers import MAX_DEPTH

Json = Any
Row = dict[str, Json] | list[Problem]
"""What an item is made of (`items.parse_item` has still to check it), or what is wrong with the row."""

Columns = Mapping[str, str | None] | None
MAX_ROW_BYTES = 1024 * 1024
_PIECE = 64 * 1024
csv.field_size_limit(2**24)


class InvalidFile(Exception):
    """The file cannot be read on. `field` is the option that does not fit it, else `file`."""

    def __init__(self, message: str, field: str = "file") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


def read_rows(file: BinaryIO, file_format: str, columns: Columns = None) -> "Rows":
    """Raises InvalidFile, also halfway."""
    return Rows(file, ImportFormat(file_format), columns)


class Rows:
    """Once; with what the file calls the places of an item, which is known when the first row is."""

    def __init__(self, file: BinaryIO, file_format: ImportFormat, columns: Columns) -> None:
        self._names: dict[str, str] = {}
        self._rows = _READERS[file_format](file, columns, self._names)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def column(self, path: str) -> str:
        """The column that gives what is at this path, and the path within it; the path itself where none does."""
        place = path
        while place and place not in self._names:
            place = place.rpartition(".")[0]
        return f"{self._names[place]}{path.removeprefix(place)}" if place else path


def _read_csv(file: BinaryIO, columns: Columns, names: dict[str, str]) -> Iterator[Row]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    lines = _Lines(text)
    reader = csv.reader(lines, strict=True)
    number = 0
    try:
        header = next(reader, [])
        if not any(header) or len(set(header)) != len(header):
            raise InvalidFile("The first line must name the columns, each once.")
        targets = targets_of(header, columns)
        names |= {target.path: column for target, column in zip(targets, header, strict=True) if target}
        for values in reader:
            lines.begin_row()
            if not values:
                continue
            number += 1
            if len(values) != len(header):
                yield [("", f"Has {len(values)} values for {len(header)} columns.")]
                continue
            try:
                yield assemble(values, targets, header)
            except InvalidItem as error:
                yield error.problems
    except UnicodeDecodeError:
        raise InvalidFile(f"Row {number + 1} or one soon after it is not UTF-8.") from None
    except csv.Error as error:
        raise InvalidFile(f"Row {number + 1} is not CSV: {error}.") from None
    except ColumnProblem as error:
        field = "columns" if columns is not None else "file"
        raise InvalidFile(error.message, f"{field}.{error.column}" if error.column else field) from None
    finally:
        text.detach()


class _Lines:
    """Lines of a text, as long as those of one row are not longer together than MAX_ROW_BYTES characters."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._left = MAX_ROW_BYTES

    def begin_row(self) -> None:
        self._left = MAX_ROW_BYTES

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                raise InvalidFile(f"A row has more than {MAX_ROW_BYTES} characters.")
            yield line


def _read_lines(file: BinaryIO) -> Iterator[Json]:
    """The JSON of each line that is not empty; for one that is none a list of problems in an InvalidItem."""
    is_first = True
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) > MAX_ROW_BYTES:
            raise InvalidFile(f"A line has more than {MAX_ROW_BYTES} bytes.")
        line = line.removeprefix(b"\xef\xbb\xbf").strip() if is_first else line.strip()
        is_first = False
        if not line:
            continue
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield InvalidItem([("", f"Is not JSON: {error}"[:200])])


def _read_jsonl(file: BinaryIO, columns: Columns, names: dict[str, str]) -> Iterator[Row]:
    names |= _names(columns)
    return (_mapped(value, columns) for value in _read_lines(file))


def _names(columns: Columns) -> dict[str, str]:
    targets = {column: parse_target(target) for column, target in (columns or {}).items() if target is not None}
    return {target.path: column for column, target in targets.items() if target is not None}


def _mapped(value: Json, columns: Columns) -> Row:
    """An item as it is, or with a mapping the keys of any object as columns of a file."""
    if isinstance(value, InvalidItem):
        return value.problems
    if not isinstance(value, dict):
        return [("", "Must be a JSON object.")]
    if columns is None:
        return value
    known = [column for column in columns if column in value]
    mapping = {column: columns[column] for column in known}
    try:
        return assemble([value[column] for column in known], targets_of(known, mapping), known)
    except InvalidItem as error:
        return error.problems
    except ColumnProblem as error:
        return [(error.column, error.message)]


class _Measured:
    """A file for ijson that ends with an error where one value alone would fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.since_value = 0

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        self.since_value += len(piece)
        if self.since_value > MAX_ROW_BYTES + 2 * _PIECE:
            raise InvalidFile(f"A row has more than {MAX_ROW_BYTES} bytes.")
        return piece


def _read_json(file: BinaryIO, columns: Columns, names: dict[str, str]) -> Iterator[Row]:
    import ijson  # type: ignore[import-untyped]  # noqa: PLC0415 (a library of C, for imports alone)

    names |= _names(columns)
    measured = _Measured(_after_mark(file))
    number = 0
    try:
        for value in _elements(ijson.basic_parse(measured, buf_size=_PIECE), ijson.ObjectBuilder):
            measured.since_value = 0
            number += 1
            yield _mapped(value, columns)
    except (ijson.JSONError, UnicodeDecodeError, OverflowError) as error:
        raise InvalidFile(f"What follows row {number} is not JSON: {error}"[:300]) from None


def _elements(events: Iterator[tuple[str, Json]], new_builder: Callable[[], Any]) -> Iterator[Json]:
    """What the list holds. Of what is nested too deeply nothing is built: `ijson.items` writes out the path of every
    value, and takes minutes for half a megabyte of brackets."""
    depth, builder = 0, new_builder()
    is_too_deep = is_too_large = False
    for event, given in events:
        value = _double(given) if event == "number" else given
        is_too_large = is_too_large or (event == "number" and math.isinf(value))
        depth += event in {"start_map", "start_array"}
        depth -= event in {"end_map", "end_array"}
        is_too_deep = is_too_deep or depth > MAX_DEPTH + 1
        if depth == 0 or (depth == 1 and event == "start_array"):
            continue
        if not is_too_deep:
            builder.event(event, value)
        if depth == 1:
            if is_too_deep:
                yield InvalidItem([("", f"Nested deeper than {MAX_DEPTH} levels.")])
            elif is_too_large:
                yield InvalidItem([("", "Has a number that is too large.")])
            else:
                yield builder.value
            is_too_deep, is_too_large, builder = False, False, new_builder()


def _double(number: int | Decimal) -> int | float:
    """As orjson reads it: what has a fraction, an exponent or more than 64 bits is a double."""
    if isinstance(number, int) and -(2**63) <= number < 2**64:
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _after_mark(file: BinaryIO) -> BinaryIO:
    """The file after its byte order mark and white space. Raises InvalidFile unless a list begins there."""
    start: bytes = file.read(_PIECE).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"["):
        raise InvalidFile("Must be a JSON list of items.")
    return _Joined(start, file)  # type: ignore[return-value] # as much of a file as is read


class _Joined:
    def __init__(self, start: bytes, file: BinaryIO) -> None:
        self._start = start
        self._file = file

    def read(self, size: int) -> bytes:
        if not self._start:
            return self._file.read(size)
        piece, self._start = self._start[:size], self._start[size:]
        return piece


def _read_openai(file: BinaryIO, columns: Columns, names: dict[str, str]) -> Iterator[Row]:
    if columns is not None:
        raise InvalidFile("Files in the form of OpenAI have no columns.", "columns")
    return (_from_messages(value) for value in _read_lines(file))


def _from_messages(value: Json) -> Row:
    """The last message of the assistant is what is expected; all others, and what else the line has, are the input."""
    if isinstance(value, InvalidItem):
        return value.problems
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        return [("messages", "Must be a list of messages.")]
    last = messages[-1]
    if last.get("role") != "assistant":
        return {"input": value}
    calls = last.get("tool_calls")
    expected = {"tool_calls": calls} if calls and last.get("content") is None else last.get("content")
    return {"input": {**value, "messages": messages[:-1]}, "expected": expected}


_READERS: dict[ImportFormat, Callable[[BinaryIO, Columns, dict[str, str]], Iterator[Row]]] = {
    ImportFormat.CSV: _read_csv,
    ImportFormat.JSONL: _read_jsonl,
    ImportFormat.JSON: _read_json,
    ImportFormat.OPENAI: _read_openai,
}
