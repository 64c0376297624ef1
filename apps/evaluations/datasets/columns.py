"""From the columns of a file to the fields of an item, and back.

A target is `input`, `expected`, `output`, `metadata`, `split`, or a key of one of the first four: `input.question`. The
key is all that follows the first dot. With `:json` at its end the value is JSON, else text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from apps.evaluations.datasets.items import InvalidItem

Json = Any

JSON_MARK = ":json"
FIELDS_WITH_KEYS = ("input", "expected", "output", "metadata")
EXPECTED_ALIASES = ("expected", "expected_output")
MAX_COLUMNS = 500


class ColumnProblem(Exception):
    """Of the mapping as a whole; `column` is "" when it is about no single one."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


@dataclass(frozen=True, slots=True)
class Target:
    field: str
    key: str | None
    is_json: bool

    @property
    def path(self) -> str:
        return self.field if self.key is None else f"{self.field}.{self.key}"


def parse_target(text: str) -> Target | None:
    """None for what is no target."""
    is_json = text.endswith(JSON_MARK)
    field, dot, key = text.removesuffix(JSON_MARK).partition(".")
    if field in FIELDS_WITH_KEYS:
        return Target(field, key if dot else None, is_json)
    return Target("split", None, is_json=False) if text == "split" else None


def default_target(column: str) -> Target:
    """A column that names no target is a key of the input; `expected_output` is what is expected."""
    name = column.removesuffix(JSON_MARK)
    if name in EXPECTED_ALIASES:
        return Target("expected", None, column.endswith(JSON_MARK))
    return parse_target(column) or Target("input", name, column.endswith(JSON_MARK))


def targets_of(header: Sequence[str], mapping: Mapping[str, str | None] | None) -> list[Target | None]:
    """The target of each column, None for those left out: with a mapping all that it does not name.

    Raises ColumnProblem.
    """
    if len(header) > MAX_COLUMNS:
        raise ColumnProblem("", f"A file has at most {MAX_COLUMNS} columns.")
    if mapping is None:
        targets: list[Target | None] = [default_target(column) for column in header]
    else:
        missing = next((column for column in mapping if column not in header), None)
        if missing is not None:
            raise ColumnProblem(missing, "The file has no such column.")
        named = {column: parse_target(target) for column, target in mapping.items() if target is not None}
        targets = [named.get(column) for column in header]
    _refuse_overlap(header, targets)
    return targets


def _refuse_overlap(header: Sequence[str], targets: Sequence[Target | None]) -> None:
    seen: dict[str, set[str | None]] = {}
    for column, target in zip(header, targets, strict=True):
        if target is None:
            continue
        keys = seen.setdefault(target.field, set())
        if target.key in keys or (keys and (target.key is None or None in keys)):
            raise ColumnProblem(column, f"Another column gives {target.path} too, or a part of it.")
        keys.add(target.key)
    if "input" not in seen:
        raise ColumnProblem("", "No column gives the input.")


def assemble(values: Sequence[Json], targets: Sequence[Target | None], header: Sequence[str]) -> dict[str, Json]:
    """What an item is made of. An empty cell is nothing, but in a text column of the input it is empty text.

    Raises InvalidItem naming columns.
    """
    item: dict[str, Json] = {}
    problems = []
    for value, target, column in zip(values, targets, header, strict=True):
        if target is None or (value == "" and (target.field != "input" or target.is_json)):
            continue
        try:
            found = orjson.loads(value) if target.is_json and isinstance(value, str) else value
        except orjson.JSONDecodeError:
            problems.append((column, "Is not JSON."))
            continue
        if target.key is None:
            item[target.field] = found
        else:
            item.setdefault(target.field, {})[target.key] = found
    if problems:
        raise InvalidItem(problems)
    if any(target is not None and target.field == "input" and target.key is not None for target in targets):
        item.setdefault("input", {})
    return item
