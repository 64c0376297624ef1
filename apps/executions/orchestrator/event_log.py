"""What has come of a streamed execution in the background, as rows that any web process can send to readers.

One thread of the process writes what has come for all of its executions in one statement every FLUSH_S. A call's last
pieces are written by its own thread, before its end is recorded: who sees the end sees all before it.

Event 1 is the start and the last one the end; both are made from the execution's row. In between are these.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.db import connection

from apps.models.providers.base import Delta
from everquant.db import DATABASE_AWAY, patiently, release_connection

logger = structlog.get_logger(__name__)

FLUSH_S = 0.15
FIRST_DELTA = 2
_INSERT = (
    "INSERT INTO executions_executionevent (execution_id, number, text, tool_calls, created_at) "
    "SELECT execution_id, number, text, tool_calls, now() FROM jsonb_to_recordset(%s::jsonb) "
    "AS event(execution_id uuid, number integer, text text, tool_calls jsonb) ON CONFLICT DO NOTHING"
)

Row = dict[str, Any]


class _Log:
    """One execution's: pieces that are collected, and rows that are numbered and not known to be stored."""

    def __init__(self, execution_id: UUID) -> None:
        self.execution_id = execution_id
        self._lock = threading.Lock()
        self._text: list[str] = []
        self._calls: list[Row] = []
        self._number = FIRST_DELTA
        self._unstored: list[Row] = []

    def add(self, delta: Delta) -> None:
        with self._lock:
            self._text.append(delta.text)
            self._calls += [
                {"index": call.index, "id": call.id, "name": call.name, "arguments": call.arguments}
                for call in delta.tool_calls
            ]

    def rows(self) -> list[Row]:
        """What is to be stored; the same again until `stored`."""
        with self._lock:
            text, calls = "".join(self._text), self._calls
            if text or calls:
                row = {"execution_id": self.execution_id, "number": self._number, "text": text, "tool_calls": calls}
                self._unstored.append(row)
                self._text, self._calls = [], []
                self._number += 1
            return list(self._unstored)

    def stored(self, rows: list[Row]) -> None:
        with self._lock:
            self._unstored = [row for row in self._unstored if row not in rows]


class _Logs:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: dict[UUID, _Log] = {}
        self._thread: threading.Thread | None = None

    def open(self, execution_id: UUID) -> _Log:
        log = _Log(execution_id)
        with self._changed:
            self._open[execution_id] = log
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="event-log", daemon=True)
                self._thread.start()
        return log

    def close(self, execution_id: UUID) -> None:
        with self._changed:
            self._open.pop(execution_id, None)

    def _write_on(self) -> None:
        while True:
            time.sleep(FLUSH_S)
            with self._changed:
                logs = list(self._open.values())
                if not logs:
                    self._thread = None
                    return
            try:
                _store(logs)
            except DATABASE_AWAY as error:
                logger.warning("events_delayed", error=str(error))
            except Exception:
                logger.exception("events_failed")
            finally:
                release_connection()


_LOGS = _Logs()


@contextmanager
def writer(execution_id: UUID) -> Iterator["Writer"]:
    """Takes the pieces of one execution's answer."""
    log = _LOGS.open(execution_id)
    try:
        yield Writer(log)
    finally:
        _LOGS.close(execution_id)


class Writer:
    def __init__(self, log: _Log) -> None:
        self._log = log

    def __call__(self, delta: Delta) -> None:
        self._log.add(delta)

    def flush(self) -> None:
        """Store what is left, before the end is recorded."""
        patiently(lambda: _store([self._log]), execution_id=str(self._log.execution_id))


def _store(logs: list[_Log]) -> None:
    found = [(log, log.rows()) for log in logs]
    rows = [row for _, own in found for row in own]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [orjson.dumps(rows).decode()])
    for log, own in found:
        log.stored(own)
