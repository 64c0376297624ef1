"""The databases of a test run: one is migrated, every process copies it, and nothing of a killed run stays.

The run holds an advisory lock for as long as it lives; databases whose run holds none are leftovers. On the embedded
server the migrated one stays for the next run, as long as what it is made of has not changed: to make it takes longer
than most runs of a single file.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from django.conf import settings
from django.db import connection, transaction
from psycopg import sql

# First keys of the advisory locks: of a run, of the making of a migrated database, of a run's databases of Valkey,
# of the use of a migrated database.
RUN, TEMPLATE, VALKEY, MIGRATED_LOCK = 0x7E57_0001, 0x7E57_0002, 0x7E57_0003, 0x7E57_0004
VALKEY_FIRSTS = range(0, 64, 8)
PREFIX = "test_everquant_"
MIGRATED = "migrated_everquant_"
# What migrations read: themselves, the models with their fields, the partitions they make, and the packages' own.
ROOT = Path(__file__).parent.parent
MADE_OF = (
    "uv.lock", "everquant/db.py", "apps/**/migrations/*.py", "apps/**/models.py",
    "apps/**/models/*.py", "apps/prompts/fields.py", "apps/executions/partitions.py", "apps/executions/keys.py",
)  # fmt: skip
_AUTOVACUUM_S = 20.0
# Filled by the migrations and never by tests.
_KEPT = {"django_migrations", "django_content_type", "auth_permission"}


def _server() -> "psycopg.Connection[Any]":
    """A connection of its own, outside of every pool, to the server's maintenance database."""
    known = connection.settings_dict
    return psycopg.connect(
        host=known["HOST"], port=known["PORT"] or None, user=known["USER"] or None, password=known["PASSWORD"] or None,
        dbname="postgres", autocommit=True,
    )  # fmt: skip


class Run:
    """One run of the tests, of as many processes as it likes; made by the first of them."""

    def __init__(self) -> None:
        self._server = _server()
        self.id = os.getpid()
        while not self._try_lock(RUN, self.id):
            self.id += 1
        self.valkey = next((first for first in VALKEY_FIRSTS if self._try_lock(VALKEY, first)), 0)
        os.environ["EVERQUANT_TEST_RUN"], os.environ["EVERQUANT_TEST_VALKEY"] = str(self.id), str(self.valkey)
        for name in ("default", "limits"):  # read already by this process
            settings.CACHES[name]["LOCATION"] = re.sub(
                r"db=\d+$", f"db={self.valkey}", settings.CACHES[name]["LOCATION"]
            )
        for other in {number for number, _ in self._databases()} - {self.id}:
            if self._try_lock(RUN, other):
                self._drop(other)
        self._hold_migrated()

    def _hold_migrated(self) -> None:
        """Nobody else drops the migrated database of this run; those that no run holds are dropped."""
        own = migrated()
        self._server.execute("SELECT pg_advisory_lock_shared(%s, %s)", [MIGRATED_LOCK, _number(own)])
        for (name,) in self._server.execute("SELECT datname FROM pg_database").fetchall():
            if name.startswith(MIGRATED) and name != own and self._try_lock(MIGRATED_LOCK, _number(name)):
                self._drop_one(name)
                self._server.execute("SELECT pg_advisory_unlock(%s, %s)", [MIGRATED_LOCK, _number(name)])

    def end(self) -> None:
        self._drop(self.id)
        self._server.close()

    def _try_lock(self, kind: int, number: int) -> bool:
        answer = self._server.execute("SELECT pg_try_advisory_lock(%s, %s)", [kind, number]).fetchone()
        return bool(answer and answer[0])

    def _databases(self) -> list[tuple[int, str]]:
        names = [name for (name,) in self._server.execute("SELECT datname FROM pg_database").fetchall()]
        found = [(re.match(rf"{PREFIX}(\d+)", name), name) for name in names]
        return [(int(match[1]), name) for match, name in found if match]

    def _drop(self, run: int) -> None:
        for number, name in self._databases():
            if number == run:
                self._drop_one(name)

    def _drop_one(self, name: str) -> None:
        """An autovacuum that is at it just now may be ended by superusers alone, and is over in a moment."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        deadline = time.monotonic() + _AUTOVACUUM_S
        while not self._could_drop(statement, is_last=time.monotonic() > deadline):
            time.sleep(0.1)

    def _could_drop(self, statement: sql.Composed, *, is_last: bool) -> bool:
        try:
            self._server.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            if is_last:
                raise
            return False
        return True


@cache
def migrated() -> str:
    """The name of the database that processes copy; months of executions are made ahead, so it is of one month."""
    if settings.EMBEDDED is None:
        return f"{PREFIX}{os.environ['EVERQUANT_TEST_RUN']}_migrated"
    return MIGRATED + fingerprint(sources())


def sources(root: Path = ROOT) -> list[Path]:
    return sorted({path for pattern in MADE_OF for path in root.glob(pattern)})


def fingerprint(paths: list[Path]) -> str:
    """Of where they are, what is in them, and the month."""
    digest = hashlib.sha256(f"{datetime.now(UTC):%Y-%m}".encode())
    for path in paths:
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _number(migrated_name: str) -> int:
    """For advisory locks, whose keys are int4."""
    return int(migrated_name[-7:], 16) if migrated_name.startswith(MIGRATED) else 0


def make_migrated() -> None:
    """Before the first test, since on a busy machine it may take longer than a test is given."""
    with _server() as server, _held(server, TEMPLATE, _number(migrated())):
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [migrated()]).fetchone():
            unfinished = f"{PREFIX}{os.environ['EVERQUANT_TEST_RUN']}_unfinished"
            _migrate(unfinished)
            _rename(server, unfinished, migrated())


def make_database(worker: str) -> None:
    """Give this process a copy of the migrated database."""
    own = f"{PREFIX}{os.environ['EVERQUANT_TEST_RUN']}_{worker}"
    with _server() as server, _held(server, TEMPLATE, _number(migrated())):
        names = sql.Identifier(own), sql.Identifier(migrated())
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    _use(own)


def database_url() -> str:
    """Of this process's database, for programs that a test starts."""
    known = connection.settings_dict
    user, password = quote(known["USER"]), quote(known["PASSWORD"])
    return f"postgresql://{user}:{password}@/{known['NAME']}?host={quote(known['HOST'])}&port={known['PORT']}"


def leave_database() -> None:
    """Close what this process has open; the run drops it."""
    connection.close()
    connection.close_pool()


def _migrate(name: str) -> None:
    before = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = name
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    _use(before)


def _rename(server: "psycopg.Connection[Any]", name: str, to: str) -> None:
    server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to)))


def _use(name: str) -> None:
    leave_database()
    connection.settings_dict["NAME"] = name


@contextmanager
def _held(server: "psycopg.Connection[Any]", kind: int, number: int) -> Iterator[None]:
    server.execute("SELECT pg_advisory_lock(%s, %s)", [kind, number])
    yield
    server.execute("SELECT pg_advisory_unlock(%s, %s)", [kind, number])


def empty_tables(_test: Any) -> None:
    """In place of TransactionTestCase's flush, which truncates every table and partition: 0.2 s for a few rows.

    Foreign keys are checked at the commit, so the order does not matter.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace"
        )
        tables = {name for (name,) in cursor.fetchall()} - _KEPT
        rows = (f"(SELECT '{name}' FROM \"{name}\" LIMIT 1)" for name in tables)  # noqa: S608 (our own tables)
        cursor.execute(" UNION ALL ".join(rows))
        if filled := cursor.fetchall():
            cursor.execute("; ".join(f'DELETE FROM "{name}"' for (name,) in filled))  # noqa: S608
