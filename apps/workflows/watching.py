"""What comes of runs that workers are at, for those who read it here: their stored events, and their end."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from django.db import connection

from apps.workflows.models import TERMINAL
from everquant.api.sse import HEARTBEAT, HEARTBEAT_S, encode_event
from everquant.api.watching import Ended, Watch, Watches

# Of one run, at each look: a long log is sent in several.
MOST_EVENTS = 1000
# A run may wait for months: its readers come back with their Last-Event-ID, and their right to read is looked at anew.
LONGEST_S = 900.0
_ALL_SEEN = 2**31 - 1
_STATES = "SELECT id, status FROM workflows_workflowrun WHERE id = ANY(%s)"
_EVENTS = (
    "SELECT w.place, e.number, e.type, e.data, e.created_at FROM unnest(%s::uuid[], %s::integer[]) WITH ORDINALITY "
    "AS w(id, seen, place) CROSS JOIN LATERAL (SELECT number, type, data::text AS data, created_at "
    "FROM workflows_runevent WHERE run_id = w.id AND number > w.seen ORDER BY number LIMIT %s) e "
    "ORDER BY w.place, e.number"
)


@dataclass(frozen=True, slots=True)
class Event:
    """`data` is JSON text."""

    number: int
    type: str
    data: str
    created_at: datetime


def _look(watches: list[Watch]) -> list[Watch]:
    """Those that have ended; all have been given their news.

    States are asked for first: who sees an end finds all events before it among those read after.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STATES, [[watch.id for watch in watches]])
        states = dict(cursor.fetchall())
        cursor.execute(_EVENTS, [[watch.id for watch in watches], [watch.seen for watch in watches], MOST_EVENTS])
        found = cursor.fetchall()
    events: dict[int, list[Event]] = {}
    for place, *columns in found:
        events.setdefault(place, []).append(Event(*columns))
    ended = []
    for place, watch in enumerate(watches, 1):
        own = events.get(place, [])
        for event in own:
            watch.put(event)
            watch.seen = event.number
        if states.get(watch.id, TERMINAL[0]) in TERMINAL and len(own) < MOST_EVENTS:
            watch.put(Ended())
            ended.append(watch)
    return ended


WATCHES: Watches[Watch] = Watches(_look, "run-watches")


def open_watch(run_id: UUID, seen: int) -> Watch:
    return WATCHES.add(Watch(run_id, seen))


def wait_for_end(run_id: UUID, seconds: float) -> bool:
    """Whether the run ends in so many seconds. No connection of this thread may be held meanwhile."""
    watch = open_watch(run_id, _ALL_SEEN)
    try:
        return watch.wait(seconds)
    finally:
        WATCHES.close(watch)


def events_of(watch: Watch, longest_s: float = LONGEST_S) -> Iterator[bytes]:
    """The run's events as they are streamed; a comment when nothing comes for a while. Ends after `longest_s` too."""
    ends_at = time.monotonic() + longest_s
    for news in watch.news(HEARTBEAT_S):
        if news is None:
            yield HEARTBEAT
        elif isinstance(news, Event):
            said = {"run_id": watch.id, "created_at": news.created_at, **orjson.loads(news.data)}
            yield encode_event(news.number, news.type, said)
        if time.monotonic() >= ends_at:
            return
