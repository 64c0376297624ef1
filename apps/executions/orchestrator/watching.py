"""What comes of executions that run elsewhere, for those who read it here.

One daemon thread of the process asks for all of them, in two statements every LOOK_S, and exists only while somebody
reads. It asks for the states first: who sees an end finds all pieces before it among those read after.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

import structlog
from django.db import connection

from apps.executions.models import TERMINAL, Status
from everquant.db import DATABASE_AWAY, release_connection

logger = structlog.get_logger(__name__)

LOOK_S = 0.2
_STATES = "SELECT id, status FROM executions_execution WHERE id = ANY(%s)"
_PIECES = (
    "SELECT w.place, e.number, e.text, e.tool_calls FROM unnest(%s::uuid[], %s::integer[]) WITH ORDINALITY "
    "AS w(id, seen, place) JOIN executions_executionevent e ON e.execution_id = w.id AND e.number > w.seen "
    "ORDER BY w.place, e.number"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored piece of the answer."""

    number: int
    text: str
    tool_calls: list[Any]


@dataclass(frozen=True, slots=True)
class Begun:
    """The call is under way, or was."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing comes any more."""


News = Piece | Begun | Ended


@dataclass(slots=True, eq=False)
class Watch:
    """One reader's: news of an execution after the piece `seen`."""

    execution_id: UUID
    seen: int
    has_begun: bool = False
    _news: SimpleQueue[News] = field(default_factory=SimpleQueue)

    def news(self, heartbeat_s: float) -> Iterator[News | None]:
        """None when nothing came for a while; ends after `Ended`."""
        while True:
            try:
                one = self._news.get(timeout=heartbeat_s)
            except Empty:
                yield None
                continue
            yield one
            if isinstance(one, Ended):
                return

    def take(self, status: str, pieces: list[Piece]) -> None:
        if status != Status.QUEUED and not self.has_begun:
            self.has_begun = True
            self._news.put(Begun())
        for piece in pieces:
            self._news.put(piece)
            self.seen = piece.number
        if status in TERMINAL:
            self._news.put(Ended())


class Watches:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Watch] = set()
        self._thread: threading.Thread | None = None

    def open(self, execution_id: UUID, seen: int) -> Watch:
        watch = Watch(execution_id, seen)
        with self._lock:
            self._open.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_on, name="watches", daemon=True)
                self._thread.start()
        return watch

    def close(self, watch: Watch) -> None:
        with self._lock:
            self._open.discard(watch)

    @property
    def count(self) -> int:
        return len(self._open)

    def _look_on(self) -> None:
        while True:
            with self._lock:
                watches = list(self._open)
                if not watches:
                    self._thread = None
                    return
            try:
                for watch in _look(watches):
                    self.close(watch)
            except DATABASE_AWAY as error:
                logger.warning("events_not_read", error=str(error))
            except Exception:
                logger.exception("watching_failed")
            finally:
                release_connection()
            time.sleep(LOOK_S)


def _look(watches: list[Watch]) -> list[Watch]:
    """Those that have ended; all have been given their news."""
    with connection.cursor() as cursor:
        cursor.execute(_STATES, [[watch.execution_id for watch in watches]])
        states = dict(cursor.fetchall())
        cursor.execute(_PIECES, [[watch.execution_id for watch in watches], [watch.seen for watch in watches]])
        found = cursor.fetchall()
    pieces: dict[int, list[Piece]] = {}
    for place, *columns in found:
        pieces.setdefault(place, []).append(Piece(*columns))
    for place, watch in enumerate(watches, 1):
        watch.take(states.get(watch.execution_id, Status.FAILED), pieces.get(place, []))
    return [watch for watch in watches if states.get(watch.execution_id, Status.FAILED) in TERMINAL]


WATCHES = Watches()
