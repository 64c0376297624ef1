"""Validators of JSON Schemas that are anybody's: what they do for one value is counted, and ends."""

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

MAX_CHECKS = 300_000
"""Keywords held against values, 10 µs each; large constants and long messages count as several."""


class TooManyChecks(Exception):
    pass


Parts = dict[int, Any]
"""The validators of a schema's parts, by the identity of the part."""


class _Spent(threading.local):
    checks = 0
    parts: Parts | None = None


_spent = _Spent()


def begin(parts: Parts | None = None) -> None:
    """Counts anew, for one value; in this thread. With `parts`, of a schema that outlives them and names no `$id`,
    what was prepared for one value is there for the next."""
    _spent.checks, _spent.parts = 0, parts


def bounded(keywords: Mapping[str, Any] | None = None) -> Any:
    """A validator of Draft 2020-12, but for these keywords; its checks raise TooManyChecks above MAX_CHECKS."""
    checks = {**Draft202012Validator.VALIDATORS, **(keywords or {})}
    made: Any = validators.extend(  # type: ignore[no-untyped-call] # not in the stubs
        Draft202012Validator, {keyword: _counted(keyword, check) for keyword, check in checks.items()}
    )
    made.evolve = _evolve
    return made


def _evolve(validator: Any, **changes: Any) -> Any:
    """Of the same class: the library's own takes the stock one wherever a part of the schema has a `$schema`."""
    parts, key = _spent.parts, id(changes.get("schema", validator.schema))
    if parts is not None and key in parts:
        return parts[key]
    fields = ((field.name, field.alias) for field in type(validator).__attrs_attrs__ if field.init)
    made = type(validator)(**{alias: getattr(validator, name) for name, alias in fields} | changes)
    if parts is not None:
        parts[key] = made
    return made


def _spend(checks: int) -> None:
    _spent.checks += checks
    if _spent.checks > MAX_CHECKS:
        raise TooManyChecks


def _counted(keyword: str, check: Any) -> Any:
    """Messages hold the value that does not fit: a long one under many alternatives would fill the memory."""

    def counted(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        _spend(_price(keyword, wanted, instance))
        for error in check(validator, wanted, instance, schema) or ():
            _spend(len(error.message) // 100)
            yield error

    return counted


def _price(keyword: str, wanted: Any, instance: Any) -> int:
    if keyword in {"const", "enum"}:
        return 1 + len(json.dumps(wanted)) // 50
    if keyword == "uniqueItems" and isinstance(instance, list):  # each may be compared with each
        return 1 + len(instance) ** 2 // 50
    return 1
