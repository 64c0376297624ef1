"""What comes of executions that run elsewhere, for those who read it here.

Two statements serve all readers of a process. The states are asked for first: who sees an end finds all pieces before
it among those read after.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from apps.executions.models import TERMINAL, Status
from everquant.api.watching import Ended, Watch, Watches

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


@dataclass(slots=True, eq=False)
class ExecutionWatch(Watch):
    has_begun: bool = False

    def take(self, status: str, pieces: list[Piece]) -> None:
        if status != Status.QUEUED and not self.has_begun:
            self.has_begun = True
            self.put(Begun())
        for piece in pieces:
            self.put(piece)
            self.seen = piece.number
        if status in TERMINAL:
            self.put(Ended())


def open_watch(execution_id: UUID, seen: int) -> ExecutionWatch:
    return WATCHES.add(ExecutionWatch(execution_id, seen))


def _look(watches: list[ExecutionWatch]) -> list[ExecutionWatch]:
    """Those that have ended; all have been given their news."""
    with connection.cursor() as cursor:
        cursor.execute(_STATES, [[watch.id for watch in watches]])
        states = dict(cursor.fetchall())
        cursor.execute(_PIECES, [[watch.id for watch in watches], [watch.seen for watch in watches]])
        found = cursor.fetchall()
    pieces: dict[int, list[Piece]] = {}
    for place, *columns in found:
        pieces.setdefault(place, []).append(Piece(*columns))
    for place, watch in enumerate(watches, 1):
        watch.take(states.get(watch.id, Status.FAILED), pieces.get(place, []))
    return [watch for watch in watches if states.get(watch.id, Status.FAILED) in TERMINAL]


WATCHES = Watches(_look, "watches")
