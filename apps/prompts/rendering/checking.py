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


class _Spent(threading.local):
    checks = 0


_spent = _Spent()


def begin() -> None:
    """Counts anew, for one value; in this thread."""
    _spent.checks = 0


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
    fields = ((field.name, field.alias) for field in type(validator).__attrs_attrs__ if field.init)
    return type(validator)(**{alias: getattr(validator, name) for name, alias in fields} | changes)


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
