"""Runs as the statements of this package take and give them: whole rows, without what the ORM does about each."""

from collections.abc import Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection

from apps.workflows.models import WorkflowRun

_FIELDS = WorkflowRun._meta.concrete_fields
_NAMES = [field.attname for field in _FIELDS]
_CONVERTERS: list[tuple[int, Any]] = [
    (place, field.from_db_value) for place, field in enumerate(_FIELDS) if hasattr(field, "from_db_value")
]


def columns(table: str) -> str:
    """What to select for `read` and `refresh`."""
    return ", ".join(f"{table}.{name}" for name in _NAMES)


def insertion() -> str:
    """What stores a run; its parameters are `values`."""
    places = ", ".join("%s" for _ in _NAMES)
    return f"INSERT INTO {WorkflowRun._meta.db_table} ({', '.join(_NAMES)}) VALUES ({places})"  # noqa: S608 (names of our own columns)


def values(run: WorkflowRun) -> list[Any]:
    return [field.get_db_prep_save(getattr(run, field.attname), connection) for field in _FIELDS]


def read(row: Sequence[Any]) -> WorkflowRun:
    run: WorkflowRun = WorkflowRun.from_db(DEFAULT_DB_ALIAS, _NAMES, _values(row))
    return run


def refresh(run: WorkflowRun, row: Sequence[Any]) -> None:
    """What was read of it before stands corrected."""
    for name, value in zip(_NAMES, _values(row), strict=True):
        setattr(run, name, value)


def _values(row: Sequence[Any]) -> list[Any]:
    values = list(row)
    for place, convert in _CONVERTERS:
        values[place] = convert(values[place], None, connection)
    return values
