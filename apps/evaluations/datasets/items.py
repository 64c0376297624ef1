"""One item as it is given: what it may say, and whether it fits the schemas of its dataset. Nothing is stored here."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from rest_framework.exceptions import ValidationError

from apps.evaluations.models import SPLIT_LENGTH
from apps.prompts.rendering.schema import Checker
from apps.prompts.rendering.values import find_problem
from apps.workflows.evaluating import ABSENT
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest
from everquant.api.handler import flatten
from everquant.api.parsers import check_json

Json = Any
Problem = tuple[str, str]
"""The dotted path within an item, and what is wrong there."""

MAX_ITEM_BYTES = 256 * 1024
MAX_ITEMS = 200_000
FIELDS = ("input", "expected", "output", "metadata", "split")


class InvalidItem(Exception):
    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0][1])
        self.problems = problems


@dataclass(frozen=True, slots=True)
class NewItem:
    """`expected` and `output` are ABSENT where there are none, which is not null."""

    input: Json
    expected: Json = ABSENT
    output: Json = ABSENT
    metadata: Mapping[str, Json] = field(default_factory=dict)
    split: str = ""
    source_execution_id: UUID | None = None


def content_hash(item: NewItem) -> bytes:
    """SHA-256 of input and expected value; the order of keys is of no matter, and no expected value is not null."""
    content = [item.input] if item.expected is ABSENT else [item.input, item.expected]
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()


def said_of(item: NewItem) -> dict[str, Json]:
    """As `parse_item` takes it, without what is empty."""
    values = {"input": item.input, "expected": item.expected, "output": item.output}
    said = {name: value for name, value in values.items() if value is not ABSENT}
    return said | {name: getattr(item, name) for name in ("metadata", "split") if getattr(item, name)}


def parse_item(given: Json) -> NewItem:
    """Of an object with FIELDS. Raises InvalidItem."""
    if not isinstance(given, dict):
        raise InvalidItem([("", "Must be a JSON object.")])
    problems: list[Problem] = [(name, "Unknown field.") for name in given if name not in FIELDS]
    if given.get("input") is None:
        problems.append(("input", "This field may not be null." if "input" in given else "This field is required."))
    if not isinstance(given.get("metadata", {}), dict):
        problems.append(("metadata", "Must be a JSON object."))
    split = given.get("split", "")
    if not isinstance(split, str) or len(split) > SPLIT_LENGTH:
        problems.append(("split", f"Must be text of at most {SPLIT_LENGTH} characters."))
    problems = problems or _unstorable(given)
    if problems:
        raise InvalidItem(problems)
    return NewItem(**given)


def _unstorable(given: dict[str, Json]) -> list[Problem]:
    try:
        check_json(given)
        size = len(dumps(given))
    except ValidationError as error:
        return list(flatten(error.detail).items())
    except TypeError:  # what orjson says of lone surrogates, without a place
        return [find_problem(given) or ("", "Not a JSON value.")]
    return [("", f"An item has at most {MAX_ITEM_BYTES} bytes of JSON.")] if size > MAX_ITEM_BYTES else []


class ItemChecker:
    """Holds items against the schemas of a dataset, for so many seconds in all (None: without an end)."""

    def __init__(self, input_schema: Json, expected_schema: Json, *, seconds: float | None = None) -> None:
        schemas = {"input": input_schema, "expected": expected_schema}
        self._checkers = {name: Checker(schema) for name, schema in schemas.items() if schema is not None}
        self._ends_at = None if seconds is None else time.monotonic() + seconds

    @property
    def checks_anything(self) -> bool:
        return bool(self._checkers)

    def problems(self, item: Any) -> list[Problem]:
        """Of a NewItem. What is not expected fits every schema. Raises BadRequest when the time is over."""
        if self._ends_at is not None and time.monotonic() > self._ends_at:
            raise BadRequest("These are too many items to be checked at once against schemas that cost this much.")
        found: list[Problem] = []
        for name, checker in self._checkers.items():
            value = getattr(item, name)
            if value is not ABSENT:
                found += checker.problems(value, name).items()
        return found
