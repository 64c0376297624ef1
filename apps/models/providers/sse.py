"""Server-sent events, parsed by the WHATWG rules (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import re
from typing import NamedTuple

_END_OF_LINE = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    event: str
    data: str
    id: str


class EventTooLargeError(Exception):
    """One event is longer than the parser may hold."""


class EventParser:
    """Takes a stream in pieces of any size; an event not ended by an empty line is never given out."""

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._tail = bytearray()
        self._held_bytes = 0
        self._at_start = True
        self._skip_line_feed = False
        self._event = ""
        self._data: list[str] = []
        self._last_id = ""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        if self._skip_line_feed and chunk:
            self._skip_line_feed = False
            chunk = chunk.removeprefix(b"\n")
        lines = _END_OF_LINE.split(chunk)
        # A CR may be half of a CRLF whose other half is still to come.
        self._skip_line_feed = chunk.endswith(b"\r") or (self._skip_line_feed and not chunk)
        if self._held_bytes + len(self._tail) + len(lines[0]) > self._max_event_bytes:
            raise EventTooLargeError
        if len(lines) == 1:
            self._tail += chunk
            return []
        self._tail += lines[0]
        lines[0] = bytes(self._tail)
        self._tail = bytearray(lines.pop())
        events = []
        for line in lines:
            event = self._take_line(line)
            if event is not None:
                events.append(event)
        return events

    def _take_line(self, line: bytes) -> ServerSentEvent | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        self._held_bytes += len(line)
        if self._held_bytes > self._max_event_bytes:
            raise EventTooLargeError
        name, _, value = line.partition(b":")
        self._take_field(name, value.removeprefix(b" ").decode("utf-8", "replace"))
        return None

    def _take_field(self, name: bytes, value: str) -> None:
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id" and "\0" not in value:
            self._last_id = value

    def _dispatch(self) -> ServerSentEvent | None:
        event, data = self._event, self._data
        self._event, self._data, self._held_bytes = "", [], 0
        if not data:
            return None
        return ServerSentEvent(event or "message", "\n".join(data), self._last_id)
