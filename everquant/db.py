"""Base model, soft delete, giving a connection back before a network call, waiting for a database that is away."""

import time
from collections.abc import Callable
from typing import Any, Self, TypeVar
from uuid import UUID

import structlog
from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    models,
    transaction,
)
from django.utils import timezone
from psycopg_pool import PoolTimeout
from uuid_utils.compat import uuid7 as new_uuid7

logger = structlog.get_logger(__name__)


def uuid7() -> UUID:
    """A time-ordered id (RFC 9562 version 7)."""
    return new_uuid7()


class BaseModel(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def save_fields(self, *fields: str) -> None:
        """Save only the named fields, and the time of the change."""
        self.save(update_fields=[*fields, "updated_at"])


class SoftDeleteQuerySet(models.QuerySet[Any]):
    """Deletion marks the row. Nothing is hidden by default: readers say `.alive()`."""

    def alive(self) -> Self:
        return self.filter(deleted_at__isnull=True)

    def deleted(self) -> Self:
        return self.filter(deleted_at__isnull=False)


class SoftDeleteModel(BaseModel):
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None

    def soft_delete(self) -> None:
        """Mark as deleted; a second call changes nothing."""
        if self.deleted_at is None:
            self.deleted_at = timezone.now()
            self.save_fields("deleted_at")

    def undelete(self) -> None:
        if self.deleted_at is not None:
            self.deleted_at = None
            self.save_fields("deleted_at")


def release_connection() -> None:
    """Give this thread's database connection back to the pool, before waiting on the network.

    Inside a transaction it is kept: callers that wait must not be in one, `assert_no_transaction` says so.
    """
    wrapper = connections[DEFAULT_DB_ALIAS]
    if wrapper.connection is not None and not wrapper.in_atomic_block:
        wrapper.close()


def prepared_cursor() -> Any:
    """See `everquant.postgresql.base`. Its types are those of the parameters: UUIDs are given as UUIDs."""
    return connections[DEFAULT_DB_ALIAS].prepared_cursor()  # type: ignore[attr-defined] # of our own backend


# What is raised while PostgreSQL restarts or cannot be reached.
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeout)
_PAUSES_S = (0.1, 0.4, 1.5, 4.0, 8.0)
Value = TypeVar("Value")


def patiently(call: Callable[[], Value], **what: str) -> Value:
    """What the call gives, made again while the database is away; so it may be repeated without harm.

    Raises what it raised last, and inside a transaction at once. `what` tells the log what waits.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            return call()
        except DATABASE_AWAY as error:
            if pause_s is None or connection.in_atomic_block:
                raise
            logger.warning("database_waited_for", error=str(error), **what)
        release_connection()
        time.sleep(pause_s)
    raise AssertionError("unreachable")


def assert_no_transaction() -> None:
    """Raises RuntimeError inside `atomic`: no network call may hold a transaction open."""
    if connection.in_atomic_block and not _is_test_wrapper():
        raise RuntimeError("a network call was about to be made inside a database transaction")


def _is_test_wrapper() -> bool:
    """Whether the only open block is the one that Django's TestCase wraps around a test."""
    blocks = connection.atomic_blocks
    return all(getattr(block, "_from_testcase", False) for block in blocks)


def lock_for_update(queryset: models.QuerySet[Any], **lookup: Any) -> Any:
    """The row, locked until the transaction ends; raises the model's DoesNotExist."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("a row lock needs a transaction")
    return queryset.select_for_update(of=("self",)).get(**lookup)
