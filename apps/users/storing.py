"""New rows with the audit entries that auditlog would write of them, in one statement.

auditlog compares every field with nothing by its name and stores the entry by itself, which was half of what it took to
store a prompt. What an entry says is the same.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from auditlog.context import disable_auditlog
from auditlog.diff import is_primitive, model_instance_diff
from auditlog.registry import auditlog
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.signals import post_save

from apps.users.models import AuditEntry
from everquant.postgresql.insertion import date_new, insert
from everquant.rows import new_row

Changes = dict[str, tuple[Any, Any]]


def store_new(*rows: models.Model) -> None:
    """Store new rows, which may refer to each other; `post_save` is sent when all of them are there.

    Raises IntegrityError; the caller's transaction, if there is one, outlives it.
    """
    date_new(*rows)
    insert(*rows, *(entry_of_new(row) for row in rows if auditlog.contains(type(row))))
    with disable_auditlog():
        for row in rows:
            post_save.send(type(row), instance=row, created=True, update_fields=None, raw=False, using=DEFAULT_DB_ALIAS)


def entry_of_new(row: Any) -> AuditEntry:
    """What auditlog writes of a new row."""
    additional = getattr(row, "get_additional_data", None)
    entry = new_row(
        AuditEntry,
        content_type_id=ContentType.objects.get_for_model(row).pk,
        object_pk=str(row.pk),
        object_repr=str(row),
        action=AuditEntry.Action.CREATE,
        changes=changes_of_new(row),
        additional_data=additional() if additional is not None else None,
    )
    entry.take_context()
    return entry


def changes_of_new(row: models.Model) -> Changes:
    """The fields that say anything, as auditlog writes them."""
    table, known = type(row), row.__dict__
    told = ((name, say(known[attribute])) for name, attribute, say in _told(table))
    return {**_constant(table, row), **{name: (None, value) for name, value in told if value is not None}}


_Say = Callable[[Any], Any]


@cache
def _told(table: type[models.Model]) -> list[tuple[str, str, _Say]]:
    """Name and attribute of each field that auditlog looks at, and how it writes a value."""
    options = auditlog.get_model_fields(table)
    if options["include_fields"] or options["mask_fields"]:
        raise TypeError(f"What is audited of {table.__name__} is not all of it.")
    fields = [field for field in table._meta.concrete_fields if field.name not in options["exclude_fields"]]
    return [
        (field.name, field.attname, _date if isinstance(field, models.DateTimeField) else _value) for field in fields
    ]


def _date(value: datetime | None) -> str | None:
    return None if value is None else str(value.astimezone(UTC).replace(tzinfo=None))


def _value(value: Any) -> Any:
    return value if is_primitive(value) else str(value)


_constants: dict[type[models.Model], Changes] = {}


def _constant(table: type[models.Model], row: models.Model) -> Changes:
    """What auditlog says of relations to a new row: their names, the same for each."""
    if table not in _constants:
        columns = {field.name for field in table._meta.concrete_fields}
        whole = model_instance_diff(None, row, use_json_for_changes=True) or {}
        _constants[table] = {name: change for name, change in whole.items() if name not in columns}
    return _constants[table]
