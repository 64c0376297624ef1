"""New rows of several tables in one statement: one round trip, and one transaction where there is none around it.

`Model.save` builds its statement anew for each row, and sends each by itself. Here the text of a statement is made
once for the models that it stores, and prepared.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, models, transaction
from django.utils import timezone

from everquant.db import prepared_cursor

# What psycopg sends as it is. Others are prepared by their field: JSON, lists, addresses.
_PLAIN = (
    models.BooleanField, models.CharField, models.DateTimeField, models.ForeignKey, models.IntegerField,
    models.TextField, models.UUIDField,
)  # fmt: skip


def date_new(*rows: models.Model) -> None:
    """Say of new rows that they were made and changed now, all at the same time."""
    now = timezone.now()
    for row in rows:
        for name in _dates(type(row)):
            setattr(row, name, now)


def insert(*rows: models.Model) -> None:
    """Store new rows that have their keys and dates. They may refer to each other: foreign keys are checked at the end.

    Sends no signals. Raises IntegrityError; the caller's transaction, if there is one, outlives it.
    """
    parameters = [value for row in rows for value in _values(row)]
    with transaction.atomic() if connection.in_atomic_block else nullcontext(), prepared_cursor() as cursor:
        cursor.execute(_statement(tuple(type(row) for row in rows)), parameters)
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


@cache
def _statement(tables: tuple[type[models.Model], ...]) -> str:
    """All but the last in a WITH, which is carried out whether it is read or not."""
    *first, last = [_insert_into(table) for table in tables]
    named = ", ".join(f"row_{number} AS ({text})" for number, text in enumerate(first))
    return f"WITH {named} {last}" if named else last


def _insert_into(table: type[models.Model]) -> str:
    columns = [connection.ops.quote_name(str(field.column)) for field in table._meta.concrete_fields]
    name = connection.ops.quote_name(table._meta.db_table)
    return f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('%s' for _ in columns)})"  # noqa: S608 (names of models)


def _values(row: models.Model) -> list[Any]:
    known = row.__dict__
    return [
        known[name] if prepare is None else prepare(known[name], connection) for name, prepare in _columns(type(row))
    ]


@cache
def _dates(table: type[models.Model]) -> list[str]:
    """Names of the fields that `save` dates."""
    dated = [field for field in table._meta.concrete_fields if isinstance(field, models.DateTimeField)]
    return [field.name for field in dated if field.auto_now or field.auto_now_add]


@cache
def _columns(table: type[models.Model]) -> list[tuple[str, Callable[[Any, Any], Any] | None]]:
    """The attribute of each column, and what prepares it."""
    fields = table._meta.concrete_fields
    return [(field.attname, None if isinstance(field, _PLAIN) else field.get_db_prep_save) for field in fields]
