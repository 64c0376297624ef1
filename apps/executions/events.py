"""Server-Sent Events of an execution, from any web process and as often as one likes.

1 is the start, the last one the end; between them are the stored pieces of a streamed background execution, or else
the whole output as one. An execution that was streamed to its caller is not stored in pieces: who lost it and comes
back with its Last-Event-ID gets the end alone, in which everything is.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import Max

from apps.executions.models import Execution, ExecutionEvent
from apps.executions.orchestrator.event_log import FIRST_DELTA
from apps.executions.orchestrator.watching import Begun, ExecutionWatch, Piece
from apps.executions.representation import end_event, represent_start, represent_stored
from everquant.api.sse import HEARTBEAT, HEARTBEAT_S, encode_event
from everquant.api.watching import Ended
from everquant.db import release_connection

START = 1


def events_of(watch: ExecutionWatch, last_id: int) -> Iterator[bytes]:
    """Those after the one with the number `last_id`; a comment when nothing comes for a while."""
    execution_id = watch.id
    for news in watch.news(HEARTBEAT_S):
        if news is None:
            yield HEARTBEAT
        elif isinstance(news, Begun) and last_id < START:
            yield encode_event(START, "execution.started", represent_start(_read(execution_id)))
        elif isinstance(news, Piece):
            yield _delta(execution_id, news.number, news.text, news.tool_calls)
        elif isinstance(news, Ended):
            yield from _end(_read(execution_id), last_id)


def _end(execution: Execution, last_id: int) -> Iterator[bytes]:
    """The whole output where there are no pieces, and the end."""
    comes_back = execution.is_streamed and not execution.is_background and last_id >= START
    last = _last_piece(execution.id)
    output = execution.kept_payload.output
    if not last and output:
        last = FIRST_DELTA
        if last_id < last and not comes_back:
            yield _delta(execution.id, last, output, [])
    number = max(last, START) + 1
    if comes_back:
        number = max(number, last_id + 1)
    if number > last_id:
        yield encode_event(number, end_event(execution), represent_stored(execution))


def _delta(execution_id: UUID, number: int, text: str, tool_calls: list[Any]) -> bytes:
    data = {"execution_id": execution_id, "text": text, "tool_calls": tool_calls}
    return encode_event(number, "execution.delta", data)


def _last_piece(execution_id: UUID) -> int:
    try:
        pieces = ExecutionEvent.objects.filter(execution_id=execution_id)
        return int(pieces.aggregate(last=Max("number"))["last"] or 0)
    finally:
        release_connection()


def _read(execution_id: UUID) -> Execution:
    try:
        found: Execution = Execution.objects.whole().get(id=execution_id)
        return found
    finally:
        release_connection()
