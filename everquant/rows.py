"""Rows made of their columns, without `Model.__init__`.

That sets field by field, through descriptors, with two signals that nobody listens to: for a row of forty columns it
takes longer than to write them into a statement. The rows are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.base import ModelState

Row = TypeVar("Row", bound=models.Model)


def new_row(table: type[Row], **values: Any) -> Row:
    """A row that is yet to be stored, as `table(**values)`: columns by attribute or, of relations, objects by name."""
    blank = _blank(table)
    row = table.__new__(table)
    row._state = ModelState()
    known = row.__dict__
    known.update(blank.values)
    for name in values.keys() & blank.relations:
        setattr(row, name, values.pop(name))
    for name, make in blank.made.items():
        if name not in values:
            known[name] = make()
    known.update(values)
    if len(known) != blank.size:
        raise TypeError(f"{table.__name__} has not all of {', '.join(sorted(values))}.")
    return row


def stored_row(table: type[Row], **columns: Any) -> Row:
    """A stored row of which these columns are known; others are fetched when somebody asks for them."""
    row = table.__new__(table)
    row._state = ModelState()
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    row.__dict__.update(columns)
    return row


@dataclass(frozen=True, slots=True)
class _Blank:
    """A row before anything is known of it: what is the same for all of them, and what is made for each."""

    values: dict[str, Any]
    made: dict[str, Callable[[], Any]]
    relations: frozenset[str]

    @property
    def size(self) -> int:
        return len(self.values) + 1  # and its state


@cache
def _blank(table: type[models.Model]) -> _Blank:
    fields = table._meta.concrete_fields
    made = [field for field in fields if field.has_default() and callable(field.default)]
    return _Blank(
        {field.attname: None if field in made else field.get_default() for field in fields},
        {field.attname: field.get_default for field in made},
        frozenset(field.name for field in fields if field.is_relation),
    )
