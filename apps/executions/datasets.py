"""Rows of a batch from a file: CSV with a header of variables, or JSON Lines with a row object each."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import orjson
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import MultiPartParser

from apps.executions.models import MAX_ROWS
from everquant.api.bulkhead import BODIES
from everquant.api.parsers import check_json

_NUMBERS = ("version", "cache_ttl_s")
_OBJECTS = ("parameters",)
_EMPTY_MEANS_NONE = ("prompt_id", "slug", "version", "label", "model_id", "parameters", "cache_ttl_s", "name")
csv.field_size_limit(2**24)


class DatasetParser(MultiPartParser):
    """`multipart/form-data` as the JSON that it stands for: the fields, and the rows of `file`."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        with BODIES.enter():
            parsed = super().parse(stream, media_type, parser_context)
        repeated = [name for name, values in [*parsed.data.lists(), *parsed.files.lists()] if len(values) > 1]
        if repeated:
            raise ValidationError({name: ["Given more than once."] for name in repeated})
        given = {name: str(text) for name, text in parsed.data.items()}
        data = {name: _field(name, text) for name, text in given.items() if not _is_left_out(name, text)}
        if "rows" in data:
            raise ValidationError({"rows": ["Come in the file."]})
        unknown = [name for name in parsed.files if name != "file"]
        if unknown:
            raise ValidationError({name: ["Unknown field."] for name in unknown})
        if "file" not in parsed.files:
            raise ValidationError({"file": ["This field is required."]})
        data["rows"] = list(read_rows(parsed.files["file"]))
        check_json(data)
        return data


def _is_left_out(name: str, text: str) -> bool:
    return not text and name in _EMPTY_MEANS_NONE


def _field(name: str, text: str) -> Any:
    if name in _NUMBERS and text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    if name in _OBJECTS:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            raise ValidationError({name: ["Must be a JSON object."]}) from None
    return text


def read_rows(file: Any) -> Iterator[Any]:
    """Raises ValidationError naming `file`, or the row."""
    name = (file.name or "").lower()
    if name.endswith(".csv"):
        yield from _csv_rows(file)
    elif name.endswith((".jsonl", ".ndjson")):
        yield from _json_rows(file)
    else:
        raise ValidationError({"file": ["Its name must end with .csv, .jsonl or .ndjson."]})


def _csv_rows(file: Any) -> Iterator[Any]:
    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    try:
        header = next(reader, [])
        if not header or len(set(header)) != len(header) or not all(header):
            raise ValidationError({"file": ["The first line must name the variables, each once."]})
        number = 0
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise ValidationError({f"rows.{number}": [f"Has {len(values)} values for {len(header)} variables."]})
            _check_count(number)
            yield {"variables": dict(zip(header, values, strict=True))}
            number += 1
    except UnicodeDecodeError:
        raise ValidationError({"file": ["Must be UTF-8."]}) from None
    except csv.Error as error:
        raise ValidationError({"file": [f"Is not CSV: {error}."]}) from None


def _json_rows(file: Any) -> Iterator[Any]:
    number = 0
    for line in file:
        if not line.strip():
            continue
        _check_count(number)
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ValidationError({f"rows.{number}": ["Is not JSON."]}) from None
        number += 1


def _check_count(number: int) -> None:
    if number >= MAX_ROWS:
        raise ParseError(f"A batch has at most {MAX_ROWS} rows.")
